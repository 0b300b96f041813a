"""The noisy set: what is listed, and what is left out."""

import csv
import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps

from tasks.dogs.data import SEEN, stanford_dogs, web_dogs
from tasks.shared.classification.data import ClassificationData
from tasks.shared.errors import UserError
from tests.tasks.dogs.conftest import BREEDS, image, write_dogs

FOLDERS = ("n02085620-Chihuahua", "n02085782", "shih-tzu")  # by folder, by id, by name


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """Stanford Dogs in dogs/, and a web set in web/: ten fine images a class, and a few of each other kind."""
    write_dogs(tmp_path / "dogs")
    for label, folder in enumerate(FOLDERS):
        (tmp_path / "web" / folder).mkdir(parents=True)
        for number in range(10):
            image(1000 + 100 * label + number, (120, 90)).save(tmp_path / f"web/{folder}/{number}.jpg")
    odd = tmp_path / "web" / FOLDERS[0]
    twin = image(2)  # a test image of the first breed
    twin.resize((144, 120)).save(odd / "twin.png")
    ImageOps.mirror(twin).save(tmp_path / "web" / FOLDERS[2] / "mirrored_twin.jpg")
    image(0).save(odd / "training_twin.jpg")
    image(7, (31, 200)).save(odd / "narrow.jpg")
    (odd / "page.jpg").write_text("<html>not found</html>")
    (odd / "no_suffix").write_bytes((odd / "1.jpg").read_bytes())
    (odd / ".hidden").write_text("")
    return tmp_path


def web(sets: Path, **more: Any) -> ClassificationData:
    options: dict[str, Any] = {"guard": {}, "resolution": 32, "workers": 0, "on_corrupt": "error"} | more
    return web_dogs(f"{sets}/web", f"{sets}/dogs", official=False, cache=f"{sets}/cache", **options)


def left_out(data: ClassificationData) -> dict[str, str]:
    rows = csv.DictReader(io.StringIO(str(data.reports["left_out.csv"])))
    return {row["file"]: row["reason"] for row in rows}


def test_what_is_left_out(sets: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        data = web(sets)
    assert left_out(data) == {
        f"{FOLDERS[0]}/narrow.jpg": "too small",
        f"{FOLDERS[0]}/page.jpg": "unreadable",
        f"{FOLDERS[0]}/twin.png": "near-duplicate",
        f"{FOLDERS[2]}/mirrored_twin.jpg": "near-duplicate",
    }
    assert "36 found, 4 left out (2 near-duplicate, 1 too small, 1 unreadable)" in caplog.text
    kept = data.images["train"]
    assert np.bincount(kept.labels).tolist() == [12, 10, 10]
    assert sum(len(batch.targets) for batch in data.train_loader(0)) == 32, "all that is kept can be read"
    assert "n02085620_2.jpg (" in str(data.reports["left_out.csv"])
    shown = data.reports["near_duplicates.jpg"]
    assert isinstance(shown, Image.Image)
    above, below = (np.asarray(shown)[top + 20 : top + 120, 20:120].mean((0, 1)) for top in (0, 192))
    assert np.abs(above - below).max() < 12, "each stands above its test image"


def test_evaluation_is_on_the_test_list(sets: Path) -> None:
    data = web(sets, splits=("val",))
    test = stanford_dogs(f"{sets}/dogs", official=False, resolution=32)
    assert (
        data.info
        == test.info
        == {
            "class_ids": ["n02085620", "n02085782", "n02086240"],
            "class_names": ["Chihuahua", "Japanese spaniel", "Shih-Tzu"],
        }
    )
    assert [data.images["val"].name(k) for k in range(9)] == [test.images["val"].name(k) for k in range(9)]
    assert "train" not in data.images and not (sets / "cache").exists(), "nothing of the web is looked at for it"
    assert data.leak_warnings == test.leak_warnings == {"imagenet": SEEN}


def test_the_guard_can_be_set(sets: Path) -> None:
    assert "near-duplicate" not in left_out(web(sets, guard=None)).values()
    unmirrored = left_out(web(sets, guard={"mirrored": False}))
    assert list(unmirrored.values()).count("near-duplicate") == 1
    with pytest.raises(UserError, match=r"of 36 files none can be trained on"):
        web(sets, min_side=500)
    for guard in ({"distance": 900}, {"distance": "x"}, {"mirored": True}, 64):
        with pytest.raises(UserError, match=r"data.guard="):
            web(sets, guard=guard)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_an_index_says_the_same_as_folders(suffix: str, sets: Path) -> None:
    names = sorted(p.relative_to(sets / "web").as_posix() for p in (sets / "web").rglob("*") if p.is_file())
    names = [name for name in names if ".hidden" not in name]
    labels = [BREEDS[FOLDERS.index(name.split("/")[0])] for name in names]
    index = sets / f"index.{suffix}"
    if suffix == "csv":
        index.write_text("label,path\n" + "\n".join(map(",".join, zip(labels, names, strict=True))))
    else:
        pq.write_table(pa.table({"label": labels, "path": names}), index)
    folders, indexed = web(sets), web(sets, index=str(index))
    assert left_out(folders) == left_out(indexed)
    pairs = [sorted((d.images["train"].name(k), int(d.images["train"].labels[k])) for k in range(32)) for d in
             (folders, indexed)]  # fmt: skip
    assert pairs[0] == pairs[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na.jpg,Poodle\nb.jpg,Chihuahua\n", "from row 1 on: 1 of 2 are none of the 3 breeds: Poodle"),
        ("path,kind\na.jpg,Chihuahua\n", "no column for label: expected label or class. Its columns: path, kind"),
        ("path,label\n", "holds no rows"),
        ("", "is empty"),
        ("path;label\na;b\n", "separated by ';'; expected commas"),
        ("path,label\na.jpg,Chihuahua,3\n", "cannot be read"),
    ],
)
def test_bad_indexes(text: str, message: str, sets: Path) -> None:
    (sets / "index.csv").write_text(text)
    with pytest.raises(UserError, match=rf"index.csv: .*{message}"):
        web(sets, index=f"{sets}/index.csv")


def test_absent_images_of_an_index_are_counted(sets: Path) -> None:
    (sets / "index.csv").write_text(f"path,label\n{FOLDERS[0]}/1.jpg,Chihuahua\ngone.jpg,Shih-Tzu\n")
    assert left_out(web(sets, index=f"{sets}/index.csv")) == {"gone.jpg": "unreadable"}


def test_bad_folders(sets: Path) -> None:
    (sets / "web/Poodle").mkdir()
    with pytest.raises(UserError, match=r"web: its folders are the classes: 1 of 4 are none of the 3 breeds: Poodle"):
        web(sets)
    with pytest.raises(UserError, match=r"data.root=.*nowhere: no such folder"):
        web_dogs(f"{sets}/nowhere", f"{sets}/dogs", official=False, resolution=32)
    with pytest.raises(UserError, match=r"data.test_root=.*nowhere: no such folder; expected Stanford Dogs"):
        web_dogs(f"{sets}/web", f"{sets}/nowhere", official=False, resolution=32)
    with pytest.raises(UserError, match=r"data.min_side=0"):
        web(sets, min_side=0)


def test_a_broken_test_image_stops_the_guard(sets: Path) -> None:
    (sets / f"dogs/Images/{BREEDS[0]}/n02085620_3.jpg").write_text("broken")
    with pytest.raises(UserError, match=r"1 test images cannot be read, .*n02085620_3.jpg"):
        web(sets)
