"""Files that appear whole: written beside their place, synced, and moved there in one step. Imports nothing heavy."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.shared.errors import UserError

PROBE = 1 << 16  # bytes: more than a disk that is full to the last block still takes


@contextmanager
def whole_file(path: Path, key: str | None = None, durable: bool = True) -> Iterator[Path]:
    """A new, empty file beside `path` to write to, with its suffix; at the end of the block it is moved to `path`.

    A stop at any time, a kill too, leaves the old file or the new one. Where `path` is a symbolic link, the link is
    replaced, and what it points to stays. If the block raises, the file beside is removed and `path` stays as it was.
    The folder of `path` must exist. An OSError of the block is taken as one of writing: nothing else belongs in it.

    key: the config key that names the place, for errors. durable: wait until the disk has it, so that a machine that
    loses power has the old file or the new one too; False for pictures by the thousand.

    Raises UserError naming key and path where it cannot be written: full disk, no permission, file size limit ...
    """
    path = Path(path)
    part = path.with_name(f".part-{secrets.token_hex(6)}{path.suffix[:20]}")
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        try:
            yield part
            if durable:
                _sync(part)
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise cannot_write(path, error, key) from error


def write_text(path: Path, text: str, key: str | None = None) -> None:
    """`text` as a whole file in UTF-8, see `whole_file`."""
    write_bytes(path, text.encode(), key)


def write_bytes(path: Path, data: bytes, key: str | None = None) -> None:
    """`data` as a whole file, see `whole_file`."""
    with whole_file(path, key) as part:
        part.write_bytes(data)


def make_folder(folder: Path, key: str | None = None) -> None:
    """Make a folder and those above it, unless it exists. Raises UserError naming key and path."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error, key) from error


def probe_folder(key: str, folder: Path) -> None:
    """See that files can be written to `folder`, or where it is to be made; leaves nothing.

    Called before work starts, so that hours of it are not lost for want of room or permission.
    Raises UserError naming key and path.
    """
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    if not there.is_dir():
        raise UserError(f"{key}={folder}: {there} is a file; expected a folder")
    probe = there / f".probe-{secrets.token_hex(6)}"
    try:
        try:
            probe.write_bytes(bytes(PROBE))
            _sync(probe)
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(folder, error, key) from error


def cannot_write(path: Path, error: OSError, key: str | None = None) -> UserError:
    """What to tell of an OSError while `path` was written."""
    named = str(path) if key is None else f"{key}={path}"
    return UserError(f"{named}: cannot be written ({error.strerror or error})")


def _sync(file: Path) -> None:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
