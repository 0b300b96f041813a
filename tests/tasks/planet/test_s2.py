"""Cells against Google's own S2 library."""

import numpy as np
import pytest

from tasks.planet import s2
from tests.tasks.planet.places import draw_places, edge_places

google = pytest.importorskip("s2geometry")  # has no wheels for some machines


def google_ids(places: np.ndarray) -> np.ndarray:
    cell, place = google.S2CellId, google.S2LatLng.FromDegrees
    return np.array([cell(place(*pair)).id() for pair in places.tolist()], np.uint64)


def anywhere(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    lat = np.degrees(np.arcsin(rng.uniform(-1, 1, count)))
    return np.stack([lat, rng.uniform(-180, 180, count)], axis=1)


def test_ids_are_googles_bit_for_bit() -> None:
    places = np.concatenate([anywhere(150_000), draw_places(50_000), edge_places()])
    places = places[places[:, 1] != -180]  # which we take for 180
    assert len(places) > 250_000
    np.testing.assert_array_equal(s2.leaf_ids(*places.T), google_ids(places))


def test_a_place_has_one_cell_however_it_is_written() -> None:
    lat = np.linspace(-90, 90, 1001)
    np.testing.assert_array_equal(s2.leaf_ids(lat, np.full(1001, -180.0)), s2.leaf_ids(lat, np.full(1001, 180.0)))
    lon = np.linspace(-180, 180, 1001)
    for pole in (-90.0, 90.0):
        assert len(set(s2.leaf_ids(np.full(1001, pole), lon).tolist())) == 1


@pytest.mark.parametrize("level", [0, 1, 7, 16, 29, 30])
def test_what_is_said_of_cells_is_what_google_says(level: int) -> None:
    leaves = s2.leaf_ids(*np.concatenate([anywhere(300), edge_places()[::500]]).T)
    ids = s2.ancestors(leaves, level)
    theirs = [google.S2CellId(i).parent(level) for i in leaves.tolist()]
    assert ids.tolist() == [cell.id() for cell in theirs]
    assert s2.levels(ids).tolist() == [level] * len(ids)
    assert s2.tokens(ids) == [cell.ToToken() for cell in theirs]
    assert s2.from_tokens(s2.tokens(ids)).tolist() == ids.tolist()
    first, last = s2.leaf_ranges(ids)
    assert first.tolist() == [cell.range_min().id() for cell in theirs]
    assert last.tolist() == [cell.range_max().id() for cell in theirs]
    centres = [(p.lat().degrees(), p.lng().degrees()) for p in (cell.ToLatLng() for cell in theirs)]
    np.testing.assert_allclose(s2.centres(ids), centres, rtol=0, atol=1e-12)
    corners = [[google.S2Point_ToRaw(google.S2Cell(cell).GetVertex(k)) for k in range(4)] for cell in theirs]
    np.testing.assert_allclose(s2.corners(ids), corners, rtol=0, atol=1e-14)


def special_leaves() -> np.ndarray:
    """Poles, the date line, and the sides and corners of the cube's faces, a cell on either side."""
    places: list[tuple[float, float]] = [(90, 0), (-90, 0), (90, 135), (67, 180), (-67, 180)]
    places += [(0, 180), (0, float(np.nextafter(180, 0))), (0, -180 + 1e-7)]
    corner = float(np.degrees(np.arctan(1 / np.sqrt(2))))
    for turn in (-135, -45, 45, 135):
        places += [(lat + step, turn + step) for lat in (-corner, 0, corner) for step in (-1e-7, 0, 1e-7)]
    return s2.leaf_ids(*np.array(places, float).T)


@pytest.mark.parametrize("level", [0, 1, 2, 9, 23, 29, 30])
def test_neighbours_are_googles(level: int) -> None:
    """At poles, over the date line, and around the cube's corners, where three cells meet."""
    ids = np.unique(s2.ancestors(np.concatenate([special_leaves(), s2.leaf_ids(*anywhere(100).T)]), level))
    beside, owners = s2.same_level_neighbours(ids)
    counts = set()
    for k, cell in enumerate(ids.tolist()):
        theirs = {each.id() for each in google.S2CellId(cell).GetAllNeighbors(level)} - {cell}
        assert set(beside[owners == k].tolist()) == theirs, hex(cell)
        counts.add(len(theirs))
    assert counts == {0: {4}, 1: {7}}.get(level, {7, 8})


@pytest.mark.parametrize("level", [0, 1, 2, 9, 16])
def test_corners_enclose_googles_areas_and_centres(level: int) -> None:
    """By spherical excess, of two triangles; the areas of a level's cells make a sphere."""
    ids = np.unique(s2.ancestors(special_leaves(), level)) if level > 2 else s2.all_of_level(level)
    corners, areas = s2.corners(ids), np.zeros(len(ids))
    for a, b, c in ((0, 1, 2), (0, 2, 3)):
        p, q, r = (corners[:, k] for k in (a, b, c))
        solid = np.einsum("ij,ij->i", p, np.cross(q, r))
        assert (solid > 0).all(), "counterclockwise"
        pairs = sum(np.einsum("ij,ij->i", x, y) for x, y in ((p, q), (q, r), (r, p)))
        areas += 2 * np.arctan2(solid, 1 + pairs)
    theirs = [google.S2Cell(google.S2CellId(cell)).ExactArea() for cell in ids.tolist()]
    np.testing.assert_allclose(areas, theirs, rtol=1e-6 if level < 12 else 1e-4)
    if level <= 2:
        assert areas.sum() == pytest.approx(4 * np.pi, rel=1e-12)
    assert s2.ancestors(s2.leaf_ids(*s2.centres(ids).T), level).tolist() == ids.tolist(), "a centre lies in its cell"


@pytest.mark.parametrize("token", ["", "X", "zz", "89C25", "89c250", "1234567890abcdef0"])
def test_what_is_no_token_is_told(token: str) -> None:
    with pytest.raises(ValueError, match=f"'{token}' is no token"):
        s2.from_tokens(["89c25", token])


@pytest.mark.parametrize("place", [(90.1, 0), (-91, 0), (0, 180.1), (0, -181), (np.nan, 0), (0, np.nan), (np.inf, 0)])
def test_what_is_no_place_is_told(place: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="index 1: lat="):
        s2.leaf_ids([0, place[0]], [0, place[1]])


def test_arrays_of_two_lengths_are_told() -> None:
    with pytest.raises(ValueError, match="one length"):
        s2.leaf_ids([0, 1], [0])


def test_no_places_have_no_cells() -> None:
    assert s2.leaf_ids([], []).shape == (0,)
    assert s2.centres(s2.leaf_ids([], [])).shape == (0, 2)
