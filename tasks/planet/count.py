"""Counting photos by cell, chunk by chunk: memory grows with the occupied cells, not with the photos."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasks.planet.s2 import Ids, ancestors, leaf_ids
from tasks.planet.sphere import unit_vectors

UNIT = 1 << 30  # of the summed vectors: 6 mm. Whole numbers add up to the same in any order, so chunks do not matter


class Occupied(NamedTuple):
    """Cells and what lies in them.

    ids: (C,) ascending. counts: (C,) int64, photos in each. sums: (C, 3) int64, of their unit vectors, times `UNIT`.
    """

    ids: Ids
    counts: NDArray[np.int64]
    sums: NDArray[np.int64]


NOTHING = Occupied(np.empty(0, np.uint64), np.empty(0, np.int64), np.empty((0, 3), np.int64))


class Counter:
    """Photos in each cell of one level.

    A chunk costs its numbering and sorting. Chunks wait until they are as large as the total before they are merged
    into it, so a photo is merged a few times however many chunks there are.
    """

    def __init__(self, level: int):
        self.level = level
        self.photos = 0
        self._total = NOTHING
        self._waiting: list[Occupied] = []

    def add(self, lat: ArrayLike, lon: ArrayLike) -> None:
        """Count photos at these (N,) degrees."""
        ids = ancestors(leaf_ids(lat, lon), self.level)
        sums = np.rint(unit_vectors(lat, lon) * UNIT).astype(np.int64)
        self.photos += len(ids)
        self._waiting.append(gather([Occupied(ids, np.ones(len(ids), np.int64), sums)]))
        if sum(len(chunk.ids) for chunk in self._waiting) > len(self._total.ids):
            self._merge()

    def occupied(self) -> Occupied:
        """All that was added."""
        self._merge()
        return self._total

    def _merge(self) -> None:
        self._total = gather([self._total, *self._waiting])
        self._waiting = []


def gather(parts: Sequence[Occupied]) -> Occupied:
    """One entry a cell, by id, of parts whose entries may stand in any order."""
    ids = np.concatenate([part.ids for part in parts])
    order = np.argsort(ids, kind="stable")
    ids = ids[order]
    starts = run_starts(ids)
    counts = np.add.reduceat(np.concatenate([part.counts for part in parts])[order], starts)
    sums = np.empty((len(starts), 3), np.int64)
    for axis in range(3):  # one after another, for the memory
        sums[:, axis] = np.add.reduceat(np.concatenate([part.sums[:, axis] for part in parts])[order], starts)
    return Occupied(ids[starts], counts, sums)


def run_starts(ids: Ids) -> NDArray[np.intp]:
    """Where each run of equal ids begins."""
    changes = np.ones(len(ids), bool)
    changes[1:] = ids[1:] != ids[:-1]
    return np.flatnonzero(changes)
