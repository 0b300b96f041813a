"""Which cells of a partition lie beside each other."""

import numpy as np
from numpy.typing import NDArray

from tasks.planet import s2
from tasks.planet.cells import Cells


def neighbours(cells: Cells) -> list[NDArray[np.int64]]:
    """For each cell the indices of those that touch it, ascending, at a side or a corner; cells may be of any size.

    Two cells are found from the smaller one: of the up to eight cells of its own level around it, those that lie in a
    cell of the partition. Larger ones, in which smaller cells lie, are found from those. Dropped cells are nobody's
    neighbours.
    """
    beside, owners = s2.same_level_neighbours(cells.ids)
    firsts, lasts = s2.leaf_ranges(cells.ids)
    index = np.searchsorted(firsts, beside, side="right") - 1
    inside = (index >= 0) & (beside <= lasts[index])
    pairs = np.stack([owners[inside], index[inside]], axis=1)
    pairs = np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0)
    return np.split(pairs[:, 1], np.searchsorted(pairs[:, 0], np.arange(1, len(cells))))
