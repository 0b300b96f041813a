"""Files and folders that appear whole: written beside their place, and moved there in one step. Imports no library."""

import csv
import errno
import io
import os
import secrets
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.shared.errors import UserError
from tasks.shared.terminal.escaped import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import Image

PROBE = 1 << 16  # bytes: more than a disk that is full to the last block still takes
PART = ".part-"  # how what is not whole yet is called; a process that is killed leaves it
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}  # only writing fails so
NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS}  # of file systems that have nothing to sync
FORMATS = {".jpg": "JPEG", ".png": "PNG"}


@contextmanager
def whole_file(path: Path, key: str | None = None, durable: bool = True) -> Iterator[Path]:
    """A new, empty file beside `path` to write to, with its suffix; at the end of the block it is moved to `path`.

    A stop at any time, a kill too, leaves the old file or the new one. Where `path` is a symbolic link, the link is
    replaced, and what it points to stays. If the block raises, the file beside is removed and `path` stays as it was.
    The folder of `path` must exist. An OSError of the block is taken as one of writing: nothing else belongs in it.

    key: the config key that names the place, for errors. durable: wait until the disk has it, so that a machine that
    loses power has the old file or the new one too; False for images by the thousand.

    Raises UserError naming key and path where it cannot be written: full disk, no permission, file size limit ...
    """
    path = Path(path)
    part = path.with_name(f"{PART}{secrets.token_hex(6)}{path.suffix[:20]}")
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        try:
            yield part
            if durable:
                sync(part)
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except UserError:
        raise
    except Exception as error:
        if (fault := error if isinstance(error, OSError) else fault_of(error)) is None:
            raise
        raise cannot_write(path, fault, key) from error


@contextmanager
def whole_folder(
    path: Path, key: str | None = None, replace: bool = False, unless: Callable[[], bool] = lambda: False
) -> Iterator[Path]:
    """A new folder beside `path` to fill; at the end of the block it is moved to `path`. Folders above are made.

    As `whole_file`, but not synced. replace: a folder that is there goes when the new one comes; otherwise only an
    empty one may be there. unless: asked at the end; where another process was faster, the new one is dropped.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=PART, dir=path.parent) as temporary:
            made = Path(temporary) / "made"
            made.mkdir()
            yield made
            if unless():
                return
            try:
                if replace and os.path.lexists(path):
                    path.rename(Path(temporary) / "replaced")
                made.rename(path)
            except OSError:
                if not unless():  # another process came in between
                    raise
    except Exception as error:
        if (fault := error if isinstance(error, OSError) else fault_of(error)) is None:
            raise
        raise cannot_write(path, fault, key) from error


def write_text(path: Path, text: str, key: str | None = None) -> None:
    """`text` as a whole file in UTF-8, see `whole_file`. What is no text in it, of a file's name, is escaped."""
    write_bytes(path, text.encode(errors="backslashreplace"), key)


def write_rows(path: Path, rows: Iterable[Iterable[Any]], key: str | None = None) -> None:
    """CSV in UTF-8 as a whole file, see `whole_file`."""
    with (
        whole_file(path, key) as part,
        part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        csv.writer(file).writerows(rows)


def write_image(path: Path, image: "Image.Image", key: str | None = None, durable: bool = False) -> None:
    """An image as a whole file, .jpg or .png, see `whole_file`."""
    write_bytes(path, encode_image(image, FORMATS[path.suffix], quality=92), key, durable)


def encode_image(image: "Image.Image", image_format: str, **options: Any) -> bytes:
    """What Pillow makes of an image. Where it writes a file itself, it hides what a full disk answers."""
    encoded = io.BytesIO()
    image.save(encoded, image_format, **options)
    return encoded.getvalue()


def save_figure(path: Path, figure: "Figure", key: str | None = None, **options: Any) -> None:
    """Matplotlib's figure as a whole file, see `whole_file`. options: of `Figure.savefig`."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format=path.suffix[1:], **options)
    write_bytes(path, drawn.getvalue(), key, durable=False)


def write_bytes(path: Path, data: bytes, key: str | None = None, durable: bool = True) -> None:
    """`data` as a whole file, see `whole_file`."""
    with whole_file(path, key, durable) as part:
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
    _probe(key, folder, folder)


def probe_file(key: str, file: Path) -> None:
    """The same for a file, and that no folder is in its place."""
    _probe(key, file, file.parent)


def _probe(key: str, named: Path, folder: Path) -> None:
    there = folder.absolute()
    try:
        if named != folder and named.is_dir():
            raise UserError(f"{key}={printable(named)} is a folder; expected a file")
        while not os.path.lexists(there):
            there = there.parent
        if not there.is_dir():
            what = "a file" if there.exists() else "a link that leads nowhere"
            raise UserError(f"{key}={printable(named)}: {printable(there)} is {what}; expected a folder")
        with suppress(FileNotFoundError):  # but no others: names that are too long, folders that cannot be entered
            os.lstat(named)
        probe = there / f".probe-{secrets.token_hex(6)}"
        try:
            probe.write_bytes(bytes(PROBE))
            sync(probe)
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(named, error, key) from error


@contextmanager
def report_faults(path: Path, key: str) -> Iterator[None]:
    """Around code of others that writes to `path` by itself: a full disk and the like end in a UserError.

    Where code that cleans up fails in the same way after a UserError, that one is told.
    """
    try:
        yield
    except Exception as error:
        reported = next((each for each in chain(error) if isinstance(each, UserError)), None)
        if reported is error or (fault := fault_of(error)) is None:
            raise
        named = Path(fault.filename) if isinstance(fault.filename, str) else path
        raise reported or cannot_write(named, fault, key) from error


def fault_of(error: BaseException) -> OSError | None:
    """A disk that takes no more and the like, where this error is one or comes of one: libraries wrap them."""
    return next((each for each in chain(error) if isinstance(each, OSError) and each.errno in FULL), None)


def chain(error: BaseException) -> Iterator[BaseException]:
    """An error, and those that led to it."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or following.__context__


def cannot_write(path: Path, error: OSError, key: str | None = None) -> UserError:
    """What to tell of an OSError while `path` was written."""
    named = printable(path) if key is None else f"{key}={printable(path)}"
    return UserError(f"{named}: cannot be written ({reason_of(error)})")


def reason_of(error: OSError) -> str:
    """In the system's words: those of libraries are long."""
    return str(error) if error.errno is None else os.strerror(error.errno)


def sync(file: Path) -> None:
    """Wait until the disk has a file."""
    with file.open("rb") as opened:
        try:
            os.fsync(opened.fileno())
        except OSError as error:
            if error.errno not in NO_SYNC:
                raise
