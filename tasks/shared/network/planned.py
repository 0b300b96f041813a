"""Networks that are laid out before they are made, as a stranger's config may describe one of any size."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch

from tasks.shared.errors import UserError

LONGEST = 30  # seconds of computing, libraries that are imported for it among them; the largest networks take some
SOON = 0.01  # seconds until the next try to stop
DEVICES = (torch.overrides.__file__, str(Path(torch.utils.__file__).parent))


def _changes_device(frame: FrameType | None) -> bool:
    """Whether torch is putting a device on its stack, or taking one off: half of that would outlast the error."""
    while frame is not None:
        if frame.f_code.co_filename.startswith(DEVICES):
            return True
        frame = frame.f_back
    return False


@contextmanager
def planned(source: str) -> Iterator[None]:
    """Around building a network on torch's meta device, where it takes no memory, and no random number is drawn.

    Numbers of layers and of windows may be such that this takes hours all the same. Raises UserError, which begins
    with `source`, for what takes longer than `LONGEST`; in the main thread, which alone can be interrupted.
    """

    def stop(_: int, frame: FrameType | None) -> None:
        if _changes_device(frame):
            signal.setitimer(signal.ITIMER_PROF, SOON)
            return
        raise UserError(f"{source}: its network takes more than {LONGEST} seconds to lay out; expected a smaller one")

    timed = threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer")
    before = signal.signal(signal.SIGPROF, stop) if timed else None
    if timed:
        signal.setitimer(signal.ITIMER_PROF, LONGEST)
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            yield
    finally:
        if timed:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, before)
