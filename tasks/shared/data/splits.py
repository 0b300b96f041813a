"""Splitting by names: the same ones are always on the same side."""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray


def hash_share(name: str) -> float:
    """A number from 0 to below 1, always the same for a name: a digest of it."""
    return int.from_bytes(blake2b(name.encode(errors="surrogateescape"), digest_size=6).digest()) / (1 << 48)


def hash_split(names: Sequence[str], share: float, least: int = 1) -> NDArray[np.bool_]:
    """Which of (N,) names are drawn: a share of them, rounded, but no fewer than `least`; those of the lowest lots."""
    count = min(max(round(share * len(names)), least), len(names))
    drawn = np.zeros(len(names), bool)
    drawn[np.argsort([hash_share(name) for name in names], kind="stable")[:count]] = True
    return drawn
