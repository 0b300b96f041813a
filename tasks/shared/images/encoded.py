"""Images that are still encoded: of a JPEG no more is decoded than a crop needs."""

from functools import cached_property
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from torch import Tensor

from tasks.shared.errors import UserError
from tasks.shared.images.decode import DAMAGE, JPEG, decode_image, open_image, orientation_of, read_bytes
from tasks.shared.images.headers import Jpeg, check_jpeg
from tasks.shared.images.jpeg_part import Box, decode_part
from tasks.shared.images.jpeg_rows import END, upper_part
from tasks.shared.images.limits import out_of_memory
from tasks.shared.terminal.escaped import printable

BLOCK = 8  # pixels a side: what JPEG encodes together, and can decode as n x n pixels
LARGE = 1 << 15  # bytes of a JPEG; smaller ones are decoded about as soon as one has seen where they can be ended
SCALES = (1, 2, 4)  # the n below 8 that are worth it: 3 takes as long as 4, and 5 to 7 longer than all 8


class EncodedImage:
    """An image's file in memory.

    data: (N,) uint8. name: what errors call it. exif: turn it as its EXIF orientation says.
    """

    def __init__(self, data: np.ndarray, name: str, exif: bool = False):
        self.data, self.name, self.exif = data, name, exif

    @classmethod
    def read(cls, path: Path, exif: bool = False) -> "EncodedImage":
        """Raises UserError naming the file if it cannot be read."""
        return cls(read_bytes(path), printable(path), exif)

    def decode(self) -> Tensor:
        """RGB, (3, H, W) uint8. Raises UserError naming the file if it is damaged or no image."""
        return decode_image(self.data, self.name, self.exif)

    @cached_property
    def stored_size(self) -> tuple[int, int] | None:
        """Height and width of a JPEG as its pixels are stored; None for what is none or has no readable header.

        None too for the colours of printers, which the decoders convert differently. Raises UserError for one that is
        larger than the key `max_megapixels` allows: no pixel is decoded before this is asked.
        """
        if self._header is None:
            return None
        try:
            height, width, colours, _ = simplejpeg.decode_jpeg_header(self.data)
        except (ValueError, KeyError):  # the latter for samplings that simplejpeg has no name for
            return None
        return None if colours in ("CMYK", "YCCK") else (height, width)

    @cached_property
    def _header(self) -> Jpeg | None:
        return check_jpeg(self.data, self.name) if self.data[:3].tobytes() == JPEG else None

    def decode_scaled(self, n: int, rows: int | None = None) -> Tensor | None:
        """A JPEG with n x n pixels for each block of 8 x 8, upright: (3, ceil(H n / 8), ceil(W n / 8)) uint8.

        With n = 8 it is what `decode` gives, to the last bit and sooner. None where it cannot be done: in CMYK,
        damaged, or turned where its blocks then start elsewhere; `decode` takes those, or says what is wrong.

        rows: how many of the H are needed, from the top. What is below them may then be missing, and H less; what is
        damaged in the middle is then decoded as far as it goes, as `decode` does.
        """
        size, orientation = self._size_for(n), self.orientation
        if size is None:
            return None
        upper = upper_part(self.data, rows) if rows is not None and orientation == 1 else None
        data, size = (self.data, size) if upper is None else (upper.data, (upper.rows, size[1]))
        height, width = scaled_size(*size, n)
        try:
            pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=height, min_width=width, strict=upper is None)
        except ValueError:
            return None
        except MemoryError as error:
            raise out_of_memory(self.name) from error
        assert pixels.shape == (height, width, 3)
        return upright(torch.from_numpy(pixels).permute(2, 0, 1), orientation)

    def decode_part(self, n: int, box: Box) -> Tensor | None:
        """A box of `decode_scaled(n)`, in its pixels: (3, height, width) uint8, to the last bit. None where that is."""
        size, orientation = self._size_for(n), self.orientation
        if size is None:
            return None
        if self.data[-2:].tobytes() == END:  # or what is below the box may be missing
            pixels = decode_part(self.data, n, as_stored(box, size, n, orientation))
            if pixels is not None:
                return upright(torch.from_numpy(pixels).permute(2, 0, 1), orientation)
        left, top, w, h = box
        scaled = self.decode_scaled(n, -(-(top + h) * BLOCK // n) if len(self.data) >= LARGE else None)
        return None if scaled is None else scaled[:, top : top + h, left : left + w]

    def _size_for(self, n: int) -> tuple[int, int] | None:
        """stored_size, if it can be decoded at n/8 of it: where turning it leaves the blocks of 8 x 8 what they are."""
        size = self.stored_size
        if size is None or n == BLOCK or self.orientation == 1:
            return size
        return None if any(side % BLOCK for side in size) else size

    @cached_property
    def orientation(self) -> int:
        """EXIF's, 1 to 8; 1 is upright, and where it is not asked for, not told or not known."""
        if not self.exif or b"Exif\0" not in self.data[: 1 << 16].tobytes():
            return 1
        try:
            with open_image(self.data, self.name) as image:
                return orientation_of(image)
        except UserError:
            raise
        except DAMAGE:
            return 1


def scaled_size(height: int, width: int, n: int) -> tuple[int, int]:
    """Of a JPEG with n x n pixels for each block of 8 x 8."""
    return -(-height * n // BLOCK), -(-width * n // BLOCK)


ACROSS, DOWN = (2, 3, 6, 7), (3, 4, 7, 8)  # EXIF orientations that are mirrored, after what follows
TURNED = (5, 6, 7, 8)  # rows are columns


def upright(image: Tensor, orientation: int) -> Tensor:
    """(..., H, W) as stored with that EXIF orientation, turned and mirrored as it is to be looked at."""
    if orientation in TURNED:
        image = image.transpose(-2, -1)
    mirrored = [axis for axis, whose in ((-1, ACROSS), (-2, DOWN)) if orientation in whose]
    return image.flip(mirrored) if mirrored else image


def as_stored(box: Box, size: tuple[int, int], n: int, orientation: int) -> Box:
    """Where a box of the upright image is in the stored one: both at n/8 of its size, height and width in pixels."""
    height, width = scaled_size(*size, n)
    if orientation in TURNED:
        height, width = width, height
    left, top, w, h = box
    if orientation in ACROSS:
        left = width - left - w
    if orientation in DOWN:
        top = height - top - h
    return (top, left, h, w) if orientation in TURNED else (left, top, w, h)
