"""Which process this is, and what becomes of it when another one fails. Imports nothing heavy."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import Popen, TimeoutExpired
from typing import TYPE_CHECKING, Any

from tasks.shared.errors import AlreadyReported, Lost, UserError
from tasks.shared.processes.failures import cause_of, resume_hint
from tasks.shared.terminal.escaped import escaped

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

LAST_WORDS = 30  # seconds that a process which has failed has to say why
LOST = "lost"  # what the file says of a run that can go on as it is
LOOK = 0.5  # seconds between looks for the others


def is_first_process() -> bool:
    """False in the processes that DDP starts beside the first."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0


@contextmanager
def failing_as_one(trainer: "Trainer", folder: Path) -> Iterator[None]:
    """Around training: of the processes that train together, the first to fail says why, and the others just end.

    A process that fails breaks the connections of the others. Which one was first, a file in the run's folder tells.
    One that is killed says nothing: the others tell of it, and how the run goes on.
    """
    first = folder / "failed"
    if is_first_process():
        first.unlink(missing_ok=True)  # of an earlier part of this run
    if trainer.world_size > 1:
        threading.Thread(target=_watch, args=(trainer, folder), daemon=True).start()
    try:
        yield
    except Exception as error:
        if trainer.world_size == 1:
            raise
        from torch.distributed import DistError

        lost = isinstance(error, DistError) or "by peer" in str(error)  # NCCL's and gloo's
        reported = not _create(first, LOST if not isinstance(error, UserError) or error.lost else "")
        if trainer.is_global_zero:
            ended = _end_others(trainer, patience=LAST_WORDS if reported or lost else 0)
            if lost and not reported and (killed := [status for status in ended if status < 0]):
                raise Lost(_killed(killed[0], folder)) from error
        if reported and (lost or isinstance(error, UserError) or cause_of(error)):
            raise AlreadyReported(_read(first) == LOST) from error
        raise
    except BaseException:  # a signal
        if trainer.world_size > 1 and trainer.is_global_zero:
            _end_others(trainer, patience=0)
        raise


def _watch(trainer: "Trainer", folder: Path) -> None:
    """In a thread: end this process where another one is gone, and this one has not noticed within LAST_WORDS.

    It may wait for the other, as long as collectives do, or not have begun to. Lightning would kill it without a word.
    """
    parent = os.getppid()
    others: list[Popen[Any]] = []
    while True:
        time.sleep(LOOK)
        if not trainer.is_global_zero:
            if os.getppid() == parent:
                continue
            message = "the first process was killed or has ended"
        else:
            launcher = trainer.strategy.launcher
            if launched := getattr(launcher, "procs", []):
                if launched is not others:
                    launcher.procs = others = list(launched)  # type: ignore[union-attr]
                    launched.clear()  # Lightning watches this list, and kills this process where one in it has failed
            elif others:
                return  # they have been ended
            if not (failed := [status for other in others if (status := other.poll())]):
                continue
            message = _killed(failed[0], folder)
        time.sleep(LAST_WORDS)
        if _create(folder / "failed", LOST):
            hint = "" if trainer.is_global_zero else resume_hint(folder)
            print(f"error: {escaped(message + hint)}", file=sys.stderr, flush=True)
        if trainer.is_global_zero:
            _end_others(trainer, patience=0)
        os._exit(1)


def _killed(status: int, folder: Path) -> str:
    how = f"was killed ({signal.Signals(-status).name})" if status < 0 else f"ended with status {status}"
    memory = ", mostly because the machine has no memory left; give a smaller data.batch_size or fewer data.workers"
    return f"a process that trains with this one {how}{memory if status == -9 else ''}{resume_hint(folder)}"


def _create(file: Path, text: str) -> bool:
    """Create a file; False where another process has, or has taken away the folder meanwhile."""
    try:
        with file.open("xb", buffering=0) as opened, suppress(OSError):  # a full disk has room for the name
            opened.write(text.encode())
    except (FileExistsError, FileNotFoundError):
        return False
    return True


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def _end_others(trainer: "Trainer", patience: float) -> list[int]:
    """End the processes that this one has started, after `patience` seconds; returns their exit statuses."""
    launched = getattr(trainer.strategy.launcher, "procs", [])
    processes = list(launched)
    launched.clear()  # Lightning watches this list, and kills this process where one in it has failed
    deadline = time.monotonic() + patience
    ended = []
    for process in processes:
        try:
            ended.append(process.wait(max(deadline - time.monotonic(), 0)))
        except TimeoutExpired:
            process.send_signal(signal.SIGKILL)  # it may wait for this one, and hears nothing else
            process.wait(LAST_WORDS)
    return ended
