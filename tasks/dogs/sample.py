"""A drawn sample of fine-grained classes, in Stanford Dogs' own layout, and a noisy set as the web would give it.

Twelve breeds that differ in ears and tail alone (`tasks.dogs.sample_drawing`). The noisy set holds more images, many
in the wrong folder, files that are no images, and near-duplicates of test images; web_truth.csv says what is what.
The same parameters give the same bytes in the same environment.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from tasks.dogs.sample_drawing import EARS, TAILS, draw_image
from tasks.shared.data.sample_folder import keep_sample
from tasks.shared.errors import UserError
from tasks.shared.files.writing import encode_image
from tasks.shared.terminal.progress import counted, track

VERSION = 2  # raise it whenever the drawing changes: existing sets are then redrawn
FORMAT, WEB_FORMAT = "drawn dogs sample", "drawn noisy dogs sample"
LOOKS = [(ears, tail) for ears in EARS for tail in TAILS]
BREEDS = [f"n900000{number:02d}-{tail.title()}-tailed_{ears}_ear" for number, (ears, tail) in enumerate(LOOKS, start=1)]
TRAIN, TEST, WEB = range(3)  # parts, for seeds

WRONG = 0.25  # share of the noisy images in a folder that is not their breed's
BROKEN, TINY = 0.03, 0.01  # shares of files that are no images, or far too small
DUPLICATES = 2  # test images of each breed that the noisy set holds too
QUALITY = (60, 95)  # of the JPEG files, both ends included
TINY_SIZES = ((8, 8), (1, 90), (12, 10))
PAGE = b"<!DOCTYPE html><html><body><h1>404 Not Found</h1></body></html>\n"
ANNOTATION = """<annotation>
\t<folder>{folder}</folder>
\t<filename>{stem}</filename>
\t<source><database>drawn</database></source>
\t<size><width>{width}</width><height>{height}</height><depth>3</depth></size>
\t<segment>0</segment>
\t<object>
\t\t<name>{name}</name>
\t\t<pose>Unspecified</pose>
\t\t<truncated>0</truncated>
\t\t<difficult>0</difficult>
\t\t<bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox>
\t</object>
</annotation>
"""


class WebFile(NamedTuple):
    """A file of the noisy set, and what web_truth.csv says of it."""

    path: str
    kind: str  # clean, wrong_label, broken, tiny or duplicate
    breed: str  # the folder it should be in, "" for what shows no dog
    twin: str  # of a duplicate: the test image
    content: bytes


def draw_dogs_sample(root: Path, train: int = 30, val: int = 30, seed: int = 0) -> None:
    """Draw the clean sample into `root`: Images/, Annotation/ and lists/ as in Stanford Dogs.

    Returns at once where `root` already holds the complete set of the same parameters, and replaces an incomplete or
    different one. The set appears in `root` only when it is whole.

    Args:
        root: Folder of the set; its parents are created.
        train, val: Images of each breed in the training list and in the test list.
        seed: Non-negative; another seed gives other images.

    Raises:
        UserError: A number is out of range, or `root` holds something that is not part of a drawn sample; nothing is
            deleted.
    """
    if min(train, val) < 1 or seed < 0:
        raise UserError(f"data.train={train}, data.val={val}, data.draw_seed={seed}; expected at least 1, 1 and 0")
    wanted = {"format": FORMAT, "version": VERSION, "train": train, "val": val, "seed": seed}
    files = {f"lists/{name}_list.mat": 1 for name in ("train", "test", "file")}
    for breed in BREEDS:
        number = breed.split("-")[0]
        files |= {f"{position}/{breed}/{number}_*": train + val for position in ("Images", "Annotation")}
    keep_sample(root, wanted, files, lambda folder: _draw_official(folder, train, val, seed))


def draw_web_sample(root: Path, train: int = 30, val: int = 30, web: int = 300, seed: int = 0) -> None:
    """Draw the noisy sample into `root`: a folder for each breed, and web_truth.csv; else as `draw_dogs_sample`.

    train, val, seed: of the clean sample whose test images turn up in it. web: files in each breed's folder.
    """
    if min(train, val, web) < 1 or seed < 0:
        numbers = f"data.train={train}, data.val={val}, data.web={web}, data.draw_seed={seed}"
        raise UserError(f"{numbers}; expected at least 1, 1, 1 and 0")
    wanted = {"format": WEB_FORMAT, "version": VERSION, "train": train, "val": val, "web": web, "seed": seed}
    files = {"web_truth.csv": 1} | {f"{breed}/[0-9]*.jpg": web for breed in BREEDS}
    keep_sample(root, wanted, files, lambda folder: _draw_web(folder, train, val, web, seed))


def _draw_official(root: Path, train: int, val: int, seed: int) -> None:
    lists: dict[str, list[str]] = {"train": [], "test": []}
    with counted("drawing dogs", len(BREEDS) * (train + val)) as drawn:
        for label, breed in enumerate(BREEDS):
            for folder in ("Images", "Annotation"):
                (root / folder / breed).mkdir(parents=True)
            for part, count, names in ((TRAIN, train, lists["train"]), (TEST, val, lists["test"])):
                for index in range(count):
                    names.append(_draw_one(root, seed, part, label, index, train))
                    drawn()
    _write_lists(root / "lists", lists)


def _draw_web(root: Path, train: int, val: int, web: int, seed: int) -> None:
    for breed in BREEDS:
        (root / breed).mkdir(parents=True)
    with (root / "web_truth.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "kind", "class", "test_picture"])
        found = _web_files(seed, train, val, web)
        for each in track(found, "drawing dogs of the web", len(BREEDS) * web):
            (root / each.path).write_bytes(each.content)
            rows.writerow(each[:4])


def _image(seed: int, part: int, label: int, index: int) -> tuple[Image.Image, np.ndarray, np.random.Generator]:
    """An image of a breed, the same however many are drawn, and the dog's box."""
    rng = np.random.default_rng((seed, part, label, index))
    image, box = draw_image(rng, *LOOKS[label], web=part == WEB)
    return image, box, rng


