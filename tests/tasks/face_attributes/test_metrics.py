"""Average precision against scikit-learn, emulation quality and agreement against loops."""

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from tasks.face_attributes.metrics import (
    agreement,
    average_precision,
    average_precisions,
    emulation,
    mean_of_known,
)


def floats(values: list) -> np.ndarray:
    return np.array(values, np.float32)


@pytest.mark.parametrize("levels", [None, 40, 5, 1])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.99])
def test_average_precision_is_scikit_learns(levels: int | None, share: float) -> None:
    rng = np.random.default_rng(0)
    for count in (1, 2, 17, 400):
        truth = rng.random(count) < share
        truth[rng.integers(count)] = True
        scores: np.ndarray = (rng.standard_normal(count) + truth).astype(np.float32)
        if levels is not None:
            scores = np.round(scores * levels / 8) * 8 / levels if levels > 1 else np.zeros_like(scores)
        found = average_precision(scores, truth)
        assert found == pytest.approx(average_precision_score(truth, scores), abs=1e-12)
        shuffled = rng.permutation(count)
        assert average_precision(scores[shuffled], truth[shuffled]) == found


def test_worked_by_hand() -> None:
    scores, truth = floats([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, False])
    assert average_precision(scores, truth) == pytest.approx((1 / 1 + 2 / 3) / 2)
    # All alike: the precision at the only threshold is the share of positives.
    assert average_precision(np.zeros(4, np.float32), truth) == 0.5


def test_an_attribute_without_positives_is_left_out() -> None:
    truth = np.array([[True, False], [False, False], [True, False]])
    scores = floats([[3, 1], [2, 1], [1, 1]])
    found = average_precisions(scores, truth)
    assert found == [pytest.approx((1 + 2 / 3) / 2), None]
    assert mean_of_known(found) == found[0] and mean_of_known([None]) is None


def test_emulation_against_a_loop() -> None:
    rng = np.random.default_rng(1)
    student, teacher = (rng.normal(0, 3, (20, 4)).astype(np.float32) for _ in range(2))
    for k in range(4):
        total = 0.0
        for x, t in zip(student[:, k].tolist(), teacher[:, k].tolist(), strict=True):
            p, q = 1 / (1 + math.exp(-t)), 1 / (1 + math.exp(-x))
            total -= p * math.log(q) + (1 - p) * math.log(1 - q)
        assert emulation(student, teacher)[k] == pytest.approx(total / 20, rel=1e-6)
    entropy = emulation(teacher, teacher)
    assert (emulation(student, teacher) > entropy).all(), "no student is below the teacher's own entropy"
    assert np.isfinite(emulation(floats([[90], [-90]]), floats([[-90], [-90]]))).all()


def test_agreement_counts_decisions() -> None:
    student, teacher = floats([[2, -1], [1, 3], [-4, 1]]), floats([[1, 1], [0.1, 1], [2, -1]])
    assert agreement(student, teacher).tolist() == pytest.approx([2 / 3, 1 / 3])
