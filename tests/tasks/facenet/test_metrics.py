"""VAL at a FAR, ROC curves and LFW's accuracy against slow loops and scikit-learn, with tied distances too."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from tasks.facenet.metrics import Roc, allowed, check_far, fold_accuracy, make_roc, needed
from tasks.shared.errors import UserError
from tests.tasks.facenet.slow_metrics import slow_accuracy, slow_val

FARS = (0.001, 0.004, 0.01, 0.05, 1 / 3, 0.5, 0.9, 0.999)


def floats(values: list) -> np.ndarray:
    return np.array(values, np.float32)


def draw_distances(
    seed: int, levels: int | None, same: int = 60, different: int = 250
) -> tuple[np.ndarray, np.ndarray]:
    """Those of one person tend to be smaller. levels: how many values there are; None: no two are tied."""
    rng = np.random.default_rng(seed)
    found = rng.beta(2, 3, same), rng.beta(3, 2, different)
    if levels is not None:
        found = tuple(np.round(d * levels) / levels for d in found)  # type: ignore[assignment]
    return found[0].astype(np.float32), found[1].astype(np.float32)


def roc_of(same: np.ndarray, different: np.ndarray, far: float = 0.999, parts: int = 3) -> Roc:
    return make_roc(same, (part.copy() for part in np.array_split(different, parts)), allowed(far, len(different)) + 1)


@pytest.mark.parametrize("levels", [None, 50, 8, 1])
def test_val_at_far_is_that_of_a_slow_loop(levels: int | None) -> None:
    for seed in range(5):
        same, different = draw_distances(seed, levels)
        for far in FARS:
            val, threshold = roc_of(same, different, far).val_at_far(far)
            assert val == pytest.approx(slow_val(same.tolist(), different.tolist(), far), abs=1e-12)
            assert (same < threshold).mean() == pytest.approx(val), "pairs nearer than the threshold are accepted"
            assert (different < threshold).mean() <= far < (different <= threshold).mean(), "no larger one will do"


@pytest.mark.parametrize("levels", [None, 50, 8, 1])
def test_curves_are_scikit_learns(levels: int | None) -> None:
    for seed in range(5):
        same, different = draw_distances(seed, levels)
        roc = roc_of(same, different)
        truth = np.r_[np.ones(len(same)), np.zeros(len(different))]
        scores = -np.r_[same, different]
        assert roc.auc() == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
        wanted = {(f, v) for f, v, _ in zip(*roc_curve(truth, scores, drop_intermediate=False), strict=True)}
        far, val = roc.curve()
        assert {(round(f, 9), round(v, 9)) for f, v in zip(far, val, strict=True)} <= {
            (round(f, 9), round(v, 9)) for f, v in wanted
        }
        assert set(val.round(9)) == {round(v, 9) for _, v in wanted}, "every level of VAL"
        assert (np.diff(far) >= 0).all() and (np.diff(val) > 0).all()


def test_parts_and_their_order_do_not_matter() -> None:
    same, different = draw_distances(3, 20)
    once, many = roc_of(same, different, 0.1, parts=1), roc_of(same[::-1], different[::-1], 0.1, parts=17)
    for first, second in zip(vars(once).values(), vars(many).values(), strict=True):
        assert np.array_equal(first, second)


def test_worked_by_hand() -> None:
    same, different = floats([0.1, 0.2, 0.2, 0.6]), floats([0.2, 0.5, 0.7, 0.9])
    roc = roc_of(same, different, 0.5, parts=2)
    assert roc.val_at_far(0.24) == (0.25, pytest.approx(0.2)), "0.2 is a pair of two persons as well: none may be taken"
    assert roc.val_at_far(0.25) == (0.75, pytest.approx(0.5))
    assert roc.val_at_far(0.5) == (1.0, pytest.approx(0.7))
    # Of 16 comparisons: 0.1 beats 4; 0.2 beats 3 and ties with 1, twice; 0.6 beats 2.
    assert roc.auc() == pytest.approx((4 + 2 * 3.5 + 2) / 16)


def test_all_the_same_distance() -> None:
    """As of a network that gives every image the same embedding: nothing may be accepted."""
    roc = roc_of(np.zeros(5, np.float32), np.zeros(100, np.float32), 0.1)
    assert roc.val_at_far(0.1) == (0.0, 0.0) and roc.auc() == 0.5


def test_counts_that_a_far_allows() -> None:
    """Against trying every count: also where the product is rounded to the wrong side."""
    for different in (1, 3, 7, 10, 49, 100, 1000, 3000):
        for far in (*FARS, 0.29, 0.57, 1e-4, 1 / 7, 1 / 49, 0.07):
            fitting = [k for k in range(different + 1) if k / different <= far]
            assert allowed(far, different) == fitting[-1], (far, different)
    for far in (*FARS, 0.29, 1 / 7, 1 / 49, 0.07, 1e-3, 3e-4):
        assert 1 / needed(far) <= far and (needed(far) == 1 or 1 / (needed(far) - 1) > far)


def test_a_far_that_the_pairs_cannot_resolve() -> None:
    """The LFW protocol has 3,000 pairs of two persons (Sec. 4.7's 1e-4 cannot be told from them)."""
    with pytest.raises(UserError, match=r"task\.far=1e-06: .* 3000 pairs of two persons.* at least 1000000 such pairs"):
        check_far(1e-6, 3000, 3000)
    with pytest.raises(UserError, match=r"0\.00033 is the least that they resolve.*at least 10000 such"):
        check_far(1e-4, 3000, 3000)
    check_far(1 / 3000, 3000, 3000)
    check_far(1e-6, 1, 1_000_000)
    with pytest.raises(UserError, match="at least 1000000 such"):
        check_far(1e-6, 1, 999_999)
    with pytest.raises(UserError, match=r"none of the 10 pairs .* shows one person"):
        check_far(0.1, 0, 10)
    with pytest.raises(UserError, match="there is no FAR"):
        check_far(0.1, 10, 0)


@pytest.mark.parametrize("levels", [None, 12, 2])
def test_accuracy_of_folds_is_that_of_a_slow_loop(levels: int | None) -> None:
    for seed in range(4):
        same, different = draw_distances(seed, levels, 60, 60)
        distances = np.concatenate([same, different])
        truth = np.arange(120) < 60
        folds = np.tile(np.arange(10), 12)
        accuracies = slow_accuracy(distances.tolist(), truth.tolist(), folds.tolist())
        mean, error = fold_accuracy(distances, truth, folds)
        assert mean == pytest.approx(np.mean(accuracies))
        assert error == pytest.approx(np.std(accuracies, ddof=1) / np.sqrt(10))


def test_accuracy_of_a_perfect_and_a_useless_network() -> None:
    truth, folds = np.arange(40) < 20, np.tile(np.arange(10), 4)
    assert fold_accuracy(np.where(truth, 0.5, 1.5).astype(np.float32), truth, folds) == (1.0, 0.0)
    assert fold_accuracy(np.ones(40, np.float32), truth, folds)[0] == 0.5
