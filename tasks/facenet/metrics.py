"""How well distances tell whether two images show one person (Sec. 4.7; Schroff et al. 2015, Sec. 4).

At a threshold d, pairs nearer than d are taken for one person. VAL(d) is the share of the pairs of one person that are,
FAR(d) that of the pairs of two.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.facenet.pairs import Floats, Ints
from tasks.shared.errors import UserError


@dataclass(frozen=True)
class Roc:
    """Both shares at every threshold where they change together; exact, ties included.

    distances: (T,) ascending, each once: those of the pairs of one person. accepted: (T,) how many of these pairs are
    at most so far apart. nearer, within: (T,) how many pairs of two persons are nearer, and at most so far apart.
    nearest: (K,) ascending, the smallest distances of two persons. same, different: numbers of pairs.
    """

    distances: Floats
    accepted: Ints
    nearer: Ints
    within: Ints
    nearest: Floats
    same: int
    different: int

    def val_at_far(self, far: float) -> tuple[float, float]:
        """VAL at the largest threshold whose FAR is at most `far`, and that threshold.

        That is the distance of the first pair of two persons that must not be accepted any more: the K of `nearest`
        must be more than `allowed(far, different)`.
        """
        threshold = self.nearest[allowed(far, self.different)]
        index = int(np.searchsorted(self.distances, threshold))
        return (int(self.accepted[index - 1]) / self.same if index else 0.0), float(threshold)

    def auc(self) -> float:
        """The share of (pair of one person, pair of two) where the first is nearer; half of those that are equal."""
        pairs = np.diff(self.accepted, prepend=0)
        beaten = self.different - (self.nearer + self.within) / 2
        return float((pairs * beaten).sum() / (self.same * self.different))

    def curve(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """FAR and VAL, both (T + 1,) and ascending, from none accepted."""
        far, val = self.within / self.different, self.accepted / self.same
        return np.concatenate([[0.0], far]), np.concatenate([[0.0], val])


def make_roc(same: Floats, different: Iterable[Floats], keep: int) -> Roc:
    """From the distances of pairs of one person (S,), and of two in parts, which are sorted in place.

    keep: how many of the smallest distances of two persons to hold. Takes memory for S, `keep` and one part.
    """
    distances, counts = np.unique(same, return_counts=True)
    nearer, within = np.zeros(len(distances), np.int64), np.zeros(len(distances), np.int64)
    nearest, total = np.empty(0, np.float32), 0
    for part in different:
        part.sort()
        nearer += np.searchsorted(part, distances, side="left")
        within += np.searchsorted(part, distances, side="right")
        nearest = np.concatenate([nearest, part[:keep]])
        nearest.sort()
        nearest, total = nearest[:keep], total + len(part)
    return Roc(distances, counts.cumsum(), nearer, within, nearest, len(same), total)


def allowed(far: float, different: int) -> int:
    """How many of `different` pairs of two persons may be accepted at a FAR of at most `far`."""
    count = math.floor(far * different)  # a rounding off by one at most
    return count + 1 if (count + 1) / different <= far else count - (count / different > far)


def needed(far: float) -> int:
    """The fewest pairs of two persons of which one is a FAR of at most `far`."""
    count = math.ceil(1 / far)
    return count - 1 if count > 1 and 1 / (count - 1) <= far else count + (1 / count > far)


def check_far(far: float, same: int, different: int) -> None:
    """Raise UserError where so many pairs of one person, and of two, cannot tell VAL at `far`."""
    if same == 0:
        raise UserError(
            f"task.far={far:g}: none of the {different} pairs of validation images shows one person; expected people "
            "with two images or more"
        )
    if different < needed(far):
        least = f"a FAR of {1 / different:.2g} is the least that they resolve" if different else "there is no FAR"
        raise UserError(
            f"task.far={far:g}: the validation images have {different} pairs of two persons, {least}; expected at "
            f"least {needed(far)} such pairs, or a larger task.far"
        )


def fold_accuracy(distances: Floats, same: NDArray[np.bool_], folds: Ints) -> tuple[float, float]:
    """LFW's figure: the mean accuracy of the folds, each at the best threshold of the others, and its standard error.

    distances, same, folds: (P,). A threshold lies halfway between two distances of the other folds, below, or above
    all; of several that are as good the smallest is taken.
    """
    accuracies = []
    for fold in np.unique(folds):
        held = folds == fold
        threshold = _best_threshold(distances[~held], same[~held])
        accuracies.append(((distances[held] < threshold) == same[held]).mean())
    return float(np.mean(accuracies)), float(np.std(accuracies, ddof=1) / math.sqrt(len(accuracies)))


def _best_threshold(distances: Floats, same: NDArray[np.bool_]) -> float:
    values, index = np.unique(distances.astype(np.float64), return_inverse=True)
    gained = np.bincount(index, np.where(same, 1, -1), len(values)).cumsum()  # by accepting up to each value
    best = int(np.argmax(np.concatenate([[0], gained])))
    bounds = np.concatenate([[-np.inf], (values[1:] + values[:-1]) / 2, [np.inf]])
    return float(bounds[best])
