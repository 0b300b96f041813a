"""What tools/prepare_planet.py does: a table of coordinates to a file of cells, and a map of them."""

import time
from pathlib import Path

import numpy as np

from tasks.planet.cells import Cells
from tasks.planet.count import Counter
from tasks.planet.partition import check_limits, partition
from tasks.planet.s2 import levels
from tasks.planet.table import read_table
from tasks.shared.errors import UserError
from tasks.shared.files.writing import probe_file, save_figure
from tasks.shared.terminal.progress import track


def prepare(
    source: str,
    output: str,
    columns: dict[str, str | None],
    max_photos: int,
    min_photos: int,
    min_level: int,
    max_level: int,
    picture: bool,
) -> Cells:
    """Partition the earth by the photos of the table `source`; write the cells to `output`, print what came out.

    columns: as `read_table` takes them. image: whether to draw a map of the cells, beside `output`. The limits are
    those of `split` and `Cells.of_leaves`. Raises UserError for arguments and tables that will not do; nothing is
    written then.
    """
    check_limits(max_photos, min_photos, min_level, max_level)
    file = Path(output)
    if file.suffix.lower() != ".json":
        raise UserError(f"output={output}: expected a file with the suffix .json")
    if not isinstance(picture, bool):
        raise UserError(f"picture={picture!r}; expected true or false")
    for path in (file, file.with_suffix(".png")) if picture else (file,):
        if path.exists():
            raise UserError(f"output: {path} exists already; choose another")
    if not file.parent.is_dir():
        raise UserError(f"output={output}: its folder does not exist")
    probe_file("output", file)

    start = time.perf_counter()
    counter = Counter(max_level)
    for rows in track(read_table(Path(source), columns), "counting photos"):
        counter.add(rows.lat, rows.lon)
    cells = partition(counter, source, max_photos, min_photos, min_level, max_level)
    seconds, occupied = time.perf_counter() - start, len(counter.occupied().ids)
    print(f"{counter.photos:,} photos in {occupied:,} cells of level {max_level}, {seconds:.2f} s")
    tell(cells)
    cells.save(file)
    print(f"written: {file}")
    if picture:
        from tasks.planet.world_map import partition_map

        save_figure(file.with_suffix(".png"), partition_map(cells), "output", dpi=150)
        print(f"written: {file.with_suffix('.png')}")
    return cells


def tell(cells: Cells) -> None:
    """Print what a partition is like."""
    deep = levels(cells.ids)
    share = 100 * cells.left_out / cells.photos
    print(f"{len(cells):,} cells, key {cells.key}; levels {deep.min()} to {deep.max()}")
    print(
        f"photos a cell: {cells.counts.min():,} to {cells.counts.max():,}, median {np.median(cells.counts):,.0f}; "
        f"{cells.left_out:,} photos ({share:.1f} %) are in none and left out"
    )
    above = int((cells.counts > cells.parameters["max_photos"]).sum())
    if above:
        print(f"{above:,} cells hold more than max_photos, as they are at max_level={cells.parameters['max_level']}")
