"""AddressSanitizer and UBSan find nothing in the kernels and the JPEG part, and would find one byte too many."""

import platform
import shutil
from pathlib import Path

import pytest

from tests.campaigns import sanitize

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(platform.system() != "Linux" or shutil.which("g++") is None, reason="no g++ on Linux"),
]

TRAINING = {f"{kernel} {kind}" for kernel in ("norm_act", "depthwise") for kind in ("float", "bfloat16")}


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return sanitize.build(tmp_path_factory.mktemp("sanitized"))


def test_nothing_is_found(libraries: dict[str, Path]) -> None:
    for name, library in libraries.items():
        ran = sanitize.run(name, library, 1, 0)
        assert ran.clean, ran.report
        if name == "jpeg":
            assert sum(ran.counts.values()) == 4000 and min(ran.counts.values()) > 0
        else:  # both kernels of training in both precisions, and, where the CPU has what it needs, the separable one
            assert set(ran.counts.values()) == {100} and ran.counts.keys() >= TRAINING


def test_one_number_beside_an_array_is_found(libraries: dict[str, Path]) -> None:
    """Else nothing would ever be."""
    for name, library in libraries.items():
        ran = sanitize.run(name, library, 1, 0, "broken")
        assert not ran.clean and "heap-buffer-overflow" in ran.report
