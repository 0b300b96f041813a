"""CelebA as it is distributed: images in img_align_celeba/, and lists of attributes, sides and identities."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.shared.data.image_set import FolderImages
from tasks.shared.errors import UserError
from tasks.shared.faces.dataset import Faces
from tasks.shared.faces.lists import AttributeList, indices_of, read_attributes, read_numbers, some
from tasks.shared.terminal.escaped import printable

log = logging.getLogger(__name__)
IMAGES = "img_align_celeba"
ATTRIBUTE_LIST, PARTITION_LIST = "list_attr_celeba.txt", "list_eval_partition.txt"
IDENTITY_LIST = "identity_CelebA.txt"  # on request from CelebA's makers, so not everybody has it
FOLDERS = (".", "Anno", "Eval", "Img")  # where the archive has its parts
SIDES = {"train": 0, "val": 1, "test": 2}


def read_celeba(root: Path, sides: Sequence[str], on_corrupt: str) -> tuple[dict[str, Faces], list[str]]:
    """The faces of these sides, "train", "val" or "test", and the attributes' names.

    People are numbered by side, in the order of CelebA's own numbers.

    Args:
        on_corrupt: "error", or "skip" to leave out what a list or image is missing for; it is counted and told.

    Raises:
        UserError: A folder or list is missing or malformed, or lists and images do not go together; names file and
            row.
    """
    if not root.is_dir():
        raise UserError(f"data.root={printable(root)}: no such folder; expected CelebA's, with {ATTRIBUTE_LIST}")
    images = _find(root, IMAGES)
    listed = _find(root, ATTRIBUTE_LIST)
    rows = read_attributes(listed)
    check_count(listed, rows, on_corrupt)
    numbers = _numbers_of(_find(root, PARTITION_LIST), "a side", rows.files, on_corrupt, tuple(SIDES.values()))
    people = np.full(len(rows.files), -1)
    if any((root / folder / IDENTITY_LIST).exists() for folder in FOLDERS):
        people = _numbers_of(_find(root, IDENTITY_LIST), "an identity", rows.files, on_corrupt)
    there = _look_up(images, rows.files, listed, numbers, sides, on_corrupt)
    faces = {}
    for side in sides:
        chosen = np.flatnonzero(there & (numbers == SIDES[side]))
        if not len(chosen):
            raise UserError(f"{_find(root, PARTITION_LIST)}: has no images of {SIDES[side]}, {side}")
        known = people[chosen]
        labels = known if (known < 0).any() else np.unique(known, return_inverse=True)[1]
        faces[side] = Faces(FolderImages(images, rows.files[chosen], labels), rows.values[chosen])
    return faces, rows.names


def check_count(file: Path, rows: AttributeList, on_corrupt: str) -> None:
    """Refuse, or with "skip" tell, another number of rows than the list's first line says."""
    count, announced = len(rows.files), rows.announced
    if count == announced and count:
        return
    last = f", the last of {some(rows.files[-1:])}" if count else ""
    difference = f"{announced - count:,} are missing" if count < announced else f"{count - announced:,} too many"
    message = f"{file}: its first line says {announced:,} rows, but {count:,} follow{last}: {difference}"
    if on_corrupt != "skip" or not count:
        raise UserError(f"{message}; data.on_corrupt=skip takes those that are there")
    log.warning("%s", message)


def _find(root: Path, name: str) -> Path:
    """In `root`, or in the folder of it where the archive has it."""
    found = next((path for folder in FOLDERS if (path := root / folder / name).exists()), None)
    if found is None:
        there = ", ".join(sorted(printable(entry.name) for entry in root.iterdir())[:5]) or "nothing"
        raise UserError(f"data.root={printable(root)}: holds no {name}, but {there}")
    return found


def _numbers_of(
    file: Path, what: str, wanted: NDArray[np.bytes_], on_corrupt: str, known: tuple[int, ...] = ()
) -> NDArray[np.int64]:
    """The number that a list has for each of the images (N,); -1 where it has none."""
    files, numbers = read_numbers(file, what, known)
    indices = indices_of(wanted, files)
    if len(lacking := wanted[indices < 0]):
        message = f"{file}: lacks {len(lacking):,} of {len(wanted):,} images with attributes, such as {some(lacking)}"
        if on_corrupt != "skip":
            raise UserError(f"{message}; data.on_corrupt=skip leaves them out")
        log.warning("left out: %s", message)
    if more := len(files) - int((indices >= 0).sum()):
        log.warning("%s: %s more images than have attributes; they are left out", file, f"{more:,}")
    return np.where(indices < 0, -1, numbers[indices])


def _look_up(
    images: Path,
    files: NDArray[np.bytes_],
    listed: Path,
    numbers: NDArray[np.int64],
    sides: Sequence[str],
    on_corrupt: str,
) -> NDArray[np.bool_]:
    """Which rows (N,) have an image; only those of `sides` have to."""
    with os.scandir(images) as entries:
        present = np.array([os.fsencode(entry.name) for entry in entries] or [b""], "S")
    there = np.isin(files, present)
    needed = np.isin(numbers, [SIDES[side] for side in sides])
    if len(missing := np.flatnonzero(needed & ~there)):
        message = (
            f"{listed}: {len(missing):,} of {int(needed.sum()):,} rows have no image in {images}, such as row "
            f"{missing[0] + 1:,}, {some(files[missing[:1]])}"
        )
        if on_corrupt != "skip" or len(missing) == needed.sum():
            raise UserError(f"{message}; data.on_corrupt=skip leaves them out")
        log.warning("left out: %s", message)
    return there
