"""Crops of whole images: at random for training, from the centre for evaluation."""

import math
from typing import NamedTuple

import numpy as np
from torch import Tensor
from torchvision.transforms import v2

from tasks.shared.errors import UserError
from tasks.shared.images.decode import resize_to
from tasks.shared.images.encoded import BLOCK, SCALES, TURNED, EncodedImage, scaled_size
from tasks.shared.images.jpeg_part import Box

TRIES = 10
# A crop of a large JPEG is decoded with at least so many times the pixels a side that it is resized to. Mean levels of
# 255 from decoding all of it, 2048 pixels a side: 0.4 at 1.5, 0.25 at 2, 0.6 at 1. At 1 brightness shifts too, by 0.1.
SPARE = 1.5
CROPS = ("short_side", "inception")


class TrainCrop(NamedTuple):
    """How training images are cropped and flipped (Szegedy et al. 2015, Sec. 6).

    area: share of the image's, low and high. aspect: width / height.
    flip: share of the images that are mirrored.
    """

    area: tuple[float, float] = (0.08, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5

    def checked(self) -> "TrainCrop":
        """Raises UserError for shares and aspects that cannot be."""
        for key, pair, limit in (("area", self.area, 1.0), ("aspect", self.aspect, math.inf)):
            if not isinstance(pair, list | tuple) or len(pair) != 2:
                raise UserError(f"data.augment.{key}={pair!r}; expected two numbers, such as [0.5, 1.0]")
            low, high = pair
            if not 0 < low <= high <= limit:
                most = f" up to {limit:g}" if limit < math.inf else ""
                raise UserError(f"data.augment.{key}={[low, high]}; expected two numbers, rising, above 0{most}")
        if not isinstance(self.flip, int | float) or not 0 <= self.flip <= 1:
            raise UserError(f"data.augment.flip={self.flip}; expected a share, 0 to 1")
        return self


def random_crop(image: Tensor, resolution: int, rng: np.random.Generator, crop: TrainCrop) -> Tensor:
    """A random part of (3, H, W) uint8, stretched to (3, resolution, resolution), and mirrored by chance."""
    box = random_box(image.shape[-1], image.shape[-2], rng, crop)
    return _mirror(_cut(image, box, resolution), rng, crop)


def random_crop_of(
    decoded: EncodedImage, resolution: int, rng: np.random.Generator, crop: TrainCrop
) -> tuple[Tensor, tuple[int, int]]:
    """`random_crop` of an image that is still encoded, and the image's height and width in pixels.

    Of a JPEG no more is decoded than the crop. One of many pixels is decoded at n/8 of its size as far as that leaves
    the crop SPARE times the pixels that are wanted; its box is moved to the nearest blocks of 8 pixels, which are whole
    pixels at every such size. This is for training: the crop differs by some tenths of a level. Evaluation decodes
    every pixel, as it was done for published figures.
    """
    stored = decoded.stored_size
    if stored is None:
        image = decoded.decode()
        return random_crop(image, resolution, rng, crop), (image.shape[-2], image.shape[-1])
    height, width = stored[::-1] if decoded.orientation in TURNED else stored
    box = random_box(width, height, rng, crop)
    n = eighths(box, resolution)
    part = decoded.decode_part(n, box if n == BLOCK else at_eighths(box, n, width, height))
    small = _cut(decoded.decode(), box, resolution) if part is None else resize_to(part, resolution, resolution)
    return _mirror(small, rng, crop), (height, width)


def eighths(box: Box, resolution: int) -> int:
    """The least n so that a box of a JPEG, in pixels, has SPARE times `resolution` a side when n/8 as large; else 8."""
    return next((n for n in SCALES if min(box[2:]) * n >= SPARE * resolution * BLOCK), BLOCK)


def at_eighths(box: Box, n: int, width: int, height: int) -> Box:
    """The box, in pixels of a JPEG, in pixels of that JPEG at n/8 of its size, moved to the nearest blocks."""
    left, top, right, bottom = (n * round(side / BLOCK) for side in (box[0], box[1], box[0] + box[2], box[1] + box[3]))
    height, width = scaled_size(height, width, n)
    return left, top, min(right, width) - left, min(bottom, height) - top


def _cut(image: Tensor, box: Box, resolution: int) -> Tensor:
    """In one call on uint8, which is faster than on PIL images, and 0.05 levels from them."""
    left, top, width, height = box
    return resize_to(image[:, top : top + height, left : left + width], resolution, resolution)


def _mirror(image: Tensor, rng: np.random.Generator, crop: TrainCrop) -> Tensor:
    return image.flip(-1) if rng.random() < crop.flip else image


def random_box(width: int, height: int, rng: np.random.Generator, crop: TrainCrop) -> Box:
    """In pixels; if no try fits into the image, the largest one in its middle of allowed aspect."""
    (least, most), (narrow, wide) = crop.area, (math.log(aspect) for aspect in crop.aspect)
    drawn = rng.random(2 * TRIES).tolist()
    for of_area, of_aspect in zip(drawn[:TRIES], drawn[TRIES:], strict=True):
        area = (least + (most - least) * of_area) * width * height
        aspect = math.exp(narrow + (wide - narrow) * of_aspect)
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1)), w, h
    w = min(width, max(round(height * crop.aspect[1]), 1))
    h = min(height, max(round(width / crop.aspect[0]), 1))
    return (width - w) // 2, (height - h) // 2, w, h


def center_crop(image: Tensor, resolution: int, crop: str = "short_side", share: float = 0.875) -> Tensor:
    """The middle of (3, H, W) uint8 as (3, resolution, resolution), bilinear with antialiasing.

    crop: "short_side" resizes the shorter side to resolution / share and takes the central square, as most report
    accuracy; "inception" takes the central `share` of both sides and squashes it, as TF-slim did.
    """
    height, width = image.shape[-2:]
    if crop == "inception":
        w, h = max(round(width * share), 1), max(round(height * share), 1)
        return _cut(image, ((width - w) // 2, (height - h) // 2, w, h), resolution)
    # Of a very long image only the middle, or resizing would make it many times as large as what is kept.
    short = min(height, width)
    height, width = min(height, 8 * short), min(width, 8 * short)
    image = v2.functional.center_crop(image, [height, width])
    side = math.floor(resolution / share)  # of the shorter one
    image = resize_to(image, side * height // short, side * width // short)
    return v2.functional.center_crop(image, [resolution, resolution])


def check_crop(crop: str, share: float) -> None:
    """Raises UserError for arguments that `center_crop` does not have."""
    if crop not in CROPS:
        raise UserError(f"task.crop={crop!r}; expected one of {', '.join(CROPS)}")
    if not 0 < share <= 1:
        raise UserError(f"task.crop_share={share}; expected above 0, at most 1")
