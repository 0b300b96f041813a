"""A part of a JPEG by libjpeg-turbo itself, if its headers were there when this was installed (jpeg_part.cpp)."""

import ctypes
from collections.abc import Callable
from functools import cache
from operator import index

import numpy as np

from backbone.kernels import load_library

Box = tuple[int, int, int, int]  # left, top, width and height

VERSION = 1  # of what jpeg_part takes and leaves, as in jpeg_part.cpp
LONGEST = 65500  # pixels of a side, as libjpeg has it
INT = ctypes.c_int
TAKES = (ctypes.c_void_p, ctypes.c_int64, INT, INT, INT, INT, INT, ctypes.c_void_p)  # as in jpeg_part.cpp


@cache
def decoder() -> Callable[..., int] | None:
    """The function of jpeg_part.cpp, if it was compiled."""
    library = load_library("tasks.shared.images._jpeg", ("jpeg_part_version", VERSION), "photos take longer to decode")
    if library is None:
        return None
    library.jpeg_part.argtypes, library.jpeg_part.restype = TAKES, INT
    return library.jpeg_part


def decode_part(data: np.ndarray, n: int, box: Box) -> np.ndarray | None:
    """A box of a JPEG's file, (N,) uint8, with n x n pixels for each block of 8 x 8: RGB, (height, width, 3) uint8.

    box: in pixels of that size, not turned as EXIF says. They are those of the whole image to the last bit; what is
    below them is not looked at. None where it cannot be done: not compiled, in CMYK, damaged, or beyond the image.
    Raises TypeError or ValueError for what is neither bytes nor a size from 1 to 8.
    """
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 1:
        raise TypeError(f"data: {getattr(data, 'dtype', type(data))} {np.shape(data)}; expected (N,) uint8")
    n, (left, top, width, height) = index(n), map(index, box)
    if not 1 <= n <= 8:
        raise ValueError(f"n={n}; expected 1 to 8")
    decode = decoder()
    if decode is None or len(data) == 0 or min(left, top) < 0 or min(width, height) < 1:
        return None
    if left + width > LONGEST or top + height > LONGEST:  # which no image has; int holds all below
        return None
    data = np.ascontiguousarray(data)
    pixels = np.empty((height, width, 3), np.uint8)
    return pixels if decode(data.ctypes.data, len(data), n, left, top, width, height, pixels.ctypes.data) else None
