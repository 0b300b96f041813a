"""Validation data without files: grey images of numbered people."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tasks.facenet.embeddings import Embedding
from tasks.shared.faces.dataset import FaceData, FaceInfo


class People(FaceData):
    """What `FaceNet.evaluator` asks of data. identities: (N,) or None; pairs (P, 3), folds (P,) or None."""

    def __init__(self, identities: np.ndarray | None, pairs: np.ndarray | None = None, folds: np.ndarray | None = None):
        self.info: FaceInfo = {}
        self.who, self.pairs, self.folds = identities, pairs, folds

    def identities(self, split: str) -> np.ndarray | None:
        return self.who

    def image(self, target: Any) -> torch.Tensor:
        return torch.full((3, 50, 40), 5 * target["index"] % 256, dtype=torch.uint8)


def list_pairs(identities: np.ndarray, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(P, 3) pairs, as many of one person as of two, and their folds (P,), five."""
    rng, places = np.random.default_rng(seed), np.arange(len(identities))
    every = np.array([(a, b, identities[a] == identities[b]) for a in places for b in places[:a]])
    chosen = [rng.permutation(every[every[:, 2] == one])[:count] for one in (1, 0)]
    return np.concatenate(chosen).astype(np.int64), np.tile(np.arange(len(chosen[0])) % 5, 2)


def targets_of(identities: np.ndarray | None, teacher: np.ndarray | None = None) -> list[dict[str, Any]]:
    count = len(identities if identities is not None else teacher if teacher is not None else ())
    targets: list[dict[str, Any]] = [{"index": k, "file": f"people/{k:03d}, é.jpg"} for k in range(count)]
    for k, target in enumerate(targets):
        if identities is not None:
            target["identity"] = int(identities[k])
        if teacher is not None:
            target["teacher"] = torch.from_numpy(teacher[k])
    return targets


def results_of(vectors: np.ndarray) -> list[Embedding]:
    return [Embedding(row) for row in torch.from_numpy(vectors)]


def write_image(path: Path, level: int) -> Path:
    Image.new("RGB", (60, 70), (level, level, 90)).save(path)
    return path
