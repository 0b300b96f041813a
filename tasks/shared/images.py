"""Reading pictures into uint8 tensors."""

from pathlib import Path

import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image, read_file
from torchvision.transforms import v2

from tasks.shared.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
_FAST = (b"\xff\xd8\xff", b"\x89PNG")  # what torchvision decodes itself; PIL reads the rest


def read_image(path: Path, exif: bool = False) -> Tensor:
    """The picture at `path` as RGB, (3, H, W) uint8.

    exif: turn it as its EXIF orientation says, as viewers do. Annotations of data sets mostly mean the pixels
    as stored, so readers of data sets leave it off.

    Raises UserError naming the file if it is missing, truncated or no picture.
    """
    try:
        data = read_file(str(path))
    except RuntimeError as error:
        raise UserError(f"{path}: cannot be read ({'no such file' if not path.is_file() else error})") from error
    try:
        if bytes(data[:4].tolist()).startswith(_FAST):
            image = decode_image(data, ImageReadMode.RGB, apply_exif_orientation=exif)
            return v2.functional.to_dtype(image, torch.uint8, scale=True)  # a PNG of 16 bits comes as such
        return _read_with_pil(path, exif)
    except (RuntimeError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: not a readable picture, or truncated ({reason})") from error


def _read_with_pil(path: Path, exif: bool) -> Tensor:
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image) if exif else image
        return v2.functional.pil_to_tensor(upright.convert("RGB"))


def to_pil(image: Tensor) -> Image.Image:
    """(3, H, W) uint8 -> PIL."""
    return Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())


def square(image: Tensor, resolution: int) -> Tensor:
    """Squash (3, H, W) uint8 to (3, resolution, resolution), bilinear with antialiasing."""
    return v2.functional.resize(image, [resolution, resolution], antialias=True)


def collate_images(images: list[Tensor]) -> Tensor:
    """Pictures of one size as a batch (B, 3, H, W), channels last in memory."""
    return torch.stack(images).contiguous(memory_format=torch.channels_last)
