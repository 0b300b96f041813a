"""What is asked of the machine."""

import platform
import subprocess
import sys

import pytest
import torch

from tasks.shared.errors import UserError
from tasks.shared.network.runtime import keep_heap, pick_device, pick_precision


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left alone")
def test_a_kept_heap_ends_the_page_faults() -> None:
    """A large tensor made and freed again and again: mapped anew each time, or not."""
    code = """
import resource, sys, torch
from tasks.shared.network.runtime import keep_heap
if sys.argv[1] == "keep":
    assert keep_heap()
for round in range(20):
    if round == 8:
        start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(16 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start)
"""
    faults = {
        mode: int(subprocess.run([sys.executable, "-c", code, mode], capture_output=True, text=True, check=True).stdout)
        for mode in ("keep", "default")
    }
    assert faults["keep"] < faults["default"] / 10


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not keep_heap()


def test_devices_by_name() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("gpu") == torch.device("cuda")
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize(("fast", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_bf16_only_where_the_cpu_computes_in_it(fast: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for instructions in ("avx512_bf16", "amx_tile"):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda name=instructions: {"avx2": True, name: fast})
        assert pick_precision(torch.device("cpu")) == expected
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"neon": True})
    assert pick_precision(torch.device("cpu")) == "32-true"


def test_a_precision_that_is_asked_for() -> None:
    assert pick_precision(torch.device("cpu"), "bf16-mixed") == "bf16-mixed"
    assert pick_precision(torch.device("cpu"), 32) == "32"
    with pytest.raises(UserError, match=r"trainer\.precision='fp8'; expected auto or one of bf16-mixed, 32-true"):
        pick_precision(torch.device("cpu"), "fp8")
