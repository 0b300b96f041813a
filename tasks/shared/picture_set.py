"""Whole pictures with a label each: class folders, and a data set that crops them."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from tasks.shared.crops import TrainCrop, center_crop, random_crop
from tasks.shared.errors import UserError
from tasks.shared.images import SUFFIXES, OnCorrupt, read_image

POLICIES = {"trivial": v2.TrivialAugmentWide, "rand": v2.RandAugment}


class Pictures(Protocol):
    """Pictures by index."""

    labels: np.ndarray
    """(N,) int64."""

    def name(self, index: int) -> str:
        """The path of a picture, or whatever names it."""

    def read(self, index: int) -> Tensor:
        """(3, H, W) uint8. Raises UserError naming it if it cannot be read."""


class FolderPictures:
    """Pictures of class folders. Names live in one array, which loader processes share."""

    def __init__(self, root: Path, names: np.ndarray, labels: np.ndarray):
        self.root, self.names, self.labels = root, names, labels

    def name(self, index: int) -> str:
        return str(self.root / bytes(self.names[index]).decode())

    def read(self, index: int) -> Tensor:
        return read_image(Path(self.name(index)))


def class_folders(root: Path) -> list[str]:
    """The names of the folders in `root`, sorted. Raises UserError where there are none."""
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; expected a folder for each class in it")
    names = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise UserError(f"{root}: holds no folders; expected one for each class, with its pictures")
    return names


def read_class_folders(root: Path, classes: Sequence[str]) -> FolderPictures:
    """Every picture below `root`/<class>; the label is the place of the class in `classes`.

    A folder that is not among `classes`, or that holds no picture, is an error; a class without a folder is none.
    """
    folders, index = class_folders(root), {name: label for label, name in enumerate(classes)}
    if unknown := [name for name in folders if name not in index]:
        raise UserError(
            f"{root}: {len(unknown)} of its {len(folders)} folders are none of the {len(classes)} classes: "
            f"{', '.join(unknown[:5])}"
        )
    names: list[bytes] = []
    labels: list[int] = []
    empty = []
    for folder in folders:
        found = sorted(_pictures_below(root / folder, folder))
        if not found:
            empty.append(folder)
        names += [name.encode() for name in found]
        labels += [index[folder]] * len(found)
    if empty:
        raise UserError(
            f"{root}: {len(empty)} class folders hold no pictures ({', '.join(SUFFIXES)}): {', '.join(empty[:5])}"
        )
    return FolderPictures(root, np.array(names), np.array(labels, dtype=np.int64))


def _pictures_below(folder: Path, prefix: str) -> list[str]:
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith("."):
                found.append(f"{prefix}/{entry.name}")
            elif entry.is_dir():
                found += _pictures_below(Path(entry.path), f"{prefix}/{entry.name}")
    return found


class PictureDataset(Dataset):
    """Pictures as squares of `resolution` pixels; targets have `label` (int), `class_name`, `index`, `file`, `size`.

    Asked for (epoch, index), which also seeds the random crop. With `train` None the centre is taken, as evaluation
    does (`crop`, `crop_share`: see `tasks.shared.crops.center_crop`).
    policy: of `POLICIES`, torchvision's augmentation by name.
    """

    def __init__(
        self,
        pictures: Pictures,
        class_names: Sequence[str],
        resolution: int,
        on_corrupt: OnCorrupt,
        *,
        train: TrainCrop | None = None,
        policy: str | None = None,
        crop: str = "short_side",
        crop_share: float = 0.875,
        seed: int = 0,
    ):
        self.pictures, self.resolution, self.on_corrupt, self.train = pictures, resolution, on_corrupt, train
        self.class_names = class_names
        self.crop, self.crop_share, self.seed = crop, crop_share, seed
        self.policy = None if policy is None else POLICIES[policy]()

    def __len__(self) -> int:
        return len(self.pictures.labels)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, dict[str, Any]] | None:
        epoch, index = key
        name = self.pictures.name(index)
        try:
            image = self.pictures.read(index)
        except UserError as error:
            self.on_corrupt.handle(name, error)
            return None
        label = int(self.pictures.labels[index])
        target = {
            "label": label,
            "class_name": self.class_names[label],
            "index": index,
            "file": name,
            "size": (image.shape[-2], image.shape[-1]),
        }
        if self.train is None:
            return center_crop(image, self.resolution, self.crop, self.crop_share), target
        rng = np.random.default_rng((self.seed, epoch, index))
        image = random_crop(image, self.resolution, rng, self.train)
        if self.policy is not None:
            with torch.random.fork_rng(devices=[]):  # torchvision draws from the global generator
                torch.manual_seed(int(rng.integers(2**62)))
                image = self.policy(image)
        return image, target
