"""Augmentation for detectors: horizontal flip and SSD's random crop."""

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

_CROP = v2.RandomIoUCrop()
_FLIP = v2.RandomHorizontalFlip()
_DROP_LOST = v2.SanitizeBoundingBoxes(labels_getter=lambda sample: sample[2])


def flip_and_crop(image: Tensor, boxes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A random crop that keeps some box's IoU above a random bound (Liu et al. 2016, Sec. 2.2), then a coin's flip.

    image (3, H, W) uint8; boxes (N, 4) float xyxy in its pixels; labels (N,). Boxes whose centre is cropped away
    go. Randomness comes from torch's global generator.
    """
    if not len(boxes):
        return (image.flip(-1) if torch.rand(()) < 0.5 else image), boxes, labels
    framed = tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=image.shape[-2:])  # type: ignore[call-arg]
    image, framed, labels = _FLIP(*_DROP_LOST(*_CROP(tv_tensors.Image(image), framed, labels)))
    return image.as_subclass(Tensor), framed.as_subclass(Tensor), labels
