"""Which process this is, and what becomes of it when another one fails. Imports nothing heavy."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import TimeoutExpired
from typing import TYPE_CHECKING

from tasks.shared.errors import AlreadyTold, UserError

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

LAST_WORDS = 30  # seconds that a process which has failed has to say why


def is_first_process() -> bool:
    """False in the processes that DDP starts beside the first."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0


@contextmanager
def failing_as_one(trainer: "Trainer", folder: Path) -> Iterator[None]:
    """Around training: of the processes that train together, the first to fail says why, and the others just end.

    A process that fails breaks the connections of the others. Which one was first, a file in the run's folder tells.
    """
    first = folder / "failed"
    if is_first_process():
        first.unlink(missing_ok=True)  # of an earlier part of this run
    try:
        yield
    except Exception as error:
        if trainer.world_size == 1:
            raise
        from torch.distributed import DistError

        told = not _create(first)
        if trainer.is_global_zero:
            _end_others(trainer, patience=LAST_WORDS if told else 0)
        if told and (isinstance(error, UserError | DistError) or "by peer" in str(error)):  # NCCL's and gloo's
            raise AlreadyTold from error
        raise


def _create(file: Path) -> bool:
    """Create a file; False where another process has, or has taken away the folder meanwhile."""
    try:
        file.touch(exist_ok=False)
    except (FileExistsError, FileNotFoundError):
        return False
    return True


def _end_others(trainer: "Trainer", patience: float) -> None:
    launched = getattr(trainer.strategy.launcher, "procs", [])
    processes = list(launched)
    launched.clear()  # Lightning watches this list, and kills this process where one in it has failed
    deadline = time.monotonic() + patience
    for process in processes:
        try:
            process.wait(max(deadline - time.monotonic(), 0))
        except TimeoutExpired:
            process.send_signal(signal.SIGKILL)  # it may wait for this one, and hears nothing else