def _stem(part: int, label: int, index: int, train: int) -> str:
    """`n90000001-.../n90000001_7`: training images are counted first."""
    return f"{BREEDS[label]}/{BREEDS[label].split('-')[0]}_{1 + index + (train if part == TEST else 0)}"


def _draw_one(root: Path, seed: int, part: int, label: int, index: int, train: int) -> str:
    """One image with its annotation; returns the name that the lists have."""
    image, box, rng = _image(seed, part, label, index)
    stem = _stem(part, label, index, train)
    (root / "Images" / f"{stem}.jpg").write_bytes(_jpeg(image, rng))
    low, high = np.floor(box[:2]).astype(int), np.ceil(box[2:]).astype(int)
    corners = [*low.clip(0).tolist(), *np.minimum(high, image.size).tolist()]
    number, name = BREEDS[label].split("-", 1)
    (root / "Annotation" / stem).write_text(
        ANNOTATION.format(
            folder=number[1:], stem=stem.split("/")[1], width=image.width, height=image.height, name=name, box=corners
        ),
        "utf-8",
    )
    return f"{stem}.jpg"


def _write_lists(folder: Path, lists: dict[str, list[str]]) -> None:
    """As the official ones: cells of file names and of annotations, and labels from 1."""
    from scipy.io import savemat

    folder.mkdir()
    for name, files in (lists | {"file": sorted(lists["train"] + lists["test"])}).items():
        cells = {key: np.empty((len(files), 1), object) for key in ("file_list", "annotation_list")}
        cells["file_list"][:, 0] = files
        cells["annotation_list"][:, 0] = [file.removesuffix(".jpg") for file in files]
        labels = np.array([1.0 + BREEDS.index(file.split("/")[0]) for file in files])[:, None]
        savemat(folder / f"{name}_list.mat", {**cells, "labels": labels})
        with (folder / f"{name}_list.mat").open("r+b") as file:
            file.write(b"MATLAB 5.0 MAT-file".ljust(116))  # scipy's own text has the time in it


def _web_files(seed: int, train: int, val: int, web: int) -> Iterator[WebFile]:
    """`web` files in each breed's folder, of all kinds, in random order."""
    broken, tiny, twins = round(BROKEN * web), round(TINY * web), min(DUPLICATES, val, web)
    for label, breed in enumerate(BREEDS):
        rng = np.random.default_rng((seed, WEB, label))
        plain = max(web - broken - tiny - twins, 0)
        kinds = ["duplicate"] * twins + ["broken"] * broken + ["tiny"] * tiny + ["picture"] * plain
        rng.shuffle(kinds := kinds[:web])
        count = dict.fromkeys(kinds, 0)
        for position, kind in enumerate(kinds):
            number, path = count[kind], f"{breed}/{position + 1:05d}.jpg"
            count[kind] += 1
            if kind == "picture":
                wrong = rng.random() < WRONG
                shown = int((label + wrong * rng.integers(1, len(BREEDS))) % len(BREEDS))
                image, _, own = _image(seed, WEB, shown, label * web + number)
                yield WebFile(path, "wrong_label" if wrong else "clean", BREEDS[shown], "", _jpeg(image, own))
            elif kind == "duplicate":
                image, _, own = _image(seed, TEST, label, number)
                twin = f"{_stem(TEST, label, number, train)}.jpg"
                guise = _guise(own, image, (DUPLICATES * label + number) % 5)
                yield WebFile(path, kind, breed, twin, _jpeg(guise, rng))
            elif kind == "tiny":
                image = Image.new("RGB", TINY_SIZES[number % len(TINY_SIZES)], tuple(rng.integers(0, 256, 3).tolist()))
                yield WebFile(path, kind, "", "", _jpeg(image, rng))
            else:
                whole = _jpeg(_image(seed, WEB, label, len(BREEDS) * web + number)[0], rng)
                yield WebFile(path, kind, "", "", (whole[: len(whole) // 2], b"", PAGE, b"a dog\n")[number % 4])


def _guise(rng: np.random.Generator, image: Image.Image, kind: int) -> Image.Image:
    """An image as it turns up again: saved anew, resized, cropped by up to 3 % a side, brightened or mirrored."""
    if kind == 1:
        scale = rng.uniform(0.6, 1.5)
        return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    if kind == 2:
        left, top, right, bottom = rng.uniform(0, 0.03, 4) * (image.size * 2)
        return image.crop((round(left), round(top), round(image.width - right), round(image.height - bottom)))
    if kind == 3:
        return ImageEnhance.Brightness(image).enhance(rng.uniform(0.8, 1.2))
    return ImageOps.mirror(image) if kind == 4 else image


def _jpeg(image: Image.Image, rng: np.random.Generator) -> bytes:
    return encode_image(image, "JPEG", quality=int(rng.integers(*QUALITY, endpoint=True)))
