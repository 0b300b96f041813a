"""A teacher's answers on disk, so that it is asked once for each image."""

import errno
import hashlib
import json
import os
import stat
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.shared.errors import UserError, check_path
from tasks.shared.files.writing import PART, cannot_write

ABOUT, ANSWERS, SEALS = "about.json", "answers.f16", "seals.u32"
CHUNK = 1 << 20  # bytes that are written at once


class PredictionCache:
    """Answers to `count` images, `width` numbers each, memory-mapped: loader processes read what the main one writes.

    Beside each answer stands a seal, the checksum of image and answer together. An answer whose seal does not fit is
    unknown: never written, half written when the machine stopped, or given for other pixels of the same name. So
    there is nothing to lock, and processes that write the same answers may do so at once.
    """

    def __init__(self, folder: Path, count: int, width: int):
        self.folder, self.count, self.width = folder, count, width
        self.predictions = _map(folder / ANSWERS, np.dtype("<f2"), (count, width))
        self.seals = _map(folder / SEALS, np.dtype("<u4"), (count,))

    def __reduce__(self) -> tuple[Any, ...]:  # a memory map would be pickled as a copy
        return PredictionCache, (self.folder, self.count, self.width)

    def read(self, index: int, checksum: int) -> NDArray[np.float16] | None:
        """(K,), the answer to an image of this checksum; None where it is not known."""
        prediction = np.array(self.predictions[index])
        return prediction if int(self.seals[index]) == _seal(prediction, checksum) else None

    def write(self, index: int, checksum: int, prediction: NDArray[np.float16]) -> None:
        self.predictions[index] = prediction
        self.seals[index] = _seal(prediction, checksum)


def checksum_of(image: NDArray[np.uint8]) -> int:
    """Of an image's pixels."""
    return zlib.crc32(np.ascontiguousarray(image).data)


def _seal(prediction: NDArray[np.float16], checksum: int) -> int:
    return zlib.crc32(prediction.tobytes(), checksum)


def open_cache(path: Path, name: str, about: dict[str, Any], count: int, width: int) -> PredictionCache:
    """The answers in a folder of `path` whose name follows from `about`: those of another teacher lie elsewhere.

    about: all that the answers depend on, as plain data; kept beside them with the teacher's name. The folder is made
    whole, with room for all answers, or not at all. Raises UserError naming teacher.cache_folder.
    """
    check_path("teacher.cache_folder", path)
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    folder = path / f"teacher_{digest}"
    try:
        if not folder.exists():
            _make(folder, {"teacher": name} | about, count, width)
        return PredictionCache(folder, count, width)
    except OSError as error:
        needed = 1e-6 * count * (2 * width + 4)
        raise UserError(
            f"{cannot_write(path, error, 'teacher.cache_folder')}; expected room for "
            f"{count:,} answers of {width:,} numbers, {needed:,.1f} MB. teacher.cache=false asks the teacher at every "
            "step instead"
        ) from error


def _make(folder: Path, about: dict[str, Any], count: int, width: int) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=PART, dir=folder.parent) as temporary:
        made = Path(temporary) / "made"
        made.mkdir()
        (made / ABOUT).write_text(json.dumps(about, indent=1) + "\n", "utf-8")
        _reserve(made / ANSWERS, 2 * count * width)
        _reserve(made / SEALS, 4 * count)
        try:
            made.rename(folder)
        except OSError:
            if not folder.exists():  # otherwise another process was faster
                raise


def _reserve(file: Path, size: int) -> None:
    """Zeros, written out: writing to a map of a file that the disk has no room for would kill the process."""
    with file.open("wb") as out:
        for start in range(0, size, CHUNK):
            out.write(bytes(min(CHUNK, size - start)))
        out.flush()
        os.fsync(out.fileno())


def _map(file: Path, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    expected = dtype.itemsize * int(np.prod(shape))
    with os.fdopen(_open_own(file), "r+b") as opened:
        found = os.fstat(opened.fileno()).st_size
        if found != expected:
            raise _foreign(file, f"holds {found:,} bytes, expected {expected:,}")
        if expected == 0:  # nothing can be mapped
            return np.zeros(shape, dtype)
        return np.memmap(opened, dtype, mode="r+", shape=shape)


def _open_own(file: Path) -> int:
    """A descriptor to write with. A folder that came from a stranger may hold links, which lead to files elsewhere."""
    try:
        opened = os.open(file, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise _foreign(file, "is no plain file") from error
        raise
    about = os.fstat(opened)
    if not stat.S_ISREG(about.st_mode) or about.st_nlink > 1:
        os.close(opened)
        raise _foreign(file, "is no plain file, or has another name too")
    return opened


def _foreign(file: Path, found: str) -> UserError:
    return UserError(f"{file}: {found}; delete its folder, it is made again")
