"""Folders of people: nobody on both sides, and who can be compared with whom."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tasks.shared.errors import UserError
from tasks.shared.faces.data import face_folder
from tasks.shared.faces.dataset import FaceData
from tests.tasks.shared.faces.conftest import OPTIONS, image, pixels, write_face_shard, write_people

COUNTS = {f"persön {k}": 1 + k % 4 for k in range(10)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_people(tmp_path / "people, 1", COUNTS)


def make(root: Path, **options: Any) -> FaceData:
    return face_folder(str(root), **{**OPTIONS, **options})


def people(data: FaceData, split: str) -> list[str]:
    """Who is in each image."""
    images = data.images_of(split)
    return [Path(images.name(k)).parent.name for k in range(len(images.labels))]


def test_nobody_is_on_both_sides(root: Path) -> None:
    data = make(root, val_share=0.3)
    sides = {split: set(people(data, split)) for split in ("train", "val")}
    assert len(sides["val"]) == 3 and sides["train"] | sides["val"] == set(COUNTS) and not sides["train"] & sides["val"]
    assert data.num_classes == 0 and data.info == {} and data.pairs is None
    first = {name: number for number, name in zip(np.cumsum([0, *COUNTS.values()]), COUNTS, strict=False)}
    for batch in data.val_loader():
        for target in batch.targets:
            file = Path(target["file"])
            number = first[file.parent.name] + int(file.stem[-4:]) - 1
            assert np.array_equal(data.image(target), pixels(number))
    for split in sides:
        labels, names = data.identities(split), people(data, split)
        assert labels is not None and sorted(set(labels.tolist())) == list(range(len(sides[split])))
        assert len(set(zip(labels.tolist(), names, strict=True))) == len(sides[split])


def test_the_same_people_are_drawn_wherever_the_folder_is(root: Path, tmp_path: Path) -> None:
    before = people(make(root), "val")
    root.rename(tmp_path / "moved")
    data = make(tmp_path / "moved", splits=("val",))
    assert people(data, "val") == before and "train" not in data.images


def test_others_to_evaluate_on(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    others = write_people(tmp_path / "others", {"persön 3": 2, "Zoe": 2}, 40)
    data = make(root, val={"root": str(others)})
    assert set(people(data, "val")) == {"persön 3", "Zoe"} and len(set(people(data, "train"))) == 9
    assert "1 of 10 people are left out, such as persön 3: they are evaluated on" in caplog.text
    with pytest.raises(UserError, match="all 10 people to train on are left out"):
        make(root, val={"root": str(root)})


def test_one_image_is_enough_to_train_on_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_people(tmp_path / "a", {f"p{k}": 1 for k in range(6)})
    others = write_people(tmp_path / "b", {"x": 2, "y": 1, "z": 1}, 40)
    assert len(people(make(root, val={"root": str(others)}), "train")) == 6
    assert "2 of the 3 people to evaluate on have one image, and so no pair of the same person" in caplog.text
    with pytest.raises(UserError, match=r"data\.root=.*: 2 people to evaluate on, of whom 0 have two images or more"):
        make(root)
    lonely = write_people(tmp_path / "c", {"x": 5}, 60)
    with pytest.raises(UserError, match=r"data\.val\.root=.*: 1 people to evaluate on, of whom 1 have two"):
        make(root, val={"root": str(lonely)})


def test_learning_them_by_heart(root: Path) -> None:
    data = make(root, val_share=0, evaluate_on="train")
    assert people(data, "val") == people(data, "train") and len(set(people(data, "val"))) == 10


def test_unlabelled_images_to_train_on(root: Path, tmp_path: Path) -> None:
    shards = write_face_shard(tmp_path / "s/0.tar", range(30, 33)).parent
    data = make(root, val_share=1, unlabelled=str(shards), cache=str(tmp_path / "c"))
    assert len(data.images["train"].labels) == 3 and set(people(data, "val")) == set(COUNTS)


@pytest.mark.parametrize("share", [-0.1, 1.5, True, "a", None])
def test_shares_that_cannot_be(root: Path, share: Any) -> None:
    with pytest.raises(UserError, match=rf"data\.val_share={share!r}; expected a number from 0 to 1"):
        make(root, val_share=share)


@pytest.mark.parametrize(("share", "side"), [(0, "evaluate"), (1, "train")])
def test_a_side_without_people(root: Path, share: float, side: str) -> None:
    with pytest.raises(UserError, match=rf"data\.val_share={share} leaves nobody to {side} on"):
        make(root, val_share=share)


def test_what_is_no_image_is_told(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "persön 1/notes.doc").write_text("x")
    (root / "nobody").mkdir()
    make(root)
    assert "left out 1 files, 1 .doc" in caplog.text and "1 of 11 folders hold no images, such as nobody" in caplog.text
    with pytest.raises(UserError, match=r"data\.root=.*gone: no such folder; expected a folder for each person"):
        make(tmp_path / "gone")
    (tmp_path / "loose").mkdir()
    image(0).save(tmp_path / "loose/a.png")
    with pytest.raises(UserError, match=r"loose: holds no folders, but 1 images; expected a folder for each person"):
        make(tmp_path / "loose")
    (tmp_path / "bare/a").mkdir(parents=True)
    (tmp_path / "bare/a/b.heic").write_text("x")
    with pytest.raises(UserError, match=r"bare: holds 1 folders without images, but 1 \.heic"):
        make(tmp_path / "bare")


def test_grey_images_and_turned_ones(tmp_path: Path) -> None:
    root = write_people(tmp_path, {"a": 2, "b": 2})
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (20, 10), 77).save(root / "a/a_0001.png", exif=exif)
    Image.fromarray(np.full((10, 20), 77 * 256, np.uint16)).save(root / "a/a_0002.png")
    images = make(root, val_share=0, evaluate_on="train").images["train"]
    assert images.read(0).shape == (3, 20, 10) and images.read(1).shape == (3, 10, 20)
    assert int(images.read(0).min()) == int(images.read(1).max()) == 77
