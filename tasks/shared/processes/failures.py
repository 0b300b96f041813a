"""What stops work through no fault of its code: no memory, a process that was killed. Imports nothing heavy."""

import errno
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.shared.errors import Lost

LESS_MEMORY = "a smaller data.batch_size (predict: batch_size) or resolution, fewer data.workers or less data.keep_gb"
# What torch and Python say, and what it means. The first that is found counts.
CAUSES = (
    (
        r"unable to \w+( to)?( the)? (shared memory|file </torch_)|killed by signal: Bus error",
        "shared memory (/dev/shm) has no room for the batches of the loader processes; "
        "give fewer data.workers (0: none), a smaller data.batch_size, or more of it (docker run --shm-size)",
    ),
    (
        r"Too many open files|received \d+ items of ancdata",
        "too many open files; give a higher limit (ulimit -n 65536) or fewer data.workers (0: none)",
    ),
    (
        r"DataLoader worker \(pid\(?s?\)? [\d, ]+\) (is killed by signal: Killed|exited unexpectedly)",
        "a loader process was killed, mostly because the machine has no memory left; "
        f"give fewer data.workers (0: none) or {LESS_MEMORY.split(', ')[0]}",
    ),
    (
        r"DataLoader worker \(pid \d+\) is killed by signal",
        "a loader process ended by a signal; give data.workers=0 to see where",
    ),
    (
        r"(CUDA|HIP|MPS backend|XPU) (error: )?out of memory|CUBLAS_STATUS_ALLOC_FAILED|cudaErrorMemoryAllocation",
        "the GPU has no memory left; give a smaller data.batch_size (predict: batch_size) or resolution",
    ),
    (
        r"No usable temporary directory|requires access to a writable cache directory",
        "there is no folder for temporary files that can be written; set TMPDIR to one",
    ),
    (
        r"[Cc]an.t allocate memory|[Nn]ot enough memory|Cannot allocate memory|Unable to allocate|std::bad_alloc",
        f"no memory left; give {LESS_MEMORY}",
    ),
)


def cause_of(error: BaseException) -> str | None:
    """The likely cause of an error that means no memory or a lost process, and the key to turn; None for others."""
    if not isinstance(error, RuntimeError | MemoryError | OSError):
        return None
    text = str(error)
    for pattern, cause in CAUSES:
        if found := re.search(pattern, text):
            signal = re.search(r"killed by signal: ([\w ]+)", text)
            return f"{cause} ({signal.group(0) if signal else found.group(0)})"
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return f"no memory left; give {LESS_MEMORY}"
    return None


@contextmanager
def interruptions_shown() -> Iterator[None]:
    """An error that came of an interruption becomes that interruption again.

    Ctrl-C and SIGTERM arrive at any instruction, and a library that then tidies up what it had half made may fail.
    """
    try:
        yield
    except Exception as error:
        stop: BaseException | None = error
        while stop is not None and not isinstance(stop, KeyboardInterrupt | SystemExit):
            stop = stop.__cause__ or stop.__context__
        if stop is None:
            raise
        raise type(stop)(*stop.args) from error


@contextmanager
def going_on_from(run: Path) -> Iterator[None]:
    """Around training: an error that `cause_of` knows becomes one that says how the run in this folder goes on.

    The folder stays, unlike that of a run whose settings are wrong.
    """
    try:
        yield
    except (RuntimeError, MemoryError, OSError) as error:
        if (cause := cause_of(error)) is None:
            raise
        raise Lost(f"{cause}{resume_hint(run)}") from error


def resume_hint(run: Path) -> str:
    """How to go on with the run, where there is anything of it."""
    command = shlex.join(["python", "tools/train.py", f"resume={run}"])  # names may come from strangers
    return f"; go on with: {command}" if (run / "config.yaml").exists() else ""
