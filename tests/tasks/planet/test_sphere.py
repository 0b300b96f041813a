"""Distances against Google's S2 library, and where that rounds, against fifty digits."""

import mpmath
import numpy as np
import pytest

from tasks.planet.metrics import THRESHOLDS_KM, distance_metrics
from tasks.planet.sphere import EARTH_RADIUS_KM, coordinates, great_circle_km, unit_vectors
from tests.tasks.planet.places import draw_places, edge_places

HALF = np.pi * EARTH_RADIUS_KM  # half around the earth


def exact_km(a: np.ndarray, b: np.ndarray) -> float:
    """By the chord between the places, and for far ones to the antipode."""
    with mpmath.workdps(50):
        vectors = []
        for lat, lon in (a, b):
            phi, turn = mpmath.radians(mpmath.mpf(float(lat))), mpmath.radians(mpmath.mpf(float(lon)))
            vectors.append((mpmath.cos(phi) * mpmath.cos(turn), mpmath.cos(phi) * mpmath.sin(turn), mpmath.sin(phi)))
        chord = mpmath.sqrt(sum((x - y) ** 2 for x, y in zip(*vectors, strict=True)))
        return float(2 * mpmath.asin(min(chord / 2, mpmath.mpf(1))) * mpmath.mpf(EARTH_RADIUS_KM))


def test_distances_are_googles() -> None:
    google = pytest.importorskip("s2geometry")
    a, b = draw_places(20_000, seed=1), np.roll(draw_places(20_000, seed=2), 7, axis=0)
    place = google.S2LatLng.FromDegrees
    theirs = [place(*p).GetDistance(place(*q)).radians() for p, q in zip(a.tolist(), b.tolist(), strict=True)]
    np.testing.assert_allclose(great_circle_km(*a.T, *b.T), np.array(theirs) * EARTH_RADIUS_KM, rtol=1e-6)


@pytest.mark.parametrize("kind", ["anywhere", "edges", "neighbours", "antipodes"])
def test_distances_are_exact(kind: str) -> None:
    rng = np.random.default_rng(0)
    a = edge_places()[::150] if kind == "edges" else draw_places(300, seed=3)
    b = rng.permutation(a)
    if kind == "neighbours":  # from 0.1 m to 10 km
        b = np.clip(a + rng.standard_normal(a.shape) * 10 ** rng.uniform(-6, -1, (len(a), 1)), -90, 90)
    elif kind == "antipodes":
        b = np.stack([-a[:, 0], a[:, 1] - np.copysign(180, a[:, 1])], axis=1)
        b[::2] += rng.standard_normal(b[::2].shape) * 1e-5
    expected = [exact_km(p, q) for p, q in zip(a, b, strict=True)]
    np.testing.assert_allclose(great_circle_km(*a.T, *b.T), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("start", "end", "km"),
    [
        ((0, 0), (0, 0), 0),
        ((0, 0), (0, 180), HALF),
        ((90, 0), (-90, 77), HALF),
        ((45, 30), (-45, -150), HALF),
        ((90, -120), (90, 60), 0),  # a pole has one place
        ((0, 180), (0, -180), 0),  # the date line too
        ((0, 179.5), (0, -179.5), HALF / 180),
        ((90, 0), (0, 33), HALF / 2),
        ((0, -10), (0, 10), HALF / 9),
        ((60, 0), (60, 180), HALF / 3),  # over the pole
    ],
)
def test_distances_worked_by_hand(start: tuple[float, float], end: tuple[float, float], km: float) -> None:
    assert great_circle_km(*start, *end) == pytest.approx(km, rel=1e-12, abs=1e-9)
    assert great_circle_km(*end, *start) == pytest.approx(km, rel=1e-12, abs=1e-9)


def test_london_to_new_york() -> None:
    assert great_circle_km(51.5074, -0.1278, 40.7128, -74.0060) == pytest.approx(5570, abs=1)


def test_distances_broadcast() -> None:
    assert great_circle_km(np.zeros((3, 1)), 0, np.zeros(4), np.arange(4)).shape == (3, 4)


def test_unit_vectors_and_back() -> None:
    places = np.concatenate([draw_places(1000), edge_places()])
    vectors = unit_vectors(*places.T)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-15)
    back = coordinates(3 * vectors)
    np.testing.assert_allclose(great_circle_km(*places.T, *back.T), 0, atol=1e-8)
    inner = np.abs(places[:, 0]) < 89
    turn = (back[inner, 1] - places[inner, 1] + 180) % 360 - 180
    np.testing.assert_allclose(turn, 0, atol=1e-11)
    np.testing.assert_array_equal(np.round(unit_vectors([0, 0, 90], [0, 90, 0]), 12), np.eye(3))


def test_shares_and_median() -> None:
    assert THRESHOLDS_KM == (1, 25, 200, 750, 2500)
    found = distance_metrics([0, 1, 1.001, 25, 199, 750, 2499, 2500, 2500.1, 20_000])
    assert found == {
        "within_1km": 0.2, "within_25km": 0.4, "within_200km": 0.5, "within_750km": 0.6, "within_2500km": 0.8,
        "median_km": (199 + 750) / 2,
    }  # fmt: skip
    assert distance_metrics([]) == {}
