"""Photos and where they were taken, and which of them a split has."""

import logging
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.planet.s2 import Floats
from tasks.planet.split import Split
from tasks.planet.table import read_table
from tasks.shared.data.image_set import FolderImages, Images, Picked
from tasks.shared.errors import UserError
from tasks.shared.files.packing import joined, packed
from tasks.shared.terminal.progress import track

log = logging.getLogger(__name__)


class Photos(NamedTuple):
    """images: N of them. lat, lon: (N,) degrees. numbers: (N,), what a split goes by; empty where there is none."""

    images: Images
    lat: Floats
    lon: Floats
    numbers: Floats

    def pick(self, rows: NDArray[np.int64], labels: NDArray[np.int64] | None = None) -> "Photos":
        """Those at these places, (M,); with labels (M,) if given, else -1."""
        numbers = self.numbers[rows] if len(self.numbers) else self.numbers
        return Photos(Picked(self.images, rows, labels), self.lat[rows], self.lon[rows], numbers)


def read_photos(root: Path, file: Path, columns: dict[str, str | None] | None, split_by: str | None) -> Photos:
    """The photos of a table, whose paths are relative to `root`; see `tasks.planet.table.read_table`."""
    chunks = []
    for rows in track(read_table(file, columns, True, split_by, "data.columns"), "reading the table"):
        chunks.append((packed([os.fsencode(p) for p in rows.paths], file), rows.lat, rows.lon, rows.numbers))
    names, *others = zip(*chunks, strict=True)
    lat, lon, numbers = (np.concatenate(parts) for parts in others)
    images = joined(names, file)
    return Photos(FolderImages(root, images, np.full(len(images), -1)), lat, lon, numbers)


def sides(
    read: Callable[[str, str | None], Photos],
    train: str | None,
    val: str | None,
    key: str,
    split: Split,
    needed: Collection[str],
) -> dict[str, Photos]:
    """The photos of each of the `needed` sides, "train" and "val".

    read: from a source, and what a split of it goes by, to its photos. train, val: sources; without `val` those of
    `train` are split. key: what sources are called in the config.
    """
    if val is not None:
        return {side: read(_given(train if side == "train" else val, side, key), None) for side in needed}
    photos = read(_given(train, "train" if "train" in needed else "val", key), split.checked().by)
    evaluated = split.evaluated(photos.numbers)
    count = int(evaluated.sum())
    message = f"data.split.by={split.by}: {len(evaluated) - count:,} photos to train on, {count:,} to evaluate on"
    if count in (0, len(evaluated)):
        raise UserError(f"{message}; expected some on both sides: another data.split.share, or data.val.{key}")
    log.info("%s", message)
    return {side: photos.pick(np.flatnonzero(evaluated == (side == "val"))) for side in needed}


def _given(source: str | None, side: str, key: str) -> str:
    if source is None:
        raise UserError(f"data.{side}.{key} is not set; give data.{side}.{key}=...")
    return source
