"""What reading a file costs: memory and time of a call, measured in a process of its own."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

SECONDS = 10


class Cost(NamedTuple):
    """error: the call's ValueError, as text; None where it raised none. megabytes: the peak, beyond that of before."""

    error: str | None
    megabytes: float
    seconds: float


def cost_of_reading(call: Callable[[], object], seconds: int = SECONDS) -> Cost:
    """Call it in a fork of this process. A crash, another exception than ValueError or more time fail the test."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        told = "crashed"
        try:
            signal.alarm(seconds)
            start, before = time.monotonic(), _peak()
            error = "-"
            try:
                call()
            except ValueError as raised:
                error = f"+{raised}"
            told = f"{_peak() - before} {time.monotonic() - start} {error}"
        except BaseException as raised:
            told = f"{type(raised).__name__}: {raised}"
        finally:
            os.write(write, told.encode()[:60_000])
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    assert status == 0, f"the reader ended with the signal {status & 127} ({signal.SIGALRM} means: it took too long)"
    parts = told.split(" ", 2)
    assert len(parts) == 3 and parts[0].isdigit(), told
    return Cost(None if parts[2] == "-" else parts[2][1:], int(parts[0]) / 1024, float(parts[1]))


def assert_refused(call: Callable[[], object], *words: str, megabytes: float = 64) -> None:
    """That the call raises ValueError in one line with these words, in good time and without much memory."""
    cost = cost_of_reading(call)
    assert cost.error is not None, "nothing was raised"
    assert "\n" not in cost.error and "weights_only" not in cost.error and len(cost.error) < 2000, cost.error
    for word in words:
        assert word in cost.error, cost.error
    assert cost.megabytes < megabytes, cost


def _peak() -> int:
    """kB of memory that this process has held at most; of a fresh fork what it holds."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1])
