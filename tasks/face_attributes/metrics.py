"""How well scores tell which images have an attribute, and how near they are to a teacher's (Sec. 4.5)."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]


def average_precision(scores: Floats, truth: Bools) -> float | None:
    """Average precision of one attribute; None where no image has it.

    The mean over the images that have it of the precision at their score, which is the share that has it of all
    images with at least this score. No interpolation; equal scores count together, in whatever order they lie.
    scores, truth: (N,).
    """
    positives = int(truth.sum())
    if positives == 0:
        return None
    _, rank = np.unique(-scores, return_inverse=True)  # 0 for the highest score, the same for equal ones
    found, taken = np.bincount(rank, truth), np.bincount(rank)
    return float((found * found.cumsum() / taken.cumsum()).sum() / positives)


def average_precisions(scores: Floats, truth: Bools) -> list[float | None]:
    """Of each attribute. scores, truth: (N, A)."""
    return [average_precision(*column) for column in zip(scores.T, truth.T, strict=True)]


def mean_of_known(values: list[float | None]) -> float | None:
    """The mean of those that are there; None of none."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def emulation(student: Floats, teacher: Floats) -> NDArray[np.float64]:
    """Cross-entropy of the student's probabilities against the teacher's, by attribute (A,), in nats an image.

    Footnote 2: its mean over the attributes is the emulation quality; lower is better, and the least that there is is
    the teacher's own entropy. student, teacher: logits (N, A).
    """
    x, share = student.astype(np.float64), 0.5 * (1 + np.tanh(teacher.astype(np.float64) / 2))  # a sigmoid
    # -p log q - (1 - p) log (1 - q), without logarithms of what is rounded to 0.
    return (np.maximum(x, 0) - x * share + np.log1p(np.exp(-np.abs(x)))).mean(0)


def agreement(student: Floats, teacher: Floats) -> NDArray[np.float64]:
    """The share of images that both decide alike, has it or has it not, by attribute (A,). Logits (N, A)."""
    return ((student > 0) == (teacher > 0)).mean(0)
