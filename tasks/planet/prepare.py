"""What tools/prepare_planet.py does: a table of coordinates to a file of cells, and a map of them."""

import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from tasks.planet.cells import Cells
from tasks.planet.count import Counter
from tasks.planet.partition import check_limits, partition
from tasks.planet.s2 import levels
from tasks.planet.settings import PreparePlanetConfig
from tasks.planet.table import read_table
from tasks.shared.errors import UserError
from tasks.shared.files.writing import probe_file, save_figure
from tasks.shared.terminal.progress import track


def prepare(config: PreparePlanetConfig) -> Cells:
    """Partition the earth by the photos of a table; write the cells to `output`, print what came out.

    columns: as `read_table` takes them. picture: whether to draw a map of the cells, beside `output`. The limits are
    those of `split` and `Cells.of_leaves`. Raises UserError for arguments and tables that will not do; nothing is
    written then.
    """
    limits = (config.max_photos, config.min_photos, config.min_level, config.max_level)
    check_limits(*limits)
    output, with_map, file = config.output, config.picture, Path(config.output)
    if file.suffix.lower() != ".json":
        raise UserError(f"output={output}: expected a file with the suffix .json")
    for path in (file, file.with_suffix(".png")) if with_map else (file,):
        if path.exists():
            raise UserError(f"output: {path} exists already; choose another")
    if not file.parent.is_dir():
        raise UserError(f"output={output}: its folder does not exist")
    probe_file("output", file)

    start = time.perf_counter()
    counter = Counter(config.max_level)
    for rows in track(read_table(Path(config.source), asdict(config.columns)), "counting photos"):
        counter.add(rows.lat, rows.lon)
    cells = partition(counter, config.source, *limits)
    seconds, occupied = time.perf_counter() - start, len(counter.occupied().ids)
    print(f"{counter.photos:,} photos in {occupied:,} cells of level {config.max_level}, {seconds:.2f} s")
    tell(cells)
    cells.save(file)
    print(f"written: {file}")
    if with_map:
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
