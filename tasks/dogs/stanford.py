"""Stanford Dogs as it is distributed: Images/, Annotation/ and the official lists."""

import os
import re
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from tasks.dogs.mat_list import read_mat_list
from tasks.shared.data.image_set import FolderImages
from tasks.shared.errors import UserError
from tasks.shared.files.inside import check_inside
from tasks.shared.files.packing import packed
from tasks.shared.images.decode import read_image

LISTS = {"train": "train_list.mat", "val": "test_list.mat"}
OFFICIAL_CLASSES, OFFICIAL_COUNTS = 120, {"train": 12_000, "val": 8_580}
ANNOTATION = 1 << 20  # bytes
FOLDER = re.compile(r"(n\d{8})-(.+)")  # WordNet id and breed


class Breed(NamedTuple):
    """A class: its folder in Images/ (n02085620-Chihuahua), its id there (n02085620) and its name (Chihuahua)."""

    folder: str
    id: str
    name: str


class StanfordDogs(NamedTuple):
    """The set's classes in the order of its labels, and its images by split, "train" and "val" (the test list)."""

    breeds: list[Breed]
    images: dict[str, FolderImages]


def read_stanford_dogs(
    root: Path, splits: tuple[str, ...], *, official: bool = True, box_crop: bool = False, key: str = "data.root"
) -> StanfordDogs:
    """Read the lists in `root`/lists (or in `root` itself) and see to it that all is there.

    Args:
        splits: "train" and "val"; a list that is in neither is read for the classes alone, where it is there.
        official: 120 classes and 12,000 + 8,580 images are expected, no less.
        box_crop: images are cut to the largest box of their annotation.
        key: the config key that `root` comes from.

    Raises UserError, all problems in one message.
    """
    if not root.is_dir():
        raise UserError(f"{key}={root}: no such folder; expected Stanford Dogs: Images/, lists/ and Annotation/")
    folder = root / "lists" if (root / "lists").is_dir() else root
    missing = [str(folder / LISTS[split]) for split in splits if not (folder / LISTS[split]).is_file()]
    if not (root / "Images").is_dir():
        missing.append(str(root / "Images"))
    if missing:
        raise UserError(f"{key}={root}: missing {', '.join(missing)}; expected Images/ and lists/ of Stanford Dogs")
    lists = {split: read_list(folder / name) for split, name in LISTS.items() if (folder / name).is_file()}
    breeds = _breeds(lists, folder)
    problems = _short_counts(breeds, {split: lists[split] for split in splits}) if official else []
    for split in splits:
        files, _ = lists[split]
        problems += _absent(root / "Images", files, "", f"{folder / LISTS[split]} names")
        if box_crop:
            problems += _absent(root / "Annotation", files, ".jpg", "data.box_crop=true needs")
    if problems:
        raise UserError(f"{key}={root}: " + "\n".join(problems))
    dataset_type = BoxedImages if box_crop else FolderImages
    names = {split: packed([f.encode() for f in lists[split][0]], folder / LISTS[split]) for split in splits}
    images = {split: dataset_type(root / "Images", names[split], lists[split][1]) for split in splits}
    return StanfordDogs(breeds, images)


class BoxedImages(FolderImages):
    """Images cut to the largest box of their annotation, which lies in Annotation/ beside Images/."""

    margin = 0.1  # of the box's sides, around it

    def read(self, index: int) -> Tensor:
        file = bytes(self.names[index]).decode()
        image = read_image(self.root / file)  # boxes mean the pixels as stored, so never turned
        annotation = self.root.parent / "Annotation" / file.removesuffix(".jpg")
        left, top, right, bottom = largest_box(annotation)
        height, width = image.shape[-2:]
        across, down = self.margin * (right - left), self.margin * (bottom - top)
        x0, x1 = max(round(left - across), 0), min(round(right + across), width)
        y0, y1 = max(round(top - down), 0), min(round(bottom + down), height)
        if x1 <= x0 or y1 <= y0:
            raise UserError(
                f"{annotation}: its box {left, top, right, bottom} lies outside of {width} x {height} pixels"
            )
        return image[:, y0:y1, x0:x1]

    def encoded(self, index: int) -> None:
        return None


def read_list(path: Path) -> tuple[list[str], np.ndarray]:
    """Of an official list: files, as `n02085620-Chihuahua/n02085620_5927.jpg`, and labels from 0, (N,) int64."""
    files, numbers = read_mat_list(path)
    labels = numbers - 1
    if len(files) != len(labels):
        raise UserError(f"{path}: {len(files)} files, but {len(labels)} labels")
    if odd := [file for file in files if file.count("/") != 1]:
        raise UserError(f"{path}: names {odd[0][:200]!r}; expected CLASS/PICTURE, {len(odd)} are not")
    check_inside(files, str(path), "expected CLASS/PICTURE")
    return files, labels


