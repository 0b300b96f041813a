"""Images in WebDataset shards: tar files of `key.jpg`, with what belongs to it beside it under the same key.

A plain tar file lets any of its members be read by itself. An index of where they lie makes shards a data set like any
other: order and augmentation come of seed, epoch and index, and a process reads its share and no more.
"""

import hashlib
import json
import logging
import os
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from torch import Tensor

from tasks.shared.config.consent import cache_path
from tasks.shared.data.image_set import Images
from tasks.shared.errors import UserError, check_path
from tasks.shared.files.packing import joined, packed
from tasks.shared.files.tar_members import Member, members_of
from tasks.shared.files.writing import make_folder, whole_file
from tasks.shared.images.encoded import EncodedImage
from tasks.shared.images.limits import check_file_size
from tasks.shared.terminal.escaped import printable
from tasks.shared.terminal.progress import track

log = logging.getLogger(__name__)
VERSION = 2  # raise it whenever the index changes: existing ones are then made again
IMAGES = ("jpg", "jpeg", "png", "webp")
COMPRESSED = (".gz", ".tgz", ".bz2", ".xz", ".zst")
LARGEST, BESIDE = 1 << 30, 1 << 20  # bytes of an image's file, and of one beside it
DAMAGE = (tarfile.TarError, EOFError, ValueError, RecursionError, MemoryError)
SHOWN = 3  # broken samples that a message names
PLACES = (("shard", pa.int32()), ("key", pa.binary()), ("offset", pa.int64()), ("size", pa.int64()))


class Beside(NamedTuple):
    """What a sample must have beside its image.

    extensions: extensions of files. facts: from their content, by extension, to values of `columns`; raises ValueError
    with what is wrong. columns: names and types. about: all that `facts` depends on, as plain data.
    """

    extensions: tuple[str, ...] = ()
    facts: Callable[[Mapping[str, bytes]], dict[str, Any]] = lambda contents: {}
    columns: tuple[tuple[str, pa.DataType], ...] = ()
    about: Any = None


class ShardImages(Images):
    """Images at known places of tar files.

    shards: the files. shard, offset, size: (N,), which of them, and where in it, in bytes. keys: (N,) bytes.
    """

    def __init__(self, shards: Sequence[Path], shard: NDArray, offset: NDArray, size: NDArray, keys: NDArray):
        self.shards, self.shard, self.offset, self.size, self.keys = shards, shard, offset, size, keys
        self.labels = np.full(len(shard), -1)

    def name(self, index: int) -> str:
        """As a path in the shard."""
        return printable(self.shards[self.shard[index]] / os.fsdecode(bytes(self.keys[index])))

    def read(self, index: int) -> Tensor:
        return self.encoded(index).decode()

    def encoded(self, index: int) -> EncodedImage:
        path, size = self.shards[self.shard[index]], int(self.size[index])
        check_file_size(self.name(index), size)
        try:
            data = np.fromfile(path, np.uint8, size, offset=int(self.offset[index]))
        except OSError as error:
            raise UserError(f"{self.name(index)}: cannot be read ({error.strerror})") from error
        if len(data) < size:
            raise UserError(f"{self.name(index)}: the shard ends before it does")
        return EncodedImage(data, self.name(index), exif=True)

    def contents(self) -> Iterator[NDArray]:
        yield from (self.shard, self.keys, self.size)


def read_shard_index(
    shards: Sequence[Path], message: str, beside: Beside, cache: Path, on_corrupt: str
) -> tuple[ShardImages, pa.Table]:
    """The images of shards, and a table of what is beside them, of as many rows.

    Args:
        shards: Plain tar files.
        message: What messages call them.
        cache: Folder that keeps the index of shards, until they change.
        on_corrupt: "error", or "skip" to leave out and count broken samples.

    Raises:
        UserError: All is broken, or with "error" any sample; names shards and keys.
    """
    if compressed := [path for path in shards if path.suffix in COMPRESSED]:
        raise UserError(
            f"{printable(compressed[0])}: is compressed; expected plain .tar files, to read any sample by itself"
        )
    if odd := [path for path in shards if not path.is_file()]:  # a pipe would be waited for
        raise UserError(f"{printable(odd[0])}: is no plain file; expected a .tar file")
    table = _index(shards, beside, cache)
    if not len(table):
        raise UserError(f"{message} hold no samples")
    whole = pc.equal(table["problem"], "")
    if not pc.all(whole).as_py():
        _tell_broken(shards, table.filter(pc.invert(whole)), len(table), on_corrupt)
        table = table.filter(whole)
    shard, offset, size = (table[column].to_numpy() for column in ("shard", "offset", "size"))
    keys = joined([packed(chunk.to_pylist(), message) for chunk in table["key"].chunks], message)
    return ShardImages(shards, shard, offset, size, keys), table


