"""Geotagged photos: tables of anybody's, WebDataset shards, the drawn sample."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks.planet.cells import Cells
from tasks.planet.count import Counter
from tasks.planet.dataset import GeotaggedData
from tasks.planet.partition import check_limits
from tasks.planet.partition import partition as partition_of
from tasks.planet.photos import Photos, read_photos, sides
from tasks.planet.sample import TABLES, draw_geotagged_sample
from tasks.planet.shards import read_shards
from tasks.planet.split import Split
from tasks.shared.data.image_data import SPLITS, splits_to_read
from tasks.shared.data.image_set import FolderImages
from tasks.shared.errors import UserError
from tasks.shared.files.inside import check_inside_all
from tasks.shared.terminal.escaped import printable

log = logging.getLogger(__name__)
LOOKED_UP = 500  # files of each split that are looked for before training
CHUNK = 1 << 19  # photos that are counted at once
Node = Mapping[str, Any] | None


def geotagged(
    root: str,
    *,
    train: Node = None,
    val: Node = None,
    split: Node = None,
    columns: dict[str, str | None] | None = None,
    cells: str | None = None,
    partition: dict[str, int] | None = None,
    splits: Sequence[str] = SPLITS,
    **options: Any,
) -> GeotaggedData:
    """Images below `root`, and tables of their paths, latitudes and longitudes.

    Args:
        train, val: `table`, a .csv or .parquet in `root` or anywhere; without val's, train's is split.
        split: of train's table, see `Split`.
        columns: names of the tables' columns, see `read_table`.
        cells: a file of tools/prepare_planet.py; None makes the cells of the photos to train on, by `partition`:
            max_photos, min_photos, min_level, max_level.
    """
    path = Path(root)
    if not path.is_dir():
        raise UserError(f"data.root={root}: no such folder; expected the one that the tables' paths start from")

    def read(table: str, split_by: str | None) -> Photos:
        found = read_photos(path, _find_table(path, table), columns, split_by)
        _look_up(found, options.get("on_corrupt", "error"))
        return found

    first, second = ((node or {}).get("table") for node in (train, val))
    found = sides(read, first, second, "table", Split(**(split or {})), splits_to_read(splits, options))
    return _with_cells(found, cells, partition, options)


def geotagged_shards(
    root: str,
    *,
    train: Node = None,
    val: Node = None,
    split: Node = None,
    columns: dict[str, str | None] | None = None,
    cells: str | None = None,
    partition: dict[str, int] | None = None,
    cache: str = "data/cache",
    splits: Sequence[str] = SPLITS,
    **options: Any,
) -> GeotaggedData:
    """WebDataset shards in `root`: tar files of `key.jpg` beside `key.json`, which has latitude and longitude.

    Args:
        train, val: `shards`, a pattern such as "train-*.tar"; without val's, train's photos are split.
        split, cells, partition: as in `geotagged`; columns: names in the json.
        cache: folder that keeps the index of shards.
    """
    path = Path(root)
    if not path.is_dir():
        raise UserError(f"data.root={root}: no such folder; expected one of shards")

    def read(pattern: str, split_by: str | None) -> Photos:
        return read_shards(path, pattern, columns, split_by, Path(cache), options.get("on_corrupt", "error"))

    first, second = ((node or {}).get("shards") for node in (train, val))
    found = sides(read, first, second, "shards", Split(**(split or {})), splits_to_read(splits, options))
    return _with_cells(found, cells, partition, options)


def geotagged_sample(
    root: str,
    *,
    train: int = 3000,
    val: int = 600,
    draw_seed: int = 0,
    partition: dict[str, int | None] | None = None,
    **options: Any,
) -> GeotaggedData:
    """The drawn sample, written to `root` on first use; train, val: images.

    partition: as in `geotagged`; None for a limit is chosen to suit the number of images.
    """
    draw_geotagged_sample(Path(root), train, val, draw_seed)
    log.info("data: drawn sample images in %s (%d + %d); yours: data=geotagged", root, train, val)
    limits = {"max_photos": max(train // 40, 1), "min_photos": max(train // 400, 1)}
    limits |= {key: value for key, value in (partition or {}).items() if value is not None}
    tables: list[Node] = [{"table": TABLES[side]} for side in SPLITS]
    return geotagged(root, train=tables[0], val=tables[1], partition=limits, **options)


def _find_table(root: Path, table: str) -> Path:
    """In `root`, or from here."""
    paths = (root / table, Path(table))
    found = next((path for path in paths if path.exists()), None)
    if found is None:
        there = sorted(f.name for f in root.iterdir() if f.suffix.lower() in (".csv", ".parquet"))[:5]
        raise UserError(f"{table}: no such table, nor {paths[0]}; tables in data.root: {', '.join(there) or 'none'}")
    return found


def _look_up(photos: Photos, on_corrupt: str) -> None:
    """Look for some of a table's files, evenly spaced, before anything is trained."""
    images = photos.images
    assert isinstance(images, FolderImages)
    check_inside_all(images.names, "the table", "expected paths below data.root")
    count = len(photos.lat)
    rows = np.linspace(0, count - 1, min(count, LOOKED_UP)).round().astype(int).tolist()
    missing = [row for row in rows if not (images.root / os.fsdecode(bytes(images.names[row]))).is_file()]
    if not missing or (on_corrupt == "skip" and len(missing) < len(rows)):
        return
    tip = "" if len(missing) == len(rows) else "; data.on_corrupt=skip leaves such photos out"
    raise UserError(
        f"data.root={printable(images.root)}: of {len(rows)} photos that were looked for {len(missing)} are not "
        f"there, such as {images.name(missing[0])}, row {missing[0] + 1} of the table{tip}"
    )


def _with_cells(
    photos: dict[str, Photos], cells: str | None, limits: dict[str, int] | None, options: dict[str, Any]
) -> GeotaggedData:
    """The data of these photos, with the cells of a file, or made here."""
    made: Cells | None = None
    reports: dict[str, str] = {}
    training = "train" in photos
    if cells is not None and (training or Path(cells).exists()):
        made = Cells.load(Path(cells))
        log.info("cells: %d of %s, key %s", len(made), cells, made.key)
    elif cells is not None:
        log.info("data.cells=%s: no such file; the checkpoint's own cells are taken", cells)
    elif training:
        if not limits:
            raise UserError("neither data.cells nor data.partition is set; expected one of them")
        made = _make_cells(photos["train"], limits)
        reports["cells.json"] = made.text()
    if made is not None and len(made) < 2:
        raise UserError(
            f"data.{'partition' if cells is None else f'cells={cells}'}: {len(made)} cell; expected at least 2: a "
            "smaller max_photos, or a larger min_level"
        )
    return GeotaggedData(photos, made, reports=reports, **options)


def _make_cells(photos: Photos, limits: dict[str, int]) -> Cells:
    check_limits(**limits)
    counter = Counter(limits["max_level"])
    for start in range(0, len(photos.lat), CHUNK):
        counter.add(photos.lat[start : start + CHUNK], photos.lon[start : start + CHUNK])
    cells = partition_of(counter, "data.partition", **limits)
    message = ", ".join(f"{key} {value}" for key, value in limits.items())
    log.info("cells: %d made of the photos to train on (%s), key %s, in cells.json", len(cells), message, cells.key)
    return cells
