"""VAL at a FAR, LFW's accuracy and distances of all pairs, one pair after another."""

from collections.abc import Sequence
from itertools import pairwise


def slow_pairs(vectors: Sequence[Sequence[float]], identities: Sequence[int]) -> tuple[list[float], list[float]]:
    """Squared distances of all pairs of one person, and of all pairs of two."""
    same: list[float] = []
    different: list[float] = []
    for a in range(len(vectors)):
        for b in range(a + 1, len(vectors)):
            distance = sum((x - y) ** 2 for x, y in zip(vectors[a], vectors[b], strict=True))
            (same if identities[a] == identities[b] else different).append(distance)
    return same, different


def slow_val(same: Sequence[float], different: Sequence[float], far: float) -> float:
    """VAL at the largest threshold whose FAR is at most `far`, of all thresholds that there are.

    A pair is accepted up to and including a threshold: each distance is one, and what lies just below all.
    """
    best = 0.0
    for threshold in sorted({-1.0, *same, *different}):
        if sum(d <= threshold for d in different) / len(different) <= far:
            best = max(best, sum(d <= threshold for d in same) / len(same))
    return best


def slow_accuracy(distances: Sequence[float], same: Sequence[bool], folds: Sequence[int]) -> list[float]:
    """Of each fold, at the best threshold of the others."""
    accuracies = []
    for fold in sorted(set(folds)):
        others = [(d, s) for d, s, f in zip(distances, same, folds, strict=True) if f != fold]
        held = [(d, s) for d, s, f in zip(distances, same, folds, strict=True) if f == fold]
        values = sorted({d for d, _ in others})
        between = [(a + b) / 2 for a, b in pairwise(values)]
        most, chosen = -1, 0.0
        for threshold in [values[0] - 1, *between, values[-1] + 1]:
            right = sum((d < threshold) == s for d, s in others)
            if right > most:
                most, chosen = right, threshold
        accuracies.append(sum((d < chosen) == s for d, s in held) / len(held))
    return accuracies
