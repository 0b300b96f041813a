"""Images with their boxes, as squares."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from tasks.shared.contract import Target
from tasks.shared.data.image_data import ImageDataset
from tasks.shared.detection.annotations import CocoAnnotations
from tasks.shared.detection.augment import flip_and_crop
from tasks.shared.errors import UserError
from tasks.shared.images.decode import OnCorrupt, fit, fit_scale, read_image


class DetectionTarget(Target, total=False):
    """The objects of an image.

    boxes: (N, 4) float xyxy in pixels of the square that the network is given. labels: (N,) int64. N may be 0.
    image_id: in the file of annotations.
    """

    boxes: Tensor
    labels: Tensor
    image_id: int


class DetectionInfo(TypedDict):
    """What a detector's labels mean, in their order: names, and COCO's numbers."""

    class_names: list[str]
    category_ids: list[int]


class CocoDataset(ImageDataset):
    """Images in squares, squashed or with their aspect (`resize`); a target is a `DetectionTarget`."""

    def __init__(
        self,
        images: Path,
        annotations: CocoAnnotations,
        resolution: int,
        on_corrupt: OnCorrupt,
        *,
        resize: str = "square",
        augment: bool = False,
        crop_share: float = 1.0,
        seed: int = 0,
    ):
        super().__init__(on_corrupt, seed)
        self.images, self.annotations, self.resolution = images, annotations, resolution
        self.resize, self.augment, self.crop_share = resize, augment, crop_share

    def __len__(self) -> int:
        return len(self.annotations)

    def contents(self) -> Iterator[np.ndarray]:
        """Arrays that tell these images from others, see `tasks.shared.records.contents.content_of`."""
        table = self.annotations
        yield from (table.image_ids, table.file_names, table.offsets, table.boxes, table.labels)

    def name(self, index: int) -> str:
        return str(self.images / self.annotations.file_name(index))

    def load(self, index: int, rng: np.random.Generator) -> Tensor:
        """The image, of the size that the annotations say."""
        path, (height, width) = Path(self.name(index)), self.annotations.sizes[index].tolist()
        image = read_image(path)
        if image.shape[-2:] != (height, width):
            found = f"{image.shape[-1]}x{image.shape[-2]}"
            raise UserError(f"{path}: is {found} pixels, but {self.annotations.path.name} says {width}x{height}")
        return image

    def example(self, index: int, loaded: Tensor, rng: np.random.Generator) -> tuple[Tensor, DetectionTarget]:
        image, table = loaded, self.annotations
        height, width = image.shape[-2:]
        low, high = table.offsets[index : index + 2]
        boxes, labels = torch.from_numpy(table.boxes[low:high]), torch.from_numpy(table.labels[low:high])
        if self.augment:
            image, boxes, labels = flip_and_crop(image, boxes, labels, rng, self.crop_share)
        target: DetectionTarget = {
            "boxes": boxes * fit_scale(image.shape[-2], image.shape[-1], self.resolution, self.resize),
            "labels": labels,
            "image_id": int(table.image_ids[index]),
            "size": (height, width),
            "file": self.name(index),
        }
        return fit(image, self.resolution, self.resize), target
