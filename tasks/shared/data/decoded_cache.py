"""Training images that are decoded once a run, not once an epoch, where there is memory for all of them."""

import math
from collections.abc import Iterator

import numpy as np
from torch import Tensor

from tasks.shared.data.image_set import Images
from tasks.shared.errors import UserError
from tasks.shared.images.crops import eighths
from tasks.shared.images.encoded import BLOCK, EncodedImage

GB = 1 << 30


class DecodedImageCache(Images):
    """Other images, whose pixels stay in memory from the first time that they are decoded.

    Only where all of them are expected to fit into `limit` bytes, by the mean of those seen: of a set that is much
    larger nothing is kept, as next to nothing would be found again. What is read is to the last bit the same, kept or
    not: JPEGs of which a crop to `resolution` pixels would be decoded smaller are not kept, see `random_crop_of`.
    """

    def __init__(self, images: Images, resolution: int, limit: int):
        self.images, self.labels = images, images.labels
        self.resolution, self.limit = resolution, limit
        self.kept: dict[int, Tensor] = {}
        self.size = 0  # of `kept`, in bytes

    def name(self, index: int) -> str:
        return self.images.name(index)

    def read(self, index: int) -> Tensor:
        image = self.kept.get(index)
        if image is None:
            image = self.images.read(index)
            if self._has_room(image.numel()):
                image = self._keep(index, image)
        return image

    def encoded(self, index: int) -> EncodedImage | None:
        """None, so that `read` is asked, for what is kept or can be."""
        encoded = None if index in self.kept else self.images.encoded(index)
        if encoded is None:
            return None
        if encoded.stored_size is None:  # no JPEG: every crop decodes it whole
            return None if self._has_room(1) else encoded
        height, width = encoded.stored_size
        if eighths((0, 0, width, height), self.resolution) < BLOCK or not self._has_room(3 * height * width):
            return encoded
        image = encoded.decode_scaled(BLOCK)
        if image is None:
            return encoded
        self._keep(index, image)
        return None

    def contents(self) -> Iterator[np.ndarray]:
        return self.images.contents()

    def _has_room(self, size: int) -> bool:
        return (self.size + size) / (len(self.kept) + 1) * len(self.labels) <= self.limit

    def _keep(self, index: int, image: Tensor) -> Tensor:
        image = image.permute(1, 2, 0).contiguous().permute(2, 0, 1)  # channels last, as crops are resized
        self.kept[index] = image
        self.size += image.numel()
        return image


def bytes_to_keep(keep_gb: float) -> int:
    """Raises UserError, naming the key, for what is no number from 0."""
    if isinstance(keep_gb, bool) or not isinstance(keep_gb, int | float) or not 0 <= keep_gb < math.inf:
        raise UserError(f"data.keep_gb={keep_gb!r}; expected a number from 0, which keeps nothing")
    return int(keep_gb * GB)
