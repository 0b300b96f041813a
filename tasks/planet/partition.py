"""Splitting the earth by its photos."""

import numpy as np

from tasks.planet.cells import Cells
from tasks.planet.count import NOTHING, Counter, Occupied, gather, run_starts
from tasks.planet.s2 import DEEPEST, ancestors
from tasks.shared.errors import UserError


def split(occupied: Occupied, max_photos: int, min_level: int, max_level: int) -> Occupied:
    """The occupied leaves of the quadtree in which a cell is split while it holds more than `max_photos`.

    occupied: photos by cell of `max_level`. A leaf is at `min_level` at least, and above `max_photos` at `max_level`
    alone. One pass a level: neighbours with the same ancestor are what lies in it.
    """
    found, rest = [NOTHING], occupied
    for level in range(min_level, max_level + 1):
        cells = ancestors(rest.ids, level)
        starts = run_starts(cells)
        counts = np.add.reduceat(rest.counts, starts)
        leaf = (counts <= max_photos) | (level == max_level)
        found.append(Occupied(cells[starts][leaf], counts[leaf], np.add.reduceat(rest.sums, starts)[leaf]))
        open_ = np.repeat(~leaf, np.diff(starts, append=len(cells)))
        rest = Occupied(rest.ids[open_], rest.counts[open_], rest.sums[open_])
    return gather(found)


def partition(counter: Counter, source: str, max_photos: int, min_photos: int, min_level: int, max_level: int) -> Cells:
    """The cells of the photos in `counter`, which has counted at `max_level`.

    source: what errors call them. Raises UserError where no cell holds `min_photos`.
    """
    parameters = {"max_photos": max_photos, "min_photos": min_photos, "min_level": min_level, "max_level": max_level}
    leaves = split(counter.occupied(), max_photos, min_level, max_level)
    cells = Cells.of_leaves(leaves, counter.photos, parameters)
    if not len(cells):
        raise UserError(
            f"{source}: of its {counter.photos:,} photos no cell holds min_photos={min_photos}; expected more photos, "
            "or a smaller min_photos"
        )
    return cells


def check_limits(max_photos: int, min_photos: int, min_level: int, max_level: int) -> None:
    """Raise a UserError that names every limit that will not do."""
    given = {"max_photos": max_photos, "min_photos": min_photos, "min_level": min_level, "max_level": max_level}
    problems = [
        f"{key}={value!r}; expected a whole number of at least {1 if 'photos' in key else 0}"
        for key, value in given.items()
        if not isinstance(value, int) or isinstance(value, bool) or value < ("photos" in key)
    ]
    if not problems and max_photos < min_photos:
        problems.append(f"max_photos={max_photos} is below min_photos={min_photos}; expected at least that")
    if not problems and not min_level <= max_level <= DEEPEST:
        problems.append(
            f"min_level={min_level}, max_level={max_level}; expected min_level <= max_level <= {DEEPEST}, S2's deepest"
        )
    if problems:
        raise UserError("\n".join(problems))
