"""Whole images with a label each: class folders, and a data set that crops them."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2

from tasks.shared.contract import Target
from tasks.shared.data.image_data import ImageDataset
from tasks.shared.errors import UserError
from tasks.shared.files.packing import packed
from tasks.shared.images.crops import TrainCrop, center_crop, random_crop, random_crop_of
from tasks.shared.images.decode import OnCorrupt, read_image
from tasks.shared.images.encoded import EncodedImage
from tasks.shared.images.files import SUFFIXES, describe, files_by_folder
from tasks.shared.terminal.escaped import printable

log = logging.getLogger(__name__)
POLICIES = {"trivial": v2.TrivialAugmentWide, "rand": v2.RandAugment}


class Images(Protocol):
    """Images by index."""

    labels: np.ndarray
    """(N,) int64."""

    def name(self, index: int) -> str:
        """The path of an image, or whatever names it."""

    def read(self, index: int) -> Tensor:
        """(3, H, W) uint8. Raises UserError naming it if it cannot be read."""

    def encoded(self, index: int) -> EncodedImage | None:
        """As its file is; None where `read` gives anything else than the whole file decoded. Raises as `read` does."""
        return None

    def contents(self) -> Iterator[np.ndarray]:
        """Arrays (N, ...) that tell these images from others, see `tasks.shared.records.contents.content_of`."""
        return iter(())


class FolderImages(Images):
    """Images of class folders, upright. Names live in one array, which loader processes share."""

    def __init__(self, root: Path, names: np.ndarray, labels: np.ndarray):
        self.root, self.names, self.labels = root, names, labels

    def name(self, index: int) -> str:
        return printable(self._path(index))

    def read(self, index: int) -> Tensor:
        return read_image(self._path(index), exif=True)

    def encoded(self, index: int) -> EncodedImage | None:
        return EncodedImage.read(self._path(index), exif=True)

    def contents(self) -> Iterator[np.ndarray]:
        yield self.names

    def _path(self, index: int) -> Path:
        return self.root / os.fsdecode(bytes(self.names[index]))


class Picked(Images):
    """Some of other images, at `rows` (N,), with labels (N,), -1 where not given."""

    def __init__(self, images: Images, rows: np.ndarray, labels: np.ndarray | None = None):
        self.images, self.rows = images, rows
        self.labels = np.full(len(rows), -1) if labels is None else labels

    def name(self, index: int) -> str:
        return self.images.name(int(self.rows[index]))

    def read(self, index: int) -> Tensor:
        return self.images.read(int(self.rows[index]))

    def encoded(self, index: int) -> EncodedImage | None:
        return self.images.encoded(int(self.rows[index]))

    def contents(self) -> Iterator[np.ndarray]:
        return (array[self.rows] for array in self.images.contents())


def class_folders(root: Path) -> list[str]:
    """The names of the folders in `root`, sorted. Raises UserError where there are none."""
    return _folders_and_loose(root)[0]


def _folders_and_loose(root: Path) -> tuple[list[str], list[str]]:
    """The names of the folders in `root`, and of the images that lie beside them; sorted."""
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; expected a folder for each class in it")
    folders, loose = [], []
    for entry in sorted(root.iterdir()):
        if entry.is_dir() and not entry.name.startswith("."):
            folders.append(entry.name)
        elif entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith("."):
            loose.append(entry.name)
    if not folders:
        found = f"{len(loose)} images, such as {printable(loose[0])}, but no folders" if loose else "no folders"
        raise UserError(f"{root}: holds {found}; expected one for each class, with its images")
    if foreign := [name for name in folders if printable(name) != name]:
        raise UserError(f"{root}: the folder {printable(foreign[0])} names a class, but is no UTF-8; rename it")
    return folders, loose


def read_class_folders(root: Path, classes: Sequence[str]) -> FolderImages:
    """Every image below `root`/<class>; the label is the place of the class in `classes`.

    A folder that is not among `classes`, or that holds no image, is an error; a class without a folder is none.
    What is left out is counted and told.
    """
    (folders, loose), index = _folders_and_loose(root), {name: label for label, name in enumerate(classes)}
    if unknown := [name for name in folders if name not in index]:
        raise UserError(
            f"{root}: {len(unknown)} of its {len(folders)} folders are none of the {len(classes)} classes: "
            f"{', '.join(unknown[:5])}"
        )
    found, others = files_by_folder(root, folders)
    if empty := [folder for folder, files in found.items() if not files]:
        instead = f"; there are others: {describe(others)}" if others else ""
        raise UserError(
            f"{root}: {len(empty)} class folders hold no images ({', '.join(SUFFIXES)}): "
            f"{', '.join(empty[:5])}{instead}"
        )
    if others:
        log.warning("%s: left out %d files, %s; images are %s",
                    root, others.total(), describe(others), ", ".join(SUFFIXES))  # fmt: skip
    if loose:
        log.warning("%s: left out %d images that lie in no class's folder, such as %s",
                    root, len(loose), printable(loose[0]))  # fmt: skip
    labels = np.repeat([index[folder] for folder in found], [len(files) for files in found.values()])
    return FolderImages(root, packed(list(chain(*found.values())), root), labels)


class ClassTarget(Target, total=False):
    """Of an image with a class. Images that a teacher speaks for have none, nor have those of whom it is not known."""

    label: int
    class_id: str


class CroppedDataset(ImageDataset):
    """Images as squares of `resolution` pixels; a target is a `ClassTarget`.

    With `train` None the centre is taken, as evaluation does (`crop`, `crop_share`: see
    `tasks.shared.images.crops.center_crop`).
    class_ids: of the labels; None leaves `label` and `class_id` out. policy: of `POLICIES`, torchvision's augmentation
    by name. lesson: what a teacher adds to targets.
    """

    def __init__(
        self,
        images: Images,
        class_ids: Sequence[str] | None,
        resolution: int,
        on_corrupt: OnCorrupt,
        *,
        train: TrainCrop | None = None,
        policy: str | None = None,
        crop: str = "short_side",
        crop_share: float = 0.875,
        seed: int = 0,
        teacher_targets: Callable[[int, Tensor], Any] | None = None,
    ):
        super().__init__(on_corrupt, seed)
        self.images, self.resolution, self.train = images, resolution, train
        self.class_ids, self.teacher_targets = class_ids, teacher_targets
        self.crop, self.crop_share = crop, crop_share
        self.policy = None if policy is None else POLICIES[policy]()

    def __len__(self) -> int:
        return len(self.images.labels)

    def contents(self) -> Iterator[np.ndarray]:
        yield self.images.labels
        yield from self.images.contents()

    def name(self, index: int) -> str:
        return self.images.name(index)

    def load(self, index: int, rng: np.random.Generator) -> tuple[Tensor, tuple[int, int], Tensor | None]:
        """The square, the image's height and width, and the image where all of it is decoded.

        That is for the centre's crop, and for a teacher; a random crop needs less of a file.
        """
        if (
            self.train is not None
            and self.teacher_targets is None
            and (encoded := self.images.encoded(index)) is not None
        ):
            return *random_crop_of(encoded, self.resolution, rng, self.train), None
        whole = self.images.read(index)
        size = (whole.shape[-2], whole.shape[-1])
        if self.train is None:
            return center_crop(whole, self.resolution, self.crop, self.crop_share), size, whole
        return random_crop(whole, self.resolution, rng, self.train), size, whole

    def example(self, index: int, loaded: Any, rng: np.random.Generator) -> tuple[Tensor, ClassTarget]:
        image, size, whole = loaded
        target: ClassTarget = {"index": index, "file": self.name(index), "size": size}
        if self.class_ids is not None:
            label = int(self.images.labels[index])
            target |= {"label": label, "class_id": self.class_ids[label]}
        if self.teacher_targets is not None and whole is not None:
            target |= self.teacher_targets(index, whole)
        if self.policy is not None and self.train is not None:
            with torch.random.fork_rng(devices=[]):  # torchvision draws from the global generator
                torch.manual_seed(int(rng.integers(2**62)))
                image = self.policy(image)
        return image, target
