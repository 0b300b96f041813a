"""Augmentation for detectors: SSD's random crop and a horizontal flip.

Written here rather than taken from torchvision because of speed: v2.RandomIoUCrop tries its crops one by one, and takes
longer than decoding the image; here all tries are made at once.
"""

import numpy as np
import torch
from torch import Tensor

MIN_IOU = (None, 0.0, 0.1, 0.3, 0.5, 0.7, 0.9)  # None is the whole image
SIDE = (0.3, 1.0)  # of the crop, as shares of the image's
ASPECT = (0.5, 2.0)
TRIES = 40


def flip_and_crop(
    image: Tensor, boxes: Tensor, labels: Tensor, rng: np.random.Generator, crop_share: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """SSD's crop in a share of the images, then a coin's flip.

    image (3, H, W) uint8; boxes (N, 4) float xyxy in its pixels; labels (N,). Boxes whose centre is cropped away go,
    the others are cut off at the border.
    """
    height, width = image.shape[-2:]
    crop = random_crop(boxes.numpy(), height, width, rng) if rng.random() < crop_share else None
    if crop is not None:
        left, top, right, bottom = crop
        image = image[:, top:bottom, left:right]
        inside = _centers_inside(boxes.numpy(), np.array([crop]))[0]
        limits = torch.tensor([right - left, bottom - top] * 2)
        boxes = (boxes[inside] - torch.tensor([left, top] * 2)).clamp(min=0).minimum(limits)
        labels = labels[inside]
    if rng.random() < 0.5:
        image = image.flip(-1)
        x1, y1, x2, y2 = boxes.unbind(1)
        boxes = torch.stack([image.shape[-1] - x2, y1, image.shape[-1] - x1, y2], dim=1)
    return image, boxes, labels


def random_crop(boxes: np.ndarray, height: int, width: int, rng: np.random.Generator) -> tuple[int, ...] | None:
    """A crop (left, top, right, bottom) in whole pixels, or None for the whole image (Liu et al. 2016, Sec. 2.2).

    It keeps the centre of some box of `boxes` (N, 4) xyxy, and overlaps one with at least a random IoU.
    """
    if not len(boxes):
        return None
    while (min_iou := MIN_IOU[rng.integers(len(MIN_IOU))]) is not None:
        sides = rng.uniform(*SIDE, (TRIES, 2)) * (width, height)
        corners = rng.uniform(0, 1, (TRIES, 2)) * ((width, height) - sides)
        crops = np.concatenate([corners, corners + sides], axis=1).round().astype(np.int64)
        aspect = sides[:, 0] / sides[:, 1]
        good = (aspect > ASPECT[0]) & (aspect < ASPECT[1])
        good &= _centers_inside(boxes, crops).any(1) & (_iou(crops, boxes).max(1) >= min_iou)
        if good.any():
            return tuple(crops[good.argmax()].tolist())
    return None


def _centers_inside(boxes: np.ndarray, crops: np.ndarray) -> np.ndarray:
    """(crops, boxes): whether the box's centre lies in the crop."""
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    return ((centers > crops[:, None, :2]) & (centers < crops[:, None, 2:])).all(-1)


def _iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(F, S) of boxes xyxy."""
    low, high = np.maximum(first[:, None, :2], second[:, :2]), np.minimum(first[:, None, 2:], second[:, 2:])
    shared = (high - low).clip(0).prod(-1)
    area = [(b[:, 2:] - b[:, :2]).prod(-1) for b in (first, second)]
    return shared / (area[0][:, None] + area[1] - shared)
