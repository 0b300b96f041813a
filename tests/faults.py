"""A disk that is full and a folder that is closed, for one process, whoever runs the tests."""

import ctypes
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VERSION, CAPABILITIES = 0x20080522, 0b110  # of Linux: to write and to read where permissions forbid it


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """No file of this process can grow beyond `size` bytes: what `ulimit -f` does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def closed(folder: Path) -> Iterator[None]:
    """Nothing can be made in `folder`, which need not exist, or changed there; by root neither."""
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o555)
    try:
        with _bound_by_permissions():
            yield
    finally:
        folder.chmod(0o755)
        if made:
            folder.rmdir()


@contextmanager
def _bound_by_permissions() -> Iterator[None]:
    if os.geteuid() != 0 or sys.platform != "linux":
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, held = (ctypes.c_uint32 * 2)(VERSION, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, held) == 0
    less = (ctypes.c_uint32 * 6)(*held)
    less[0] &= ~CAPABILITIES  # of those in effect; they stay permitted, so that they can be taken back
    assert libc.capset(header, less) == 0
    try:
        yield
    finally:
        assert libc.capset(header, held) == 0
