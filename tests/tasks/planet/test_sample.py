"""The drawn sample: its format, its people, and that it is the same every time."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.planet.data import geotagged_sample
from tasks.planet.metrics import best_single_place
from tasks.planet.sample import draw_geotagged_sample
from tasks.planet.sample_drawing import draw_image
from tasks.planet.sample_world import LAND, World
from tasks.planet.sphere import great_circle_km, unit_vectors
from tasks.shared.errors import UserError
from tests.tasks.planet.thumbnails import thumbnail_errors


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample") / "s"
    draw_geotagged_sample(folder, 40, 12)
    return folder


def table(root: Path, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((root / name).read_text().splitlines()))


def test_two_tables_and_their_images(root: Path) -> None:
    rows = {name: table(root, f"{name}.csv") for name in ("train", "val")}
    assert [len(found) for found in rows.values()] == [40, 12]
    assert list(rows["train"][0]) == ["path", "lat", "lon", "user", "time"]
    users = [{row["user"] for row in found} for found in rows.values()]
    assert not users[0] & users[1] and len(users[0]) < 40
    for row in rows["train"] + rows["val"]:
        with Image.open(root / row["path"]) as image:
            assert min(image.size) >= 84 and max(image.size) <= 104
        assert any(s - 2 < float(row["lat"]) < n + 2 for boxes in LAND for s, n, _, _ in boxes)


def test_the_same_again_and_another_seed(root: Path, tmp_path: Path) -> None:
    draw_geotagged_sample(tmp_path / "again", 40, 12)
    draw_geotagged_sample(tmp_path / "other", 40, 12, seed=1)
    for file in root.rglob("*"):
        if file.is_file() and file.name != "sample.json":
            assert file.read_bytes() == (tmp_path / "again" / file.relative_to(root)).read_bytes()
            assert file.read_bytes() != (tmp_path / "other" / file.relative_to(root)).read_bytes()


def test_a_larger_set_begins_alike(root: Path, tmp_path: Path) -> None:
    """So that a study of set sizes compares like with like: of the same people, the same photos."""
    draw_geotagged_sample(tmp_path / "more", 44, 12)
    assert table(tmp_path / "more", "val.csv") == table(root, "val.csv")


def test_places_are_clustered(tmp_path: Path) -> None:
    world, rng = World(0), np.random.default_rng(0)
    places = np.array([world.place(rng, int(rng.choice(48, p=world.weights)))[:2] for _ in range(1500)])
    middles = np.stack([town.middle for town in world.towns])
    nearest = np.degrees(np.arccos((unit_vectors(*places.T) @ middles.T).clip(-1, 1)).min(1)) * 111.2
    assert (nearest < 200).mean() > 0.8 and 0.02 < (nearest > 300).mean() < 0.15
    assert np.median(great_circle_km(*places[0], *places[1:].T)) > 4000


def test_a_image_says_its_country_by_structure() -> None:
    """With all chance the same, another country's image is another one; colours in the mean say nothing."""
    world = World(0)
    lat, lon = 48.0, 10.0
    look = world.look(np.random.default_rng(0), lat, lon, 2)
    draw = lambda other: np.asarray(draw_image(np.random.default_rng(3), other, np.ones(3)), float)  # noqa: E731
    base = draw(look)
    for other in (look._replace(sign=(look.sign + 5) % 24), look._replace(continent=4), look._replace(climate=0)):
        assert np.abs(draw(other) - base).mean() > 0.3
    means = {c: np.mean([np.asarray(draw_image(np.random.default_rng((c, k)), look._replace(continent=c), np.ones(3)))
                         .mean((0, 1)) for k in range(60)], 0) for c in (0, 4)}  # fmt: skip
    assert np.abs(means[0] - means[4]).max() < 20


@pytest.mark.slow
def test_colours_alone_do_not_tell_the_place(tmp_path: Path) -> None:
    """A quarter of what the one best place gives is the bar that training is held to."""
    root = tmp_path / "s"
    draw_geotagged_sample(root, 1500, 300)
    photos = np.array([(row["lat"], row["lon"]) for row in table(root, "val.csv")], float)
    best = np.median(great_circle_km(*photos.T, *best_single_place(*photos.T)))
    assert thumbnail_errors(str(root), 1500, 300)["median_km"] > best / 2


def test_the_smallest_sample_has_cells(tmp_path: Path) -> None:
    limits = {"max_photos": None, "min_photos": None, "min_level": 2, "max_level": 6}
    data = geotagged_sample(str(tmp_path / "s"), train=4, val=2, resolution=32, partition=limits)
    assert data.num_classes >= 2


def test_no_numbers_below_the_least(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.train=1, data\.val=2"):
        draw_geotagged_sample(tmp_path / "s", 1, 2)
