"""Which pairs of images embeddings are judged by: all that there are, or listed ones."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tasks.facenet.metrics import Roc, allowed, make_roc
from tasks.facenet.pairs import (
    Floats,
    Ints,
    Nearest,
    count_pairs,
    different_distances,
    farthest_same,
    listed_distances,
    nearest_different,
    same_distances,
)


class PairSet(Protocol):
    """Pairs of images, by their places in embeddings (N, D). same, different: pairs of one person, and of two."""

    same: int
    different: int

    def roc(self, vectors: Floats, far: float) -> Roc:
        """Good for FARs up to `far`."""

    def doubtful(self, vectors: Floats, count: int) -> tuple[Nearest, Nearest]:
        """Of each kind `count` pairs: of two persons those nearest, and of one those farthest apart, that first."""


class AllPairs:
    """Each image with each other. identities: (N,) int64."""

    def __init__(self, identities: Ints):
        self.identities = identities
        self.same, self.different = count_pairs(identities)

    def roc(self, vectors: Floats, far: float) -> Roc:
        different = different_distances(vectors, self.identities)
        return make_roc(same_distances(vectors, self.identities), different, allowed(far, self.different) + 1)

    def doubtful(self, vectors: Floats, count: int) -> tuple[Nearest, Nearest]:
        return nearest_different(vectors, self.identities, count), farthest_same(vectors, self.identities, count)


class ListedPairs:
    """places: (P, 2) int64; shows_one: (P,), whether a pair shows one person."""

    def __init__(self, indices: Ints, shows_one: NDArray[np.bool_]):
        self.indices, self.shows_one = indices, shows_one
        self.same, self.different = int(shows_one.sum()), int((~shows_one).sum())

    def distances(self, vectors: Floats) -> Floats:
        """(P,)."""
        return listed_distances(vectors, self.indices)

    def roc(self, vectors: Floats, far: float) -> Roc:
        distances = self.distances(vectors)
        return make_roc(distances[self.shows_one], [distances[~self.shows_one]], allowed(far, self.different) + 1)

    def doubtful(self, vectors: Floats, count: int) -> tuple[Nearest, Nearest]:
        distances = self.distances(vectors)
        nearest, farthest = np.argsort(distances, kind="stable"), np.argsort(-distances, kind="stable")
        chosen = nearest[~self.shows_one[nearest]][:count], farthest[self.shows_one[farthest]][:count]
        different, same = (Nearest(distances[rows], self.indices[rows]) for rows in chosen)
        return different, same
