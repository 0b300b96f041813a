"""The reader of Stanford Dogs."""

import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from tasks.dogs.stanford import StanfordDogs, read_list, read_stanford_dogs
from tasks.shared.errors import UserError
from tests.tasks.dogs.conftest import BREEDS, write_dogs, write_list


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_dogs(tmp_path / "dogs")


def read(root: Path, box_crop: bool = False) -> StanfordDogs:
    return read_stanford_dogs(root, ("train", "val"), official=False, box_crop=box_crop)


def test_breeds_and_images(root: Path) -> None:
    dogs = read(root)
    assert [tuple(breed) for breed in dogs.breeds] == [
        ("n02085620-Chihuahua", "n02085620", "Chihuahua"),
        ("n02085782-Japanese_spaniel", "n02085782", "Japanese spaniel"),
        ("n02086240-Shih-Tzu", "n02086240", "Shih-Tzu"),
    ]
    assert dogs.images["train"].labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert dogs.images["val"].labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert dogs.images["val"].name(3) == f"{root}/Images/{BREEDS[1]}/n02085782_2.jpg"
    assert dogs.images["val"].read(3).shape == (3, 80, 96)


def test_lists_may_lie_in_the_root(root: Path) -> None:
    """As they come out of the archive."""
    for file in (root / "lists").iterdir():
        file.rename(root / file.name)
    (root / "lists").rmdir()
    assert len(read(root).breeds) == 3


def test_labels_are_those_of_the_list_not_of_the_folders(root: Path) -> None:
    for split in ("train", "test"):
        path = root / f"lists/{split}_list.mat"
        files, labels = read_list(path)
        write_list(path, files, [3 - label for label in labels.tolist()])
    dogs = read(root)
    assert [breed.folder for breed in dogs.breeds] == list(reversed(BREEDS))
    assert dogs.images["train"].labels.tolist() == [2, 2, 1, 1, 0, 0]


def test_box_crop_takes_the_largest_box_and_a_margin(root: Path) -> None:
    whole, cut = read(root).images["val"].read(0), read(root, box_crop=True).images["val"].read(0)
    assert np.array_equal(cut, whole[:, 6:54, 16:64])  # 20, 10 to 60, 50, and a tenth of 40 around it
    annotation = root / f"Annotation/{BREEDS[0]}/n02085620_2"
    for text, message in (
        ("no XML", "not a readable annotation"),
        ("<annotation/>", "names no box"),
        ("<annotation><object><bndbox><xmin>900</xmin><ymin>1</ymin><xmax>950</xmax><ymax>9</ymax></bndbox></object>"
         "</annotation>", "outside of 96 x 80"),
    ):  # fmt: skip
        annotation.write_text(text)
        with pytest.raises(UserError, match=f"n02085620_2: .*{message}"):
            read(root, box_crop=True).images["val"].read(0)
    annotation.unlink()
    with pytest.raises(UserError, match=r"9 files, of which 1 are not in .*Annotation: n02085620-Chih.*_2"):
        read(root, box_crop=True)


def test_a_short_count_names_what_is_missing(root: Path) -> None:
    with pytest.raises(UserError, match=r"3 classes; Stanford Dogs has 120; train_list.mat names 6 images") as caught:
        read_stanford_dogs(root, ("train", "val"))
    assert "test_list.mat names 9 images; Stanford Dogs has 8580" in str(caught.value)
    assert "data.official=false" in str(caught.value)


def break_nothing(root: Path) -> None:
    shutil.rmtree(root)


def break_list(root: Path) -> None:
    (root / "lists/test_list.mat").unlink()


def break_images(root: Path) -> None:
    (root / "Images").rename(root / "images_")


def break_image(root: Path) -> None:
    (root / f"Images/{BREEDS[2]}/n02086240_4.jpg").unlink()


def break_content(root: Path) -> None:
    (root / "lists/train_list.mat").write_bytes(b"not MATLAB" * 50)


def break_half(root: Path) -> None:
    path = root / "lists/train_list.mat"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def break_labels(root: Path) -> None:
    files, _ = read_list(root / "lists/train_list.mat")
    write_list(root / "lists/train_list.mat", files, [1, 2, 2, 2, 3, 3])


def break_gap(root: Path) -> None:
    for split in ("train", "test"):
        files, labels = read_list(root / f"lists/{split}_list.mat")
        write_list(root / f"lists/{split}_list.mat", files, [1 + 2 * label for label in labels.tolist()])


def break_name(root: Path) -> None:
    """Two folders, one breed."""
    for split in ("train", "test"):
        files, labels = read_list(root / f"lists/{split}_list.mat")
        files = [file.replace("Japanese_spaniel", "chihuahua") for file in files]
        write_list(root / f"lists/{split}_list.mat", files, (labels + 1).tolist())


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (break_nothing, "data.root=.*no such folder; expected Stanford Dogs"),
        (break_list, "missing .*lists/test_list.mat"),
        (break_images, "missing .*Images"),
        (break_image, "test_list.mat names 9 files, of which 1 are not in .*Images: n02086240-Shih-Tzu/n02086240_4"),
        (break_content, "train_list.mat: not a MATLAB file, or damaged"),
        (break_half, "train_list.mat: not a MATLAB file, or damaged|holds no"),
        (break_labels, "label 2 means n02085620-Chihuahua and n02085782-Japanese_spaniel"),
        (break_gap, "expected 1, 2, 3"),
        (break_name, "two classes of one name: n02085620-Chihuahua and n02085782-chihuahua"),
    ],
)
def test_bad_sets(harm, message: str, root: Path) -> None:
    harm(root)
    with pytest.raises(UserError, match=message):
        read(root)


def test_a_test_list_alone_is_enough_to_evaluate(root: Path) -> None:
    (root / "lists/train_list.mat").unlink()
    assert len(read_stanford_dogs(root, ("val",), official=False).breeds) == 3


@pytest.mark.skipif("MOBILENET_TOOLKIT_LISTS" not in os.environ, reason="needs the real lists as CSV (file, label)")
@pytest.mark.parametrize(("split", "count"), [("train", 12_000), ("test", 8_580)])
def test_the_real_lists(split: str, count: int, tmp_path: Path) -> None:
    """The real lists, from the CSV files stanford_dogs_<split>.csv in the folder that the variable names."""
    with (Path(os.environ["MOBILENET_TOOLKIT_LISTS"]) / f"stanford_dogs_{split}.csv").open() as file:
        rows = list(csv.DictReader(file))
    write_list(tmp_path / "list.mat", [row["file"] for row in rows], [int(row["label"]) + 1 for row in rows])
    files, labels = read_list(tmp_path / "list.mat")
    assert len(files) == count and files == [row["file"] for row in rows]
    assert labels.tolist() == [int(row["label"]) for row in rows]
    assert sorted(set(labels.tolist())) == list(range(120))
