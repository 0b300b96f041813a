"""Distances between embeddings, of listed pairs and of all.

All pairs of N images are many: 87.5 million of LFW's 13,233. They are made a block of rows at a time and never held
together. Distances are squared L2, computed in float64 and rounded to float32, so that images that are the same have
the same distances wherever their rows lie.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

ROWS = 256  # images in a block
CHUNK = 1 << 24  # distances that are handed on together: 64 MiB
ROUNDING = 1e-12  # what is left of equal float64 numbers, as a share of them


class Nearest(NamedTuple):
    """Pairs with something in common: distances (K,), and images (K, 2) by their place in the embeddings."""

    distances: Floats
    images: Ints


def count_pairs(identities: Ints) -> tuple[int, int]:
    """How many of all pairs of images with these identities (N,) show one person, and how many two."""
    sizes = np.unique(identities, return_counts=True)[1].astype(np.int64)
    same, count = int((sizes * (sizes - 1) // 2).sum()), len(identities)
    return same, count * (count - 1) // 2 - same


def listed_distances(embeddings: Floats, pairs: Ints) -> Floats:
    """(P,) of pairs (P, 2), places in embeddings (N, D)."""
    difference = embeddings[pairs[:, 0]].astype(np.float64) - embeddings[pairs[:, 1]]
    return np.square(difference).sum(1).astype(np.float32)


def same_distances(embeddings: Floats, identities: Ints) -> Floats:
    """Of all pairs of one person. embeddings (N, D), identities (N,)."""
    found = [block[same] for _, block, same, _ in _blocks(embeddings, identities, same_only=True)]
    return np.concatenate([np.empty(0, np.float32), *found])


def different_distances(embeddings: Floats, identities: Ints) -> Iterator[Floats]:
    """Of all pairs of two persons, about `CHUNK` at a time, in no order; each array may be changed."""
    buffer, filled = np.empty(CHUNK + ROWS * len(embeddings), np.float32), 0
    for _, block, _, different in _blocks(embeddings, identities):
        masked = different.shape[1]  # right of it all pairs are of two persons
        for part in (block[:, :masked][different], block[:, masked:].ravel()):
            buffer[filled : filled + len(part)] = part
            filled += len(part)
        if filled >= CHUNK:
            yield buffer[:filled]
            filled = 0
    if filled:
        yield buffer[:filled]


def farthest_same(embeddings: Floats, identities: Ints, count: int) -> Nearest:
    """The `count` pairs of one person that are farthest apart, the farthest first."""
    best = _empty()
    for indices, block, same, _ in _blocks(embeddings, identities, same_only=True):
        best = _keep(best, -block, same, indices, count)
    return Nearest(-best.distances, best.images)


def nearest_different(embeddings: Floats, identities: Ints, count: int) -> Nearest:
    """The `count` pairs of two persons that are nearest, the nearest first."""
    best = _empty()
    for indices, block, _, different in _blocks(embeddings, identities):
        mask = np.ones(block.shape, bool)
        mask[:, : different.shape[1]] = different
        best = _keep(best, block, mask, indices, count)
    return best


def _empty() -> Nearest:
    return Nearest(np.empty(0, np.float32), np.empty((0, 2), np.int64))


def _keep(best: Nearest, block: Floats, mask: NDArray[np.bool_], indices: tuple[Ints, Ints], count: int) -> Nearest:
    """The `count` smallest of those so far and those of a block that `mask` names."""
    values = np.where(mask, block, np.inf).ravel()
    first = np.argpartition(values, min(count, len(values)) - 1)[:count]
    first = first[np.isfinite(values[first])]
    row, column = np.unravel_index(first, block.shape)
    distances = np.concatenate([best.distances, values[first]])
    images = np.concatenate([best.images, np.stack([indices[0][row], indices[1][column]], 1)])
    order = np.lexsort((images[:, 1], images[:, 0], distances))[:count]
    return Nearest(distances[order], images[order])


def _blocks(
    embeddings: Floats, identities: Ints, same_only: bool = False
) -> Iterator[tuple[tuple[Ints, Ints], Floats, NDArray[np.bool_], NDArray[np.bool_]]]:
    """Every pair once: the images of rows and columns, the distances between them (R, C), and which of the first M
    columns' are pairs of one person, and of two, both (R, M). `same_only`: C is M, else all others are of two.

    Images are taken person by person, so that beyond the last person of a block nothing has to be compared.
    """
    order = np.argsort(identities, kind="stable")
    people = identities[order]
    ends = np.searchsorted(people, people, side="right")
    vectors = embeddings[order].astype(np.float64)
    lengths = np.square(vectors).sum(1)
    for first in range(0, len(order), ROWS):
        rows = slice(first, min(first + ROWS, len(order)))
        masked = slice(first, int(ends[rows.stop - 1]))
        columns = masked if same_only else slice(first, len(order))
        block, sums = (-2 * vectors[rows]) @ vectors[columns].T, lengths[rows, None] + lengths[columns]
        block += sums
        block[block < ROUNDING * sums] = 0  # of copies, and never below
        later = np.arange(masked.start, masked.stop) > np.arange(rows.start, rows.stop)[:, None]
        equal = people[rows, None] == people[masked]
        yield (order[rows], order[columns]), block.astype(np.float32), later & equal, later & ~equal
