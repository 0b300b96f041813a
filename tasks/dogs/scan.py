"""One look at every image of a noisy set: can it be read, how large is it, and its perceptual hash. Kept on disk."""

import logging
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from tasks.shared.errors import UserError
from tasks.shared.files.writing import make_folder, probe_folder, whole_file
from tasks.shared.images.decode import DAMAGE, open_image, read_bytes
from tasks.shared.images.limits import KEY, out_of_memory
from tasks.shared.terminal.progress import track

log = logging.getLogger(__name__)
SIDE = 16  # of a hash: 256 bits, since 64 make strangers alike among millions of pairs
BYTES = SIDE * SIDE // 8
BLOCK = 20_000  # images between two writes: what an interruption loses at most
SCHEMA = pa.schema(
    {
        "name": pa.binary(), "bytes": pa.int64(), "changed": pa.int64(), "problem": pa.string(),
        "width": pa.int32(), "height": pa.int32(), "hash": pa.binary(BYTES), "mirrored": pa.binary(BYTES),
    }
)  # fmt: skip


class Scan(NamedTuple):
    """What was found, in the order of the names.

    problem: (N,) texts as objects, why an image cannot be read, "" for those that can. sides: (N, 2) int32, width and
    height in pixels.
    hashes, mirrored: (N, 32) uint8, of the image and of its mirror image; 0 for those that cannot be read.
    """

    problem: np.ndarray
    sides: np.ndarray
    hashes: np.ndarray
    mirrored: np.ndarray


def scan(root: Path, names: np.ndarray, cache: Path) -> Scan:
    """Look at the images `root`/name, all cores at once; those that have not changed are taken from `cache`.

    names: (N,) bytes. cache: a Parquet file, made or renewed; what an interrupted scan has done stays in it.
    """
    stats = np.array([_stamp(root / os.fsdecode(bytes(name))) for name in names], dtype=np.int64).reshape(-1, 2)
    known = _read_cache(cache)
    row = _look_up(known, names, stats)
    new = np.flatnonzero(row < 0)
    if len(new):
        log.info("looking at %d files of %s, once: %s keeps what is found", len(new), root, cache)
        probe_folder("data.cache", cache.parent)
        start = time.monotonic()
        parts = [] if known is None else [_without(known, names[new])]
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoding and transforming leave Python's lock
            looked: list[tuple] = []
            for found in track(_looks(pool, root, names[new]), "looking at images", len(new)):
                looked.append(found)
                if len(looked) == BLOCK:
                    parts.append(_table(looked))
                    looked = []
                    _write_cache(cache, pa.concat_tables(parts))
            parts.append(_table(looked))
            _write_cache(cache, pa.concat_tables(parts))
        log.info("looked at %.0f files a second", len(new) / (time.monotonic() - start))
        known = pa.concat_tables(parts)
        row = _look_up(known, names, stats)
    if known is None:  # no names at all
        known = SCHEMA.empty_table()
    rows = known.take(pa.array(row))
    return Scan(
        rows["problem"].to_numpy(zero_copy_only=False),
        np.stack([rows["width"].to_numpy(), rows["height"].to_numpy()], axis=1),
        _bits(rows["hash"]),
        _bits(rows["mirrored"]),
    )


def perceptual_hash(image: Image.Image) -> bytes:
    """256 bits: which low frequencies of the grey image are above their median (pHash, bit for bit imagehash's)."""
    from scipy.fft import dct

    pixels = np.asarray(image.convert("L").resize((4 * SIDE, 4 * SIDE), Image.Resampling.LANCZOS))
    low = dct(dct(pixels, axis=0), axis=1)[:SIDE, :SIDE]
    return np.packbits(low > np.median(low)).tobytes()


def _looks(pool: ThreadPoolExecutor, root: Path, names: np.ndarray) -> Iterator[tuple]:
    """A row of the cache for each name, in their order."""

    def look(name: bytes) -> tuple:
        path = root / os.fsdecode(name)
        return name, *_stamp(path), *_look(path)

    for start in range(0, len(names), BLOCK):  # not all at once: the pool would hold a task for every image
        yield from pool.map(look, map(bytes, names[start : start + BLOCK]))


def _table(rows: list[tuple]) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else [[] for _ in SCHEMA]
    return pa.table(dict(zip(SCHEMA.names, map(list, columns), strict=True)), schema=SCHEMA)


def _look(path: Path) -> tuple[str, int, int, bytes, bytes]:
    """Problem ("" for none), width, height, the hash and that of the mirror image."""
    nothing = bytes(BYTES)
    try:
        with open_image(read_bytes(path), "it") as image:
            width, height = image.size
            image.draft("L", (4 * SIDE * 2, 4 * SIDE * 2))  # JPEG: decoded small, which is all that a hash needs
            grey = image.convert("L")
    except MemoryError:
        return str(out_of_memory("it")), 0, 0, nothing, nothing
    except DAMAGE as error:
        return (str(error).splitlines() or [type(error).__name__])[0].replace(str(path), "it"), 0, 0, nothing, nothing
    mirror = grey.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return "", width, height, perceptual_hash(grey), perceptual_hash(mirror)


def _stamp(path: Path) -> tuple[int, int]:
    """Size in bytes and time of the last change; -1 where there is no such file."""
    try:
        status = path.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


def _look_up(known: pa.Table | None, names: np.ndarray, stats: np.ndarray) -> np.ndarray:
    """(N,) the row of each name in the cache, -1 where there is none or the file has changed since."""
    if known is None or len(known) == 0 or len(names) == 0:
        return np.full(len(names), -1)
    cached = np.array(known["name"].to_pylist())
    order = np.argsort(cached)
    row = order[np.searchsorted(cached, names, sorter=order).clip(max=len(cached) - 1)]
    same = cached[row] == names
    for column, stamp in zip(("bytes", "changed"), stats.T, strict=True):
        same &= known[column].to_numpy()[row] == stamp
    return np.where(same, row, -1)


def _without(known: pa.Table, names: np.ndarray) -> pa.Table:
    """The cache less what is looked at anew."""
    return known.filter(pa.array(~np.isin(np.array(known["name"].to_pylist()), names)))


def _bits(column: pa.ChunkedArray) -> np.ndarray:
    return np.frombuffer(b"".join(column.to_pylist()), np.uint8).reshape(-1, BYTES)


def _read_cache(path: Path) -> pa.Table | None:
    if not path.exists():
        return None
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: not readable ({str(error).splitlines()[0]}); delete it to begin anew") from error
    if table.schema != SCHEMA:
        raise UserError(f"{path}: not a cache of hashes; delete it, or name another folder by data.cache")
    return table.filter(pc.invert(pc.match_substring(table["problem"], KEY)))  # which may have been raised since


def _write_cache(path: Path, table: pa.Table) -> None:
    make_folder(path.parent, "data.cache")
    with whole_file(path, "data.cache") as part:
        pq.write_table(table, part)
