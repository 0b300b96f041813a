"""Folders that this toolkit writes to: claimed by one process, marked, and removed only where they carry the mark.

The mark, `.mobilenet_toolkit`, is what a process locks that works in the folder. Such a lock ends with its process,
however that ends, and loader processes do not inherit it. Imports nothing heavy.
"""

import errno
import fcntl
import os
import shlex
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from tasks.shared.errors import UserError, check_path
from tasks.shared.files.writing import cannot_write, probe_folder, whole_folder, write_text

MARK = ".mobilenet_toolkit"
CONFIG, METRICS = "config.yaml", "metrics.json"  # of a run's folder: there from its first moment on, and at its end
TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)  # what a rename answers where something is there
IN_PLACE = (
    errno.EBUSY,
    errno.EXDEV,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
)  # or the folder is mounted, or its parent not ours
UNLOCKABLE = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # file systems that know no locks
Files = Callable[[Path], Mapping[str, str]]


class Taken(UserError):
    """Somebody has this folder."""


def nothing(_: Path) -> Mapping[str, str]:
    return {}


@contextmanager
def claimed(folder: Path, files: Files = nothing, key: str = "output", free: bool = False) -> Iterator[Path]:
    """A new folder for this process alone, as long as the block runs; of two that ask for it at once one gets it.

    It appears with the mark and with `files(folder)`, texts by name, in one step; an empty folder is taken too. free:
    where `folder` is taken, the next name that is not, `folder`_2 and so on. One that holds no more than the mark when
    the block fails, or when its process was killed, counts for nothing.

    Raises Taken, and UserError naming `key` where it cannot be written.
    """
    path = folder
    for number in count(2):
        try:
            lock = _claim(path, files(path), key)
            break
        except Taken:
            if not free:
                raise
            path = folder.with_name(f"{folder.name}_{number}")
    try:
        yield path
    except BaseException:
        if names_in(path) == {MARK}:
            remove(path)
        raise
    finally:
        os.close(lock)


@contextmanager
def held(folder: Path, key: str) -> Iterator[None]:
    """Alone in a run's folder that is there, as long as the block runs; `check_plain` has been called.

    Raises UserError where another process works in it, or where it cannot be written.
    """
    probe_folder(key, folder)
    try:
        lock = _lock(folder / MARK)
    except BlockingIOError as error:
        raise UserError(f"{key}={folder}: another process trains this run; wait until it ends, or stop it") from error
    except OSError as error:
        raise cannot_write(folder, error, key) from error
    try:
        yield
    finally:
        os.close(lock)


def check_plain(folder: Path, key: str) -> None:
    """Raise UserError for anything in a run's folder that is no plain file or folder.

    What is written to a linked folder goes elsewhere, and a run folder may come from a stranger.
    """
    for above, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(above, name)
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                raise UserError(
                    f"{key}={folder}: {path} is a symbolic link to {path.readlink()}; a run's folder holds none: put "
                    "in its place what it leads to, or remove it"
                )
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                raise UserError(f"{key}={folder}: {path} is no plain file; remove it")


def is_marked(folder: Path) -> bool:
    """Whether this toolkit has made the folder. It opens nothing: to close the mark would end a lock on it."""
    try:
        return not folder.is_symlink() and stat.S_ISREG((folder / MARK).lstat().st_mode)
    except OSError:
        return False


def remove(folder: Path) -> bool:
    """Remove a folder with all that it holds, where it carries the mark; says whether it did.

    The one place that removes folders which may have been there before. It follows no link. One that is mounted, or
    whose parent is not ours, stays, and is empty.
    """
    if not is_marked(folder):
        return False
    for name in sorted(names_in(folder), key=MARK.__eq__):  # the mark last: what is left by a kill can be taken
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    with suppress(OSError):
        folder.rmdir()
    return True


def _claim(folder: Path, files: Mapping[str, str], key: str) -> int:
    """The descriptor of the locked mark in a folder that is this process's own from now on."""
    if folder.is_symlink():
        folder = folder.resolve()  # named by the user
    check_path(key, folder)
    names = names_in(folder)
    if names == {MARK}:
        return _claim_in_place(folder, files, key)
    if names:
        raise _taken(folder, key)
    if not folder.exists():
        probe_folder(key, folder)
    lock = -1
    try:
        with whole_folder(folder, key) as part:
            lock = _lock(part / MARK)
            for name, text in files.items():
                write_text(part / name, text)
    except BaseException as error:
        if lock >= 0:
            os.close(lock)
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in TAKEN and names_in(folder):
            raise _taken(folder, key) from error
        if isinstance(cause, OSError) and cause.errno in IN_PLACE and folder.is_dir():
            return _claim_in_place(folder, files, key)
        raise
    return lock


def _claim_in_place(folder: Path, files: Mapping[str, str], key: str) -> int:
    """The same of an empty folder that cannot be replaced, or of one that a process has left with its mark alone."""
    try:
        lock = _lock(folder / MARK)
    except BlockingIOError as error:
        raise _taken(folder, key) from error
    except OSError as error:
        raise cannot_write(folder, error, key) from error
    try:
        if names_in(folder) != {MARK}:
            raise _taken(folder, key)
        probe_folder(key, folder)
        for name, text in files.items():
            write_text(folder / name, text)
    except BaseException:
        os.close(lock)
        raise
    return lock


def names_in(folder: Path) -> set[str]:
    """What is in it; nothing where there is no folder. A file in its place counts as what is in it."""
    try:
        return {entry.name for entry in os.scandir(folder)}
    except NotADirectoryError:
        return {folder.name}
    except FileNotFoundError:
        return set()


def _taken(folder: Path, key: str | None) -> Taken:
    run = shlex.quote(f"resume={folder}") if (folder / CONFIG).exists() else None
    resumable = f", or go on with the run in it: {run}" if run else ""
    return Taken(f"{key or 'output'}={folder} exists already and is not empty; choose another{resumable}")


def _lock(mark: Path) -> int:
    """A descriptor of the mark, made if need be, with a lock on it. Raises BlockingIOError where another has it."""
    lock = os.open(mark, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in UNLOCKABLE:
            return lock
        os.close(lock)
        if error.errno in (errno.EACCES, errno.EAGAIN):
            raise BlockingIOError from error
        raise
    return lock
