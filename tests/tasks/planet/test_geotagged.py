"""Tables of geotagged photos: what is trained and evaluated on, and how mistakes are told."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tasks.planet.cells import Cells
from tasks.planet.data import geotagged
from tasks.planet.dataset import GeotaggedData
from tasks.planet.model import PlaNet
from tasks.planet.neighbours import neighbours
from tasks.planet.photos import read_photos
from tasks.shared.errors import UserError
from tasks.shared.images.decode import to_pil
from tests.tasks.planet.conftest import SHOTS, image, write_photos, write_table
from tests.tasks.planet.places import draw_places
from tests.tasks.planet.places import write_table as write_places
from tests.tasks.planet.test_model import MobileNetV1

PARTITION = {"max_photos": 10, "min_photos": 2, "min_level": 2, "max_level": 8}
WIDE = PARTITION | {"max_photos": 50, "min_level": 0}
BOTH: dict[str, Any] = {"train": {"table": "photos.csv"}, "val": {"table": "photos.csv"}}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "phötos, v=1")


def make(root: Path, **options: Any) -> GeotaggedData:
    sources = {"partition": PARTITION, "resolution": 32, "workers": 0, "batch_size": 4}
    return geotagged(str(root), **{"train": {"table": "photos.csv"}, **sources, **options})


def test_training_leaves_out_what_evaluation_counts(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    data = make(root, **BOTH)
    assert data.cells is not None and data.num_classes == len(data.cells) == 3
    assert "cells: 3 made of the photos to train on (max_photos 10, " in caplog.text
    assert "photos to train on: 1 of 19 (5.3 %) lie in none of the 3 cells and are left out" in caplog.text
    targets = [t for batch in data.train_loader(0) for t in batch.targets]
    assert len(targets) == 16, "of 18, in batches of 4"
    beside = neighbours(data.cells)
    for target in targets:
        shot = next(s for s in SHOTS if target["file"].endswith(s.path))
        assert (target["lat"], target["lon"]) == (shot.lat, shot.lon)
        assert target["label"] == data.cells.assign([shot.lat], [shot.lon])[0] >= 0
        assert target["class_id"] == data.cells.tokens[target["label"]]
        assert target["neighbours"].tolist() == beside[target["label"]].tolist()
    seen = [t for batch in data.val_loader() for t in batch.targets]
    assert [t["file"].rsplit("/")[-1] for t in seen] == [s.path.rsplit("/")[-1] for s in SHOTS]
    assert (seen[-1]["label"], seen[-1]["class_id"]) == (-1, "") and (seen[-1]["lat"], seen[-1]["lon"]) == (5.0, -160.0)
    for k in (0, 7, 18):
        assert torch.equal(data.image(seen[k]), torch.from_numpy(np.array(image(k))).permute(2, 0, 1))
    assert Cells.load(_written(root, data.reports["cells.json"])).key == data.cells.key


def _written(root: Path, text: Any) -> Path:
    file = root / "made.json"
    file.write_text(text)
    return file


def test_training_knows_the_cells_beside(root: Path) -> None:
    """Three faces of the cube, each beside the other two."""
    data = make(root, **BOTH, partition=WIDE)
    assert data.cells is not None and data.cells.tokens == ["5", "7", "9"]
    targets = [t for batch in data.train_loader(0) for t in batch.targets]
    assert {t["label"] for t in targets} == {0, 1, 2}
    assert all(t["neighbours"].tolist() == [k for k in range(3) if k != t["label"]] for t in targets)


def test_images_are_upright(tmp_path: Path) -> None:
    root = write_photos(tmp_path)
    image = Image.new("RGB", (20, 10), "red")
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(root / SHOTS[0].path, exif=exif)
    photos = read_photos(root, root / "photos.csv", None, None)
    assert to_pil(photos.images.read(0)).size == (10, 20)


def test_users_are_on_one_side(root: Path) -> None:
    data = make(root, split={"by": "user", "share": 0.3})
    sides = {
        side: {next(s.user for s in SHOTS if images.name(k).endswith(s.path)) for k in range(len(images.labels))}
        for side, images in data.images.items()
    }
    assert sides["train"] and sides["val"] and not sides["train"] & sides["val"]
    alone = geotagged(str(root), train={"table": "photos.csv"}, split={"by": "user", "share": 0.3}, splits=("val",),
                      resolution=32)  # fmt: skip
    for images in data.images.values():
        for k in range(len(images.labels)):
            row = next(row for row, s in enumerate(SHOTS) if images.name(k).endswith(s.path))
            assert np.array_equal(images.read(k).permute(1, 2, 0).numpy(), np.array(image(row)))
    names = [[d.images["val"].name(k) for k in range(len(d.photos["val"].lat))] for d in (data, alone)]
    assert names[0] == names[1] and alone.info == {}


def test_times_are_on_either_side(root: Path) -> None:
    data = make(root, split={"by": "time", "after": "2014-01-01"})
    for side, photos in data.photos.items():
        for k in range(len(photos.lat)):
            shot = next(s for s in SHOTS if photos.images.name(k).endswith(s.path))
            assert (shot.time >= "2014-01-01") == (side == "val")


def test_a_file_of_cells(root: Path) -> None:
    made = make(root, **BOTH)
    assert made.cells is not None
    made.cells.save(root / "cells.json")
    data = make(root, **BOTH, cells=str(root / "cells.json"))
    assert data.info == made.info and "cells.json" not in data.reports
    task = PlaNet(MobileNetV1(0.25), 3, 32)
    assert task.evaluator(make(root, **BOTH, cells=str(root / "cells.json"), splits=("val",)), data.info)
    assert task.evaluator(make(root, **BOTH, cells=str(root / "gone.json"), splits=("val",)), data.info)
    others = make(root, **BOTH, partition=PARTITION | {"min_level": 3})
    assert others.cells is not None
    with pytest.raises(UserError, match=f"another partition .* {others.cells.key} .* {made.cells.key}") as told:
        task.evaluator(others, data.info)
    assert "data.cells=null" in str(told.value)


def test_relative_tables_and_columns_of_other_names(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (root / "photos.csv").read_text().replace("path,lat,lon,user,time", "where,y,x,who,when")
    (root.parent / "other.csv").write_text(text)
    monkeypatch.chdir(root.parent)
    columns = {"path": "where", "lat": "y", "lon": "x", "user": "who"}
    data = make(root, train={"table": "other.csv"}, columns=columns, split={"share": 0.3})
    assert len(data.photos["val"].lat) > 0


def bad_table(change: str, by: str) -> str:
    return "path,lat,lon,user,time\n" + "".join(f"{s.path},{s.lat},{s.lon},{s.user},{s.time}\n" for s in SHOTS).replace(
        change, by
    )


@pytest.mark.parametrize(
    ("change", "by", "options", "message"),
    [
        ("48.8,", "91,", {}, r"row 1: lat=91; expected degrees from -90 to 90"),
        ("48.8,", "nan,", {}, r"row 1: lat=nan; expected degrees"),
        ("paris0,2010", ",2010", {}, r"row 1: has no user; expected one, as data\.split\.by=user"),
        ("2010-05", "May 2010", {"split": {"by": "time"}}, r"row 1: time='May 2010-01 12.*expected a date and time"),
        ("", "", {"columns": {"user": "owner"}}, r"no column for data\.columns\.user: expected 'owner'.*columns: path"),
        ("", "", {"split": {"by": "place"}}, r"data\.split\.by='place'"),
        ("", "", {"split": {"by": "user", "share": 1e-9}}, r"19 photos to train on, 0 to evaluate on; expected some"),
        ("", "", {"split": {"by": "time", "after": "1990-01-01"}}, r"0 photos to train on, 19 to evaluate on"),
        ("", "", {"partition": PARTITION | {"min_photos": 50, "max_photos": 50}}, r"no cell holds min_photos=50"),
        ("", "", BOTH | {"partition": WIDE | {"min_photos": 8}}, r"no cell holds min_photos=8"),
        ("", "", BOTH | {"partition": WIDE | {"min_photos": 7}}, r"data\.partition: 1 cell; expected at least 2"),
        ("", "", {"partition": PARTITION | {"max_photos": 0}}, r"max_photos=0; expected a whole number of at least 1"),
        ("", "", {"partition": None}, r"neither data\.cells nor data\.partition"),
        ("", "", {"train": {"table": "gone.csv"}}, r"gone\.csv: no such table.*tables in data\.root: photos\.csv"),
        ("", "", {"train": None}, r"data\.train\.table is not set"),
        ("", "", {"train": None, "splits": ("val",)}, r"data\.val\.table is not set"),
        ("", "", {"cells": "gone.json"}, r"gone\.json: cannot be read"),
        ("quito0.png", "quito99.png", {}, r"of 19 photos that were looked for 1 are not there.*quito99\.png, row 7"),
        ("a b/", "c/", {"on_corrupt": "skip"}, r"of 19 photos that were looked for 19 are not there"),
    ],
)  # fmt: skip
def test_mistakes_are_told(change: str, by: str, options: dict, message: str, root: Path) -> None:
    (root / "photos.csv").write_text(bad_table(change, by))
    with pytest.raises(UserError, match=message):
        make(root, **options)


def test_swapped_columns_are_named_as_likely(root: Path) -> None:
    write_table(root / "photos.csv", columns=("path", "lon", "lat", "user"))
    text = (root / "photos.csv").read_text()
    (root / "photos.csv").write_text(
        text.replace("path,lon,lat", "path,lat,lon").replace("178.4", "97").replace("178.", "97.")
    )
    with pytest.raises(UserError, match=r"likely swapped.*data\.columns\.lat and data\.columns\.lon"):
        make(root)


def test_a_missing_root_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.root=.*gone: no such folder"):
        make(tmp_path / "gone")


def test_missing_and_damaged_images_are_skipped(root: Path) -> None:
    (root / SHOTS[1].path).unlink()
    (root / SHOTS[8].path).write_bytes(b"\x89PNG no more")
    data = make(root, **BOTH, on_corrupt="skip")
    batches = list(data.val_loader())
    assert sum(batch.skipped for batch in batches) == 2 and sum(len(batch.targets) for batch in batches) == 17


def test_a_million_rows_are_arrays(tmp_path: Path) -> None:
    """Here a fifth of that: what is kept of a row is its path and three numbers."""
    write_places(tmp_path / "photos.parquet", 200_000)
    photos = read_photos(tmp_path, tmp_path / "photos.parquet", None, None)
    np.testing.assert_array_equal(np.stack([photos.lat, photos.lon], 1), draw_places(200_000))
    names = photos.images.names  # type: ignore[attr-defined]
    assert photos.lat.nbytes + names.nbytes == 200_000 * (8 + len("photos/000000000.jpg"))
    assert photos.images.name(199_999).endswith("photos/000199999.jpg")
    some = photos.pick(np.array([5, 199_999]))
    assert some.images.name(1) == photos.images.name(199_999) and some.lat[1] == photos.lat[199_999]