def _tell_broken(shards: Sequence[Path], broken: pa.Table, total: int, on_corrupt: str) -> None:
    """Raise, or with "skip" say, what is broken; broken: rows of the index."""
    names = [
        f"{printable(shards[row['shard']] / os.fsdecode(row['key']))}: {row['problem']}"
        for row in broken.slice(0, SHOWN).to_pylist()
    ]
    message = f"{len(broken):,} of {total:,} samples are broken: {'; '.join(names)}"
    if len(broken) == total:
        raise UserError(message)
    if on_corrupt != "skip":
        raise UserError(f"{message}; data.on_corrupt=skip leaves them out")
    log.warning("left out: %s", message)


def _index(shards: Sequence[Path], beside: Beside, cache: Path) -> pa.Table:
    """The samples of all shards, from the cache if they have not changed."""
    states = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in shards]
    digest = hashlib.sha256(json.dumps([VERSION, beside.extensions, beside.about, states]).encode()).hexdigest()[:16]
    cache = cache_path("data.cache", cache, "shards_*.parquet")
    file, schema = cache / f"shards_{digest}.parquet", pa.schema([*PLACES, *beside.columns, ("problem", pa.string())])
    if not file.exists():
        check_path("data.cache", cache)
        log.info("indexing %d shards, once: %s", len(shards), file)
        make_folder(cache, "data.cache")
        with whole_file(file, "data.cache") as part, pq.ParquetWriter(part, schema) as writer:
            for number, path in enumerate(track(shards, "indexing shards")):
                rows = [{"shard": number, **sample} for sample in _samples(path, beside)]
                writer.write_table(pa.Table.from_pylist(rows, schema))
    return pq.read_table(file)


def _samples(shard: Path, beside: Beside) -> Iterator[dict[str, Any]]:
    """A row of the index for each sample; of a shard that breaks off one more, which says so."""
    try:
        with tarfile.open(shard, "r:", tarinfo=Member) as tar:
            faults: list[Exception] = []
            whole = _up_to_fault(members_of(tar, shard), faults)
            files = (member for member in whole if member.isreg() and "." in Path(member.name).name)
            for key, members in groupby(files, lambda member: _parts(member.name)[0]):
                yield _sample(tar, key, {_parts(m.name)[1]: m for m in members}, beside)
            if faults:
                raise faults[0]
            _check_end(shard, tar.offset)
    except DAMAGE as error:
        yield {"key": b"", "problem": f"the shard is damaged, or no tar file ({error})"}
    except OSError as error:
        raise UserError(f"{printable(shard)}: cannot be read ({error.strerror or error})") from error


def _up_to_fault(members: Iterator[tarfile.TarInfo], faults: list[Exception]) -> Iterator[tarfile.TarInfo]:
    """The members before the first that is damaged, whose error comes into `faults`: samples before it stay whole."""
    try:
        yield from members
    except DAMAGE as error:
        faults.append(error)


def _check_end(shard: Path, end: int) -> None:
    """Raise ReadError where a tar file goes on after `end` with what is no header, which tarfile takes for its end."""
    with shard.open("rb") as file:
        file.seek(end)
        if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise tarfile.ReadError(f"no header at byte {end:,}")


def _parts(name: str) -> tuple[str, str]:
    """Key and extension: what is before the first dot of a file's name, and after it."""
    folder, slash, file = name.rpartition("/")
    key, _, extension = file.partition(".")
    return folder + slash + key, extension.lower()


def _sample(tar: tarfile.TarFile, key: str, members: dict[str, tarfile.TarInfo], beside: Beside) -> dict[str, Any]:
    image = next((members[extension] for extension in IMAGES if extension in members), None)
    lacks = ["image"] * (image is None) + [extension for extension in beside.extensions if extension not in members]
    if image is None or lacks:
        return {"key": os.fsencode(key), "problem": f"has no {lacks[0]}, but {', '.join(sorted(members))}"}
    row = {"key": os.fsencode(image.name), "offset": image.offset_data, "size": image.size, "problem": ""}
    if image.size > LARGEST or any(members[extension].size > BESIDE for extension in beside.extensions):
        message = f"is larger than {LARGEST:,} bytes, or what is beside it than {BESIDE:,}"
        return row | {"problem": message}
    try:
        return row | beside.facts({extension: _read(tar, members[extension]) for extension in beside.extensions})
    except ValueError as error:
        return row | {"problem": str(error)}


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None
    return file.read()
