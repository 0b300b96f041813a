"""Distances of pairs: each once, whatever the blocks, and without holding all."""

import tracemalloc

import numpy as np
import pytest

from tasks.facenet import pairs
from tasks.facenet.metrics import allowed, make_roc
from tasks.facenet.pair_sets import AllPairs, ListedPairs
from tasks.facenet.pairs import (
    count_pairs,
    different_distances,
    farthest_same,
    listed_distances,
    nearest_different,
    same_distances,
)
from tests.tasks.facenet.slow_metrics import slow_pairs


def draw_faces(count: int, people: int, width: int = 8, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings around a point for each person, and who is on each, in no order."""
    rng = np.random.default_rng(seed)
    identities = rng.integers(0, people, count)
    vectors = rng.standard_normal((people, width))[identities] + 0.7 * rng.standard_normal((count, width))
    return vectors.astype(np.float32), 10 * identities + 3  # numbers with gaps


@pytest.mark.parametrize("people", [1, 3, 20, 60])
@pytest.mark.parametrize("rows", [1, 7, 256])
def test_all_pairs_are_those_of_a_slow_loop(people: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "ROWS", rows)
    monkeypatch.setattr(pairs, "CHUNK", 50)
    vectors, identities = draw_faces(60, people)
    same, different = slow_pairs(vectors.tolist(), identities.tolist())
    assert count_pairs(identities) == (len(same), len(different))
    assert sorted(same_distances(vectors, identities)) == pytest.approx(sorted(same), rel=1e-5)
    parts = [part.copy() for part in different_distances(vectors, identities)]
    found = np.concatenate([np.empty(0, np.float32), *parts])
    assert sorted(found) == pytest.approx(sorted(different), rel=1e-5)


@pytest.mark.parametrize("rows", [5, 256])
def test_the_most_doubtful_pairs(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "ROWS", rows)
    vectors, identities = draw_faces(50, 6)
    same, different = slow_pairs(vectors.tolist(), identities.tolist())
    near, far = nearest_different(vectors, identities, 9), farthest_same(vectors, identities, 9)
    assert near.distances.tolist() == pytest.approx(sorted(different)[:9], rel=1e-5)
    assert far.distances.tolist() == pytest.approx(sorted(same)[::-1][:9], rel=1e-5)
    for found, one in ((near, False), (far, True)):
        assert listed_distances(vectors, found.images) == pytest.approx(found.distances, rel=1e-5)
        a, b = identities[found.images].T
        assert ((a == b) == one).all() and len(np.unique(np.sort(found.images), axis=0)) == 9
    few = farthest_same(vectors[:3], np.array([1, 1, 2]), 9)
    assert len(few.distances) == 1, "no more than there are"


def test_listed_and_all_pairs_agree() -> None:
    vectors, identities = draw_faces(40, 5)
    places = np.array([(a, b) for a in range(40) for b in range(a)])
    listed = ListedPairs(places, identities[places[:, 0]] == identities[places[:, 1]])
    every = AllPairs(identities)
    assert (listed.same, listed.different) == (every.same, every.different)
    one, other = listed.roc(vectors, 0.1), every.roc(vectors, 0.1)
    assert one.auc() == pytest.approx(other.auc(), abs=1e-6)
    assert one.val_at_far(0.1) == pytest.approx(other.val_at_far(0.1), rel=1e-6)
    for found, wanted in zip(listed.doubtful(vectors, 5), every.doubtful(vectors, 5), strict=True):
        assert found.distances == pytest.approx(wanted.distances, rel=1e-6)


def test_copies_of_a_image_are_at_equal_distances() -> None:
    """The same embeddings in other rows of a matrix product."""
    vectors, _ = draw_faces(300, 300, width=64)
    twice, identities = np.concatenate([vectors, vectors]), np.arange(600)
    found = np.sort(np.concatenate([part.copy() for part in different_distances(twice, identities)]))
    assert (found[:300] == 0).all() and found[300] > 0
    pairs_of_copies = found[300:].reshape(-1, 4)
    assert (pairs_of_copies == pairs_of_copies[:, :1]).all()


@pytest.mark.slow
def test_lfw_takes_less_than_a_gigabyte() -> None:
    """13,233 images, 87.5 million pairs, one person with 530."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((13_233, 128)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    identities = np.concatenate([np.zeros(530, int), rng.integers(1, 5749, 13_233 - 530)])
    different = count_pairs(identities)[1]
    tracemalloc.start()
    roc = make_roc(
        same_distances(vectors, identities), different_distances(vectors, identities), allowed(0.01, different) + 1
    )
    assert tracemalloc.get_traced_memory()[1] < 500e6
    tracemalloc.stop()
    assert roc.different == different > 87e6
    assert roc.val_at_far(0.01)[0] == pytest.approx(0.01, abs=1e-3) and roc.auc() == pytest.approx(0.5, abs=2e-3)
