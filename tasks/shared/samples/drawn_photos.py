"""Images that cost a decoder and a resize what photos do, drawn for measurements."""

import io

import numpy as np
from PIL import Image

LUMA, CHROMA = 48, 14  # standard deviations, in levels of 255


def draw_photo(width: int, height: int, falloff: float, rng: np.random.Generator) -> Image.Image:
    """Noise whose amplitude falls with frequency as 1 / f^falloff; that of photos does so with about 1 (Field 1987).

    Photos of many pixels are less sharp in each: theirs falls faster.
    """
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequency[0, 0] = np.inf
    planes = []
    for mean, deviation in ((118, LUMA), (128, CHROMA), (128, CHROMA)):
        waves = rng.standard_normal((*frequency.shape, 2)) @ (1, 1j) / frequency**falloff
        plane = np.fft.irfft2(waves, s=(height, width))
        planes.append(mean + plane * (deviation / plane.std()))
    return Image.fromarray(np.stack(planes, axis=-1).clip(0, 255).astype(np.uint8), "YCbCr").convert("RGB")


def encode_photo(photo: Image.Image, size: int, subsampling: str) -> bytes:
    """A JPEG of at most `size` bytes, of the highest quality that gives that. subsampling: "4:4:4" or "4:2:0"."""
    low, high, best = 30, 98, b""
    while low <= high:
        quality = (low + high) // 2
        file = io.BytesIO()
        photo.save(file, "JPEG", quality=quality, subsampling=subsampling)
        if file.tell() <= size:
            low, best = quality + 1, file.getvalue()
        else:
            high = quality - 1
    assert best, "too small a file for such a photo"
    return best
