"""Folders of people: one for each, with the images of this person."""

import logging
import os
from collections.abc import Collection
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.shared.data.image_set import FolderImages
from tasks.shared.data.splits import hash_split
from tasks.shared.errors import UserError
from tasks.shared.files.packing import packed
from tasks.shared.images.files import SUFFIXES, describe, files_by_folder
from tasks.shared.terminal.escaped import printable

log = logging.getLogger(__name__)


class People(NamedTuple):
    """names: of the people, sorted. images: of all of them; a label is a place in `names`."""

    names: list[str]
    images: FolderImages

    def pick(self, keep: NDArray[np.bool_]) -> "People":
        """Those of the people (P,) alone, numbered anew."""
        images = self.images
        rows = keep[images.labels]
        numbers = np.cumsum(keep) - 1
        names = [name for name, kept in zip(self.names, keep.tolist(), strict=True) if kept]
        return People(names, FolderImages(images.root, images.names[rows], numbers[images.labels[rows]]))


def read_people(root: Path, key: str) -> People:
    """Everybody in `root`. Who has no images is left out and told.

    key: the config's. Raises UserError naming it where there is nobody.
    """
    if not root.is_dir():
        raise UserError(f"{key}={printable(root)}: no such folder; expected a folder for each person in it")
    folders = sorted(e.name for e in os.scandir(root) if e.is_dir() and not e.name.startswith("."))
    found, others = files_by_folder(root, folders)
    empty = [folder for folder, files in found.items() if not files]
    names = [folder for folder, files in found.items() if files]
    instead = f", but {describe(others)}" if others else ""
    if not names:
        loose = sum(e.name.lower().endswith(SUFFIXES) for e in os.scandir(root))
        holds = f"{len(folders)} folders without images{instead}" if folders else f"no folders, but {loose} images"
        raise UserError(
            f"{key}={printable(root)}: holds {holds}; expected a folder for each person, with its images "
            f"({', '.join(SUFFIXES)})"
        )
    if empty:
        log.warning("%s: %d of %d folders hold no images, such as %s",
                    root, len(empty), len(folders), printable(empty[0]))  # fmt: skip
    if others:
        log.warning("%s: left out %d files, %s; images are %s",
                    root, others.total(), describe(others), ", ".join(SUFFIXES))  # fmt: skip
    labels = np.repeat(np.arange(len(names)), [len(found[name]) for name in names])
    return People(names, FolderImages(root, packed(list(chain(*found.values())), printable(root)), labels))


def check_people(people: People, key: str) -> None:
    """Refuse people of whom no two images can be compared; tell how many have one image alone."""
    counts = np.bincount(people.images.labels, minlength=len(people.names))
    root = printable(people.images.root)
    if len(counts) < 2 or counts.max() < 2:
        raise UserError(
            f"{key}={root}: {len(counts)} people to evaluate on, of whom {int((counts > 1).sum())} have two images "
            "or more; expected at least two people, and two images of one"
        )
    if alone := int((counts == 1).sum()):
        log.warning("%s: %d of the %d people to evaluate on have one image, and so no pair of the same person",
                    root, alone, len(counts))  # fmt: skip


def check_share(share: float) -> None:
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise UserError(f"data.val_share={share!r}; expected a number from 0 to 1")


def split_people(people: People, share: float) -> tuple[People, People]:
    """Those to train on, and a share of them to evaluate on, at least two, drawn by their names."""
    check_share(share)
    drawn = hash_split(people.names, share, 2 if share else 0)
    return people.pick(~drawn), people.pick(drawn)


def without(people: People, others: Collection[str], why: str) -> People:
    """Those who are not among others, by name; who is left out is told. why: for the message."""
    keep = np.array([name not in others for name in people.names])
    root, out = printable(people.images.root), int((~keep).sum())
    if out:
        log.warning("%s: %d of %d people are left out, such as %s: %s",
                    root, out, len(keep), people.names[int((~keep).argmax())], why)  # fmt: skip
    if not keep.any():
        raise UserError(f"{root}: all {len(keep)} people to train on are left out: {why}")
    return people.pick(keep)