def breed_of(folder: str) -> Breed:
    match = FOLDER.fullmatch(folder)
    number, name = match.groups() if match else (folder, folder)
    return Breed(folder, number, name.replace("_", " "))


def largest_box(annotation: Path) -> tuple[float, float, float, float]:
    """The largest box (left, top, right, bottom) of an image's annotation, Pascal VOC's XML; pixels."""
    try:
        boxes = [
            (float(box.findtext("xmin", "")), float(box.findtext("ymin", "")),
             float(box.findtext("xmax", "")), float(box.findtext("ymax", "")))
            for box in ElementTree.fromstring(_markup(annotation)).iterfind("object/bndbox")
        ]  # fmt: skip
        if not all(abs(side) < 1 << 31 for box in boxes for side in box):
            raise ValueError("a box with a side that is no number of pixels")
    except (OSError, ElementTree.ParseError, ValueError, RecursionError) as error:
        raise UserError(f"{annotation}: not a readable annotation ({error})") from error
    if not boxes:
        raise UserError(f"{annotation}: names no box")
    return max(boxes, key=lambda box: (box[2] - box[0]) * (box[3] - box[1]))


def _markup(annotation: Path) -> bytes:
    """Annotations are of some kB, and define no entities: those of others, which could stand for gigabytes, are."""
    if not annotation.is_file() or annotation.stat().st_size > ANNOTATION:
        raise ValueError(f"expected a file of at most {ANNOTATION:,} bytes")
    content = annotation.read_bytes()
    if b"<!" in content.replace(b"<!--", b""):
        raise ValueError("it declares a type or entities")
    return content


def _breeds(lists: dict[str, tuple[list[str], np.ndarray]], folder: Path) -> list[Breed]:
    """One class folder a label, with a name that is its own."""
    folders: dict[int, set[str]] = defaultdict(set)
    for files, labels in lists.values():
        for file, label in zip(files, labels.tolist(), strict=True):
            folders[label].add(file.split("/")[0])
    mixed = [f"label {label + 1} means {' and '.join(sorted(names))}" for label, names in folders.items()
             if len(names) > 1]  # fmt: skip
    if mixed:
        raise UserError(f"{folder}: {'; '.join(mixed[:3])}; expected one folder a label")
    if not folders or sorted(folders) != list(range(len(folders))):
        raise UserError(f"{folder}: labels {[label + 1 for label in sorted(folders)][:10]}; expected 1, 2, 3 ...")
    breeds = [breed_of(next(iter(folders[label]))) for label in range(len(folders))]
    for what in ("folder", "id", "name"):
        seen: dict[str, str] = {}
        for breed in breeds:
            value = str(getattr(breed, what)).lower()
            if value in seen:
                raise UserError(f"{folder}: two classes of one {what}: {seen[value]} and {breed.folder}")
            seen[value] = breed.folder
    return breeds


def _short_counts(breeds: list[Breed], lists: dict[str, tuple[list[str], np.ndarray]]) -> list[str]:
    problems = []
    if len(breeds) != OFFICIAL_CLASSES:
        problems.append(f"{len(breeds)} classes; Stanford Dogs has {OFFICIAL_CLASSES}")
    for split, (files, _) in lists.items():
        if len(files) != OFFICIAL_COUNTS[split]:
            problems.append(f"{LISTS[split]} names {len(files)} images; Stanford Dogs has {OFFICIAL_COUNTS[split]}")
    return [f"{'; '.join(problems)}. data.official=false takes other sets in this layout"] if problems else []


def _absent(folder: Path, files: list[str], suffix: str, who: str) -> list[str]:
    """What is not there, in one line; one look into each class folder."""
    there: dict[str, set[str]] = {}
    absent = []
    for file in files:
        name, image = file.removesuffix(suffix).split("/") if suffix else file.split("/")
        if name not in there:
            there[name] = {e.name for e in os.scandir(folder / name)} if (folder / name).is_dir() else set()
        if image not in there[name]:
            absent.append(f"{name}/{image}")
    listed = ", ".join(absent[:3]) + (" ..." if len(absent) > 3 else "")
    return [f"{who} {len(files)} files, of which {len(absent)} are not in {folder}: {listed}"] if absent else []
