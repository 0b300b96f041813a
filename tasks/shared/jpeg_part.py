"""A part of a JPEG by libjpeg-turbo itself, if its headers were there when this was installed (jpeg_part.cpp)."""

import ctypes
from collections.abc import Callable
from functools import cache

import numpy as np

from backbone.kernels import load_library

Box = tuple[int, int, int, int]  # left, top, width and height

INT = ctypes.c_int
TAKES = (ctypes.c_void_p, ctypes.c_int64, INT, INT, INT, INT, INT, ctypes.c_void_p)  # as in jpeg_part.cpp


@cache
def decoder() -> Callable[..., int] | None:
    """The function of jpeg_part.cpp, if it was compiled."""
    library = load_library("tasks.shared._jpeg", "photos take longer to decode")
    if library is None:
        return None
    library.jpeg_part.argtypes, library.jpeg_part.restype = TAKES, INT
    return library.jpeg_part


def decode_part(data: np.ndarray, n: int, box: Box) -> np.ndarray | None:
    """A box of a JPEG's file, (N,) uint8, with n x n pixels for each block of 8 x 8: RGB, (height, width, 3) uint8.

    box: in pixels of that size, not turned as EXIF says. They are those of the whole picture to the last bit; what is
    below them is not looked at. None where it cannot be done: not compiled, in CMYK, damaged, or beyond the picture.
    """
    decode = decoder()
    if decode is None or min(box) < 0 or min(box[2:]) == 0:
        return None
    data = np.ascontiguousarray(data)
    pixels = np.empty((box[3], box[2], 3), np.uint8)
    return pixels if decode(data.ctypes.data, len(data), n, *box, pixels.ctypes.data) else None
