"""Cells that touch, against Google's library; and one place of many beliefs."""

import numpy as np
import pytest

from tasks.planet import s2
from tasks.planet.cells import Cells
from tasks.planet.count import Counter
from tasks.planet.locate import check_answer, locate
from tasks.planet.neighbours import neighbours
from tasks.planet.partition import partition
from tasks.planet.sphere import great_circle_km, unit_vectors
from tasks.shared.errors import UserError
from tests.tasks.planet.places import draw_places


def make_cells(count: int = 3000, max_photos: int = 60, min_photos: int = 5, max_level: int = 8) -> Cells:
    counter = Counter(max_level)
    counter.add(*draw_places(count).T)
    return partition(counter, "drawn", max_photos, min_photos, 0, max_level)


def cells_at(*places: tuple[float, float]) -> Cells:
    """Cells with these centres and means, in degrees, wherever the ids would lie."""
    ids = s2.all_of_level(2)[: len(places)]
    ones, where = np.ones(len(places), np.int64), np.array(places, float)
    return Cells(ids, ones, where, where, len(places), {})


def test_neighbours_are_the_cells_that_touch() -> None:
    google = pytest.importorskip("s2geometry")
    cells = make_cells()
    levels = s2.levels(cells.ids)
    assert len(cells) > 60 and levels.max() - levels.min() >= 4
    bodies = [google.S2Cell(google.S2CellId(i)) for i in cells.ids.tolist()]
    found = neighbours(cells)
    for k, body in enumerate(bodies):
        touching = [j for j, other in enumerate(bodies) if j != k and body.GetDistance(other).degrees() < 1e-9]
        assert found[k].tolist() == touching


def test_the_six_faces() -> None:
    cells = Cells(s2.all_of_level(0), np.ones(6, np.int64), np.zeros((6, 2)), np.zeros((6, 2)), 6, {})
    assert [set(beside.tolist()) for beside in neighbours(cells)] == [
        set(range(6)) - {k, (k + 3) % 6} for k in range(6)
    ]


def test_a_lonely_cell_has_none() -> None:
    far = np.array([s2.all_of_level(3)[0], s2.all_of_level(3)[200]])
    cells = Cells(far, np.ones(2, np.int64), np.zeros((2, 2)), np.zeros((2, 2)), 2, {})
    assert [beside.tolist() for beside in neighbours(cells)] == [[], []]


@pytest.mark.parametrize(
    ("places", "weights", "middle"),
    [
        ([(0, 0), (0, 90)], [1, 1], (0, 45)),
        ([(0, 170), (0, -170)], [1, 1], (0, 180)),  # over the date line, not at Greenwich
        ([(80, 0), (80, 180)], [1, 1], (90, 0)),
        ([(0, 0), (0, 90)], [2, 1], (0, np.degrees(np.arctan(0.5)))),
        ([(10, 20), (0, 0)], [1, 0], (10, 20)),
        ([(0, 0), (0, 180), (45, 10)], [0.45, 0.45, 0.1], (45, 10)),  # antipodes leave what remains
        ([(0, 0), (0, 180)], [0.5, 0.5], (0, 0)),  # no middle: the best cell's
    ],
)
def test_the_weighted_place(places: list, weights: list, middle: tuple[float, float]) -> None:
    shares = np.array([weights], float) / np.sum(weights)
    ((lat, lon),) = locate(shares, cells_at(*places), "weighted")
    assert great_circle_km(lat, lon, *middle) < 1e-6


def test_the_best_cells_centre_or_mean() -> None:
    cells = make_cells()
    rng = np.random.default_rng(0)
    beliefs = rng.dirichlet(np.full(len(cells), 0.05), 20)
    best = [max(range(len(cells)), key=lambda k: row[k]) for row in beliefs]
    np.testing.assert_array_equal(locate(beliefs, cells), cells.centres[best])
    np.testing.assert_array_equal(locate(beliefs, cells, "best_cell", "mean"), cells.means[best])
    for place, places in (("centre", cells.centres), ("mean", cells.means)):
        sums = [sum(p * unit_vectors(*q) for p, q in zip(row, places, strict=True)) for row in beliefs]
        wanted = [s / np.linalg.norm(s) for s in sums]
        np.testing.assert_allclose(unit_vectors(*locate(beliefs, cells, "weighted", place).T), wanted, atol=1e-12)


def test_other_answers_are_refused() -> None:
    with pytest.raises(UserError, match=r"task\.answer='median'; expected one of best_cell, weighted"):
        check_answer("median", "centre")
    with pytest.raises(UserError, match=r"task\.place='town'"):
        check_answer("weighted", "town")
