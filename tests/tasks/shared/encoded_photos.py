"""Small images as files in memory, and how far images are apart."""

import io
from typing import Any

import numpy as np
import torch
from PIL import Image

from tasks.shared.images.encoded import EncodedImage

SMOOTH = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)


def photo(width: int, height: int) -> Image.Image:
    """Smooth colours, no two corners alike."""
    return Image.fromarray(SMOOTH).resize((width, height), Image.Resampling.BICUBIC)


def pixels(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def encode(image: Image.Image, orientation: int | None = None, kind: str = "JPEG", **options: Any) -> EncodedImage:
    if orientation is not None:
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = orientation
    file = io.BytesIO()
    image.save(file, kind, **{"quality": 95} | options)
    return EncodedImage(np.frombuffer(bytearray(file.getvalue()), np.uint8), f"x.{kind}", exif=True)


def apart(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Mean levels of 255."""
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype == torch.uint8
    return (ours.float() - theirs.float()).abs().mean().item()
