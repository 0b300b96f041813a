"""Near-duplicates of the test images, which no training may see."""

import numpy as np
import torch
from torch import Tensor

from tasks.shared.network.runtime import pick_precision

CHUNK = 4096


def near_duplicates(hashes: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The test image that is most like each image, and in how many of its bits they differ.

    hashes: (N, bytes) uint8, packed bits; test: (M, bytes). Returns (N,) int64 and (N,) int64.

    The Hamming distance of b bits written as -1 and 1 is (b - dot product) / 2, so that all pairs are one matrix
    product: a million images against 8,580 and their mirror images take seconds, where a loop takes hours. bf16
    holds every whole number up to 256 exactly.
    """
    bits = 8 * test.shape[1]
    assert bits <= 256, "more would not be exact in bf16"
    fast = pick_precision(torch.device("cpu")) == "bf16-mixed"
    dtype = torch.bfloat16 if fast else torch.float32
    theirs = _signs(test).to(dtype).T.contiguous()
    nearest, distance = np.empty(len(hashes), np.int64), np.empty(len(hashes), np.int64)
    for start in range(0, len(hashes), CHUNK):
        part = slice(start, start + CHUNK)
        best = (_signs(hashes[part]).to(dtype) @ theirs).max(1)
        nearest[part] = best.indices.numpy()
        distance[part] = (bits - best.values.long().numpy()) // 2
    return nearest, distance


def _signs(packed: np.ndarray) -> Tensor:
    """(N, bytes) uint8 -> (N, bits) of -1 and 1."""
    return torch.from_numpy(np.unpackbits(packed, axis=1)).float() * 2 - 1
