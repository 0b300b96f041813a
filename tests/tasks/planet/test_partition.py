"""Partitions against a slow quadtree that Google's S2 library makes, place by place.

MOBILENET_TOOLKIT_PLACES=TABLE holds the partition of a table of real places to it too.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tasks.planet.cells import Cells
from tasks.planet.count import Counter
from tasks.planet.partition import check_limits, split
from tasks.planet.s2 import ancestors, leaf_ids, leaf_ranges, levels, tokens
from tasks.planet.sphere import coordinates, great_circle_km, unit_vectors
from tasks.planet.table import read_table
from tasks.shared.errors import UserError
from tests.tasks.planet.places import draw_places, edge_places

REAL = os.environ.get("MOBILENET_TOOLKIT_PLACES")
LIMITS = [(200, 20, 0, 16), (50, 1, 3, 16), (30, 5, 0, 4), (1, 1, 0, 30), (10**9, 1, 2, 16), (500, 50, 5, 5)]


@pytest.fixture(scope="module", params=["drawn", *(["real"] if REAL else [])])
def places(request: pytest.FixtureRequest) -> np.ndarray:
    """(N, 2) latitudes and longitudes; the drawn ones have piles on one spot besides."""
    if request.param == "real":
        assert REAL is not None
        return np.concatenate([np.stack([rows.lat, rows.lon], axis=1) for rows in read_table(Path(REAL))])
    piles = np.repeat([[48.858, 2.294], [-90.0, 0.0], [0.0, 180.0], [0.0, -180.0]], [700, 60, 40, 40], axis=0)
    return np.concatenate([draw_places(20_000), edge_places()[::30], piles])


def partition(places: np.ndarray, limits: Sequence[int], chunk: int = 7_000) -> Cells:
    most, least, shallow, deep = limits
    counter = Counter(deep)
    for start in range(0, len(places), chunk):
        counter.add(*places[start : start + chunk].T)
    parameters = {"max_photos": most, "min_photos": least, "min_level": shallow, "max_level": deep}
    return Cells.of_leaves(split(counter.occupied(), most, shallow, deep), counter.photos, parameters)


def slow_leaves(places: np.ndarray, limits: Sequence[int]) -> dict[str, int]:
    """Token -> photos of the cells that are kept."""
    google = pytest.importorskip("s2geometry")
    most, least, shallow, deep = limits
    place, found = google.S2LatLng.FromDegrees, {}
    # -180 is the same meridian as 180.
    photos = [google.S2CellId(place(lat, 180.0 if lon == -180 else lon)) for lat, lon in places.tolist()]
    open_cells = [(google.S2CellId.FromFacePosLevel(face, 0, 0), photos) for face in range(6)]
    while open_cells:
        cell, candidates = open_cells.pop()
        inside = [photo for photo in candidates if cell.contains(photo)]
        if inside and cell.level() < deep and (cell.level() < shallow or len(inside) > most):
            open_cells += [(cell.child(k), inside) for k in range(4)]
        elif len(inside) >= least:
            found[cell.ToToken()] = len(inside)
    return found


@pytest.mark.parametrize("limits", LIMITS, ids=str)
def test_the_cells_are_those_of_a_slow_quadtree(places: np.ndarray, limits: Sequence[int]) -> None:
    thinned = places if limits[0] > 1 else places[::10]
    cells = partition(thinned, limits)
    assert dict(zip(cells.tokens, cells.counts.tolist(), strict=True)) == slow_leaves(thinned, limits)


@pytest.mark.parametrize("limits", LIMITS, ids=str)
def test_what_a_partition_promises(places: np.ndarray, limits: Sequence[int]) -> None:
    most, least, shallow, deep = limits
    cells = partition(places, limits)
    level = levels(cells.ids)
    assert level.min() >= shallow and level.max() <= deep
    assert (cells.counts[level < deep] <= most).all()
    assert (cells.counts >= least).all()
    first, last = leaf_ranges(cells.ids)
    assert (first[1:] > last[:-1]).all(), "ascending and disjoint"

    index = cells.assign(*places.T)
    leaves = leaf_ids(*places.T)
    for some in (slice(0, 500), slice(-500, None)):  # every place in exactly one cell, or in none where it has -1
        holders = (first <= leaves[some, None]) & (leaves[some, None] <= last)
        assert (holders.sum(1) == (index[some] >= 0)).all()
        assert (holders.argmax(1)[index[some] >= 0] == index[some][index[some] >= 0]).all()
    assert np.bincount(index[index >= 0], minlength=len(cells)).tolist() == cells.counts.tolist()
    assert (index < 0).sum() == cells.left_out == len(places) - cells.counts.sum()


def test_the_centre_of_a_cells_photos_is_their_mean_on_the_sphere(places: np.ndarray) -> None:
    cells = partition(places, (200, 20, 0, 16))
    index = cells.assign(*places.T)
    for cell in range(len(cells)):
        inside = places[index == cell]
        expected = coordinates(unit_vectors(*inside.T).mean(0))
        assert great_circle_km(*cells.means[cell], *expected) < 2e-5
    # A cell's own centre lies in it.
    assert cells.assign(*cells.centres.T).tolist() == list(range(len(cells)))


def test_a_mean_over_the_date_line_and_around_the_pole_is_there() -> None:
    line = partition(np.array([(10, 179.9), (10, -179.9)] * 50), (1000, 1, 0, 0))
    assert len(line) == 1 and abs(line.means[0, 1]) == 180
    pole = partition(np.array([(89.0, lon) for lon in range(-180, 180)]), (1000, 1, 0, 16))
    np.testing.assert_allclose(pole.means[0, 0], 90, atol=1e-5)
    assert pole.tokens == ["5"]


def test_neither_order_nor_chunks_change_anything(places: np.ndarray) -> None:
    whole = partition(places, (100, 10, 0, 16), chunk=len(places))
    shuffled = np.random.default_rng(0).permutation(places)
    for chunk in (1_000, 9_999):
        assert partition(shuffled, (100, 10, 0, 16), chunk).key == whole.key


def test_memory_is_that_of_the_cells_not_of_the_photos() -> None:
    counter, photos = Counter(8), draw_places(5_000).T
    occupied = len(np.unique(ancestors(leaf_ids(*photos), 8)))
    for _ in range(20):
        counter.add(*photos)
        assert len(counter._total.ids) + sum(len(chunk.ids) for chunk in counter._waiting) <= 2 * occupied
    assert counter.photos == 100_000 and counter.occupied().counts.sum() == 100_000


def test_a_place_in_no_cell_has_no_index() -> None:
    cells = partition(np.array([(48.85, 2.35)] * 60 + [(-33.9, 151.2)] * 60), (100, 50, 4, 16))
    assert tokens(cells.ids) == cells.tokens and len(cells) == 2
    found = cells.assign([48.85, -33.9, 0, 90, -90, 0], [2.35, 151.2, 0, 0, 0, 180])
    assert sorted(found[:2].tolist()) == [0, 1] and found[2:].tolist() == [-1] * 4
    assert cells.assign([], []).shape == (0,)
    with pytest.raises(ValueError, match="index 0"):
        cells.assign([91], [0])


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ((10, 50, 0, 16), ["max_photos=10 is below min_photos=50"]),
        ((0, -1, 0, 16), ["max_photos=0", "min_photos=-1"]),
        ((100, 50, 5, 4), ["min_level=5, max_level=4"]),
        ((100, 50, 0, 31), ["max_level=31", "30"]),
        ((100.0, True, "x", None), ["max_photos=100.0", "min_photos=True", "min_level='x'", "max_level=None"]),
    ],
)
def test_limits_that_will_not_do(limits: tuple, expected: list[str]) -> None:
    with pytest.raises(UserError) as error:
        check_limits(*limits)
    assert all(part in str(error.value) for part in expected)
