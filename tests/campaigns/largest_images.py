"""What the largest images cost that are read at all: seconds and bytes of memory for each of their pixels.

    python tests/campaigns/largest_images.py                  # at the default: some minutes, 8 GB of memory
    python tests/campaigns/largest_images.py --megapixels 20

Draws an image of noise in each format, as large as is allowed, and reads it in a process of its own.
"""

import argparse
import os
import tempfile
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tasks.shared.images.decode import read_image
from tasks.shared.images.limits import DEFAULT
from tests.limits import cost_of_reading

SCANS = 50


def _photo(side: int, channels: int) -> np.ndarray:
    """Noise over slopes: what costs any decoder most for its pixels."""
    noise = np.random.default_rng(0).integers(0, 256, (1024, 1024, channels), np.uint8)
    times = -(-side // 1024)
    return np.tile(noise, (times, times, 1))[:side, :side]


def _save(path: Path, side: int, kind: str, options: dict[str, Any]) -> None:
    Image.MAX_IMAGE_PIXELS = None
    image = Image.fromarray(_photo(side, 3))
    if kind == "GIF":
        image = image.quantize(256, Image.Quantize.FASTOCTREE)
    image.save(path, kind, **options)


def _save_rgba16(path: Path, side: int) -> None:
    import cv2

    cv2.imwrite(str(path), _photo(side, 4).astype(np.uint16) * 257, [cv2.IMWRITE_PNG_COMPRESSION, 1])


def _save_scans(path: Path, side: int) -> None:
    """A progressive JPEG whose last scan is there again and again."""
    _save(path, side, "JPEG", {"progressive": True, "quality": 75})
    data = path.read_bytes()
    last = data.rindex(b"\xff\xda")
    path.write_bytes(data[:-2] + data[last:-2] * (SCANS - data.count(b"\xff\xda")) + data[-2:])


IMAGES: dict[str, tuple[str, Callable[[Path, int], None]]] = {
    "JPEG, dense": ("jpg", lambda path, side: _save(path, side, "JPEG", {"quality": 95, "subsampling": 0})),
    f"JPEG of {SCANS} scans": ("jpg", _save_scans),
    "PNG, 16-bit RGBA": ("png", _save_rgba16),
    "WebP, lossless": ("webp", lambda path, side: _save(path, side, "WEBP", {"lossless": True, "method": 0})),
    "GIF": ("gif", lambda path, side: _save(path, side, "GIF", {})),
    "TIFF, LZW": ("tif", lambda path, side: _save(path, side, "TIFF", {"compression": "tiff_lzw"})),
    "BMP": ("bmp", lambda path, side: _save(path, side, "BMP", {})),
    "PPM": ("ppm", lambda path, side: _save(path, side, "PPM", {})),
}  # fmt: skip


def measure(name: str, megapixels: float) -> tuple[float, float]:
    """Seconds, and bytes a pixel. Drawing and reading have a process each: the peak is the reader's own."""
    suffix, draw = IMAGES[name]
    side = int((megapixels * 1e6) ** 0.5)
    if suffix == "webp":
        side = min(side, 16_383)  # the format has no more
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"x.{suffix}")
        drawing = get_context("fork").Process(target=draw, args=(path, side))
        drawing.start()
        drawing.join()
        cost = cost_of_reading(lambda: read_image(path), seconds=120)
    if cost.error is not None:
        raise SystemExit(f"{name}: {cost.error}")
    return cost.seconds, cost.megabytes * 2**20 / side**2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", type=float, default=DEFAULT)
    megapixels = parser.parse_args().megapixels
    print(f"| image of {megapixels:g} megapixels | seconds | bytes a pixel |\n|---|---|---|")
    for name in IMAGES:
        seconds, size = measure(name, megapixels)
        print(f"| {name} | {seconds:.1f} | {size:.0f} |", flush=True)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
