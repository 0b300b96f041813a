"""Which compiled libraries are called: those of this version alone, by forked processes too."""

import ctypes
import importlib.util
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from pathlib import Path
from typing import Any

import pytest
import torch

from backbone import kernels
from backbone.kernels import checked

SOURCES = Path(kernels.__file__).parent
compiled = pytest.mark.skipif(not kernels.kernels(), reason="the kernels were not compiled when this was installed")
compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that puts a file where the library is looked for, and returns the kernels then found."""

    def find(path: Path | None) -> Any:
        loader = ExtensionFileLoader("backbone._kernels", str(path))
        spec = None if path is None else ModuleSpec("backbone._kernels", loader, origin=str(path))
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
        return kernels.kernels.__wrapped__()

    return find


def test_a_library_that_cannot_be_loaded_is_told_of_and_done_without(
    tmp_path: Path, found: Any, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "_kernels.so"
    broken.write_bytes(b"no library")
    assert found(broken) == {} and "_kernels.so: cannot be loaded" in caplog.text
    assert found(tmp_path / "gone.so") == {} and "gone.so: cannot be loaded" in caplog.text
    assert found(None) == {}


@compiler
@pytest.mark.parametrize(
    "source",
    ["", "int kernels_version() { return VERSION + 1; }", "int kernels_version() { return -1; }"],
    ids=["before there were versions", "a later one", "another"],
)
def test_a_library_of_another_version_is_never_called(
    source: str, tmp_path: Path, found: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """As `git pull` leaves it in an editable installation."""
    old = "void norm_act_forward_float() { __builtin_trap(); }"
    library = compile_c(tmp_path, source.replace("VERSION", str(kernels.VERSION)) + old)
    assert found(library) == {} and "compiled for another version" in caplog.text


@compiler
def test_a_function_that_takes_something_else_is_never_called(tmp_path: Path, found: Any) -> None:
    source = f"int kernels_version() {{ return {kernels.VERSION}; }}"
    source += "int norm_act_forward_float() { __builtin_trap(); }"
    source += 'const char* norm_act_forward_float_takes() { return "PPqqPPdfi"; }'  # a pointer fewer
    source += "int depthwise_backward_float() { return 0; }"
    source += 'const char* depthwise_backward_float_takes() { return "PPPPPPi"; }'
    assert set(found(compile_c(tmp_path, source))) == {("depthwise_backward", torch.float32)}


def test_what_is_no_extension_module_is_not_loaded(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    spec = importlib.util.spec_from_file_location("backbone._kernels", SOURCES / "__init__.py")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with caplog.at_level(logging.WARNING):
        assert kernels.kernels.__wrapped__() == {} and not caplog.records


def compile_c(folder: Path, source: str) -> Path:
    (folder / "old.c").write_text(source, encoding="utf-8")
    library = folder / "_kernels.so"
    subprocess.run(["gcc", "-shared", "-fPIC", str(folder / "old.c"), "-o", str(library)], check=True)
    return library


@compiled
def test_every_function_says_what_it_takes_and_gives() -> None:
    for function in kernels.kernels().values():
        assert function.restype is ctypes.c_int and len(function.argtypes) > 5  # type: ignore[attr-defined]
        with pytest.raises((TypeError, ctypes.ArgumentError)):
            function(1)


@compiled
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_does_not_wait_for_its_parents_threads() -> None:
    """In a process of its own, whose threads of OpenMP have been started; GNU's would be waited for for ever."""
    source = (
        "import os, torch\n"
        "from backbone.kernels import checked\n"
        "torch.set_num_threads(4)\n"
        "x = torch.ones(2, 16, 6, 6).contiguous(memory_format=torch.channels_last)\n"
        "run = lambda: checked.norm_act_backward(x, x, 1e-3, 6.0, torch.ones(4, 16))\n"
        "mine = run()\n"
        "child = os.fork()\n"
        "same = all(torch.equal(a, b) for a, b in zip(mine, run()))\n"
        "if child == 0: os._exit(0 if same else 3)\n"
        "raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    root = SOURCES.parents[1]
    process = subprocess.Popen([sys.executable, "-c", source], cwd=root, start_new_session=True)
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)  # the two that were started here
    assert process.wait() == 0


@compiled
def test_threads_that_call_at_once_give_what_one_does() -> None:
    from concurrent.futures import ThreadPoolExecutor

    maps = [torch.randn(2, 16, 9 + i, 9).contiguous(memory_format=torch.channels_last) for i in range(8)]
    statistics = torch.rand(4, 16)

    def run(x: torch.Tensor) -> Any:
        return checked.norm_act_backward(x, x, 1e-3, 6.0, statistics)

    alone = [run(x) for x in maps]
    with ThreadPoolExecutor(4) as pool:
        for ours, theirs in zip(pool.map(run, maps * 5), alone * 5, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
