"""Photos with their places, and the cells that they lie in."""

import logging
from collections.abc import Iterator
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from tasks.planet.cells import Cells
from tasks.planet.neighbours import neighbours
from tasks.planet.photos import Photos
from tasks.shared.data.image_set import ClassTarget, CroppedDataset
from tasks.shared.data.whole_images import WholeImageData
from tasks.shared.errors import UserError

log = logging.getLogger(__name__)


class PlaceTarget(ClassTarget, total=False):
    """Where a photo was taken.

    lat, lon: degrees. label: of its cell, -1 in none. neighbours: (K,) int64, the cells that touch it, to train on.
    """

    lat: float
    lon: float
    neighbours: NDArray[np.int64]


class PlaceInfo(TypedDict, total=False):
    """cells: what the outputs mean, as `Cells.plain` has it; none where a network is evaluated that knows its own."""

    cells: dict[str, Any]


class GeotaggedData(WholeImageData):
    """Photos with their places, the classes of which are cells.

    Args:
        photos: by split. Those to train on that lie in no cell are left out; those to evaluate on never.
        cells: the partition; None to evaluate a network that knows its own.
        options: of `WholeImageData`.
    """

    data_type = "geotagged"
    info: PlaceInfo

    def __init__(self, photos: dict[str, Photos], cells: Cells | None, **options: Any):
        self.cells = cells
        self.photos = {split: _in_cells(part, cells, split) for split, part in photos.items()}
        self.class_ids = [*([] if cells is None else cells.tokens), ""]  # the last is of label -1, in no cell
        super().__init__({split: part.images for split, part in self.photos.items()}, **options)
        self.info = {} if cells is None else {"cells": cells.plain()}

    @property
    def num_classes(self) -> int:
        return 0 if self.cells is None else len(self.cells)

    def train_dataset(self, seed: int) -> Dataset:
        assert self.cells is not None
        return PlaceDataset(self.training(seed, self.class_ids), self.photos["train"], neighbours(self.cells))

    def val_dataset(self) -> Dataset:
        return PlaceDataset(self.validation(self.class_ids), self.photos[self.evaluate_on])


class PlaceDataset(Dataset):
    """What `images` gives, with the targets' places.

    beside: for each cell the cells that touch it, (K,) int64, which targets then have as `neighbours`.
    """

    def __init__(self, images: CroppedDataset, photos: Photos, beside: list[NDArray[np.int64]] | None = None):
        self.images, self.photos, self.beside = images, photos, beside

    def __len__(self) -> int:
        return len(self.images)

    def contents(self) -> Iterator[NDArray]:
        yield from (self.photos.lat, self.photos.lon)
        yield from self.images.contents()

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, PlaceTarget] | None:
        item = self.images[key]
        if item is None:
            return None
        image, target = item
        target |= {"lat": float(self.photos.lat[key[1]]), "lon": float(self.photos.lon[key[1]])}
        if self.beside is not None:
            target["neighbours"] = self.beside[target["label"]]
        return image, target


def _in_cells(photos: Photos, cells: Cells | None, split: str) -> Photos:
    """Labelled with their cells, -1 in none; photos to train on only if they lie in one."""
    if cells is None:
        return photos
    labels = cells.assign(photos.lat, photos.lon)
    inside = np.flatnonzero(labels >= 0)
    out, total = len(labels) - len(inside), len(labels)
    share = f"{out:,} of {total:,} ({100 * out / total:.1f} %)"
    if split != "train":
        log.info("photos to evaluate on: %s lie in no cell; their distances count all the same", share)
        return photos.pick(np.arange(total), labels)
    log.info("photos to train on: %s lie in none of the %d cells and are left out", share, len(cells))
    if not len(inside):
        raise UserError(f"data.cells: none of the {total:,} photos to train on lies in a cell")
    return photos.pick(inside, labels[inside])
