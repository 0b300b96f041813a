"""Pictures that are still encoded: of a JPEG no more is decoded than a crop needs."""

import io
from functools import cached_property
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from PIL import ExifTags, Image
from torch import Tensor

from tasks.shared.images import JPEG, decode_image, read_bytes
from tasks.shared.jpeg_rows import upper_part
from tasks.shared.picture_files import printable

BLOCK = 8  # pixels a side: what JPEG encodes together, and can decode as n x n pixels
SCALES = (1, 2, 4)  # the n below 8 that are worth it: 3 takes as long as 4, and 5 to 7 longer than all 8


class EncodedImage:
    """A picture's file in memory.

    data: (N,) uint8. name: what errors call it. exif: turn it as its EXIF orientation says.
    """

    def __init__(self, data: np.ndarray, name: str, exif: bool = False):
        self.data, self.name, self.exif = data, name, exif

    @classmethod
    def read(cls, path: Path, exif: bool = False) -> "EncodedImage":
        """Raises UserError naming the file if it cannot be read."""
        return cls(read_bytes(path), printable(path), exif)

    def decode(self) -> Tensor:
        """RGB, (3, H, W) uint8. Raises UserError naming the file if it is damaged or no picture."""
        return decode_image(self.data, self.name, self.exif)

    @cached_property
    def stored_size(self) -> tuple[int, int] | None:
        """Height and width of a JPEG as its pixels are stored; None for what is none or has no readable header.

        None too for the colours of printers, which the decoders convert differently.
        """
        if self.data[:3].tobytes() != JPEG:
            return None
        try:
            height, width, colours, _ = simplejpeg.decode_jpeg_header(self.data)
        except ValueError:
            return None
        return None if colours in ("CMYK", "YCCK") else (height, width)

    def decode_scaled(self, n: int, rows: int | None = None) -> Tensor | None:
        """A JPEG with n x n pixels for each block of 8 x 8, upright: (3, ceil(H n / 8), ceil(W n / 8)) uint8.

        With n = 8 it is what `decode` gives, to the last bit and sooner. None where it cannot be done: in CMYK,
        damaged, or turned where its blocks then start elsewhere; `decode` takes those, or says what is wrong.

        rows: how many of the H are needed, from the top. What is below them may then be missing, and H less; what is
        damaged in the middle is then decoded as far as it goes, as `decode` does.
        """
        size = self.stored_size
        if size is None:
            return None
        orientation = self.orientation
        if orientation != 1 and n < BLOCK and (size[0] % BLOCK or size[1] % BLOCK):
            return None
        upper = upper_part(self.data, rows) if rows is not None and orientation == 1 else None
        data, size = (self.data, size) if upper is None else (upper.data, (upper.rows, size[1]))
        height, width = (-(-side * n // BLOCK) for side in size)
        try:
            pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=height, min_width=width, strict=upper is None)
        except ValueError:
            return None
        assert pixels.shape == (height, width, 3)
        return upright(torch.from_numpy(pixels).permute(2, 0, 1), orientation)

    @cached_property
    def orientation(self) -> int:
        """EXIF's, 1 to 8; 1 is upright, and where it is not asked for, not told or not known."""
        if not self.exif or b"Exif\0" not in self.data[: 1 << 16].tobytes():
            return 1
        try:
            with Image.open(io.BytesIO(self.data.tobytes())) as image:
                told = image.getexif().get(ExifTags.Base.Orientation, 1)
        except (OSError, SyntaxError, ValueError):
            return 1
        return told if told in range(1, 9) else 1


def upright(image: Tensor, orientation: int) -> Tensor:
    """(..., H, W) as stored with that EXIF orientation, turned and mirrored as it is to be looked at."""
    if orientation >= 5:
        image = image.transpose(-2, -1)
    mirrored = [axis for axis, whose in ((-1, (2, 3, 6, 7)), (-2, (3, 4, 7, 8))) if orientation in whose]
    return image.flip(mirrored) if mirrored else image
