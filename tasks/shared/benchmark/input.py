"""From photos as files to a batch for training: ours against torchvision's and timm's transforms, on one core."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from timm.data import create_transform
from torch import Tensor
from torchvision.transforms import transforms as v1

from tasks.shared.benchmark.suite import Options, Result, Suite
from tasks.shared.benchmark.timing import compare
from tasks.shared.contract import Normalize
from tasks.shared.errors import UserError
from tasks.shared.images.crops import TrainCrop, at_eighths, eighths, random_box, random_crop_of
from tasks.shared.images.decode import collate_images, open_image, read_bytes
from tasks.shared.images.encoded import BLOCK, EncodedImage
from tasks.shared.images.files import find_images
from tasks.shared.images.headers import FORMATS
from tasks.shared.images.jpeg_part import Box
from tasks.shared.network.runtime import keep_heap
from tasks.shared.samples.drawn_photos import draw_photo, encode_photo
from tasks.shared.terminal.escaped import printable

MEAN = STD = (0.5, 0.5, 0.5)
CROP = TrainCrop(flip=0.0)  # of all sides alike, and left out: it takes no time
MOST = 64  # of the user's photos
ALIKE = 0.1  # levels of 255: mean difference, in brightness; of photos that are decoded whole the mean absolute one
NEAR = 1.0  # levels: mean absolute difference where ours decodes less than the whole


class Photos(NamedTuple):
    """Drawn ones: pixels, bytes and subsampling of a file, see `draw_photo` for falloff; how many, in how many crops.

    ImageNet's photos are mostly 4:4:4, and take 0.6 bytes a pixel; cameras write 4:2:0.
    """

    width: int
    height: int
    size: int
    subsampling: str
    falloff: float
    files: int
    crops: int


DRAWN = {
    "500 x 375": Photos(500, 375, 110_000, "4:4:4", 1.1, files=16, crops=2),
    "2048 x 1536": Photos(2048, 1536, 700_000, "4:2:0", 1.3, files=3, crops=8),
    "4032 x 3024": Photos(4032, 3024, 3_000_000, "4:2:0", 1.3, files=2, crops=6),
}


class Crop(NamedTuple):
    """A photo, and the seed that says where it is cropped."""

    file: Path
    seed: int

    def box(self, resolution: int) -> Box:
        """Where ours cuts it: where it decodes the photo smaller, along blocks."""
        with open_image(read_bytes(self.file), printable(self.file)) as image:
            width, height = image.size
        box = random_box(width, height, np.random.default_rng(self.seed), CROP)
        return box if eighths(box, resolution) == BLOCK else at_eighths(box, BLOCK, width, height)


Side = Callable[[], Tensor]


def input_suite(options: Options, resolution: int = 224) -> Suite:
    """Read a file, decode, crop at random, resize, make a normalised batch; on one core, files in the page cache.

    torchvision: `transforms` (v1) on PIL images. timm: `create_transform`, without colour jitter, which ours does not
    do. Both cut the boxes that ours cuts; none mirrors. The heap is kept, as our tools do, for all.
    """
    keep_heap()
    results = []
    with _one_thread(), TemporaryDirectory() as folder:
        cases = draw_photos(Path(folder)) if options.images is None else {"yours": your_photos(options.images)}
        for name, photos in cases.items():
            kilobytes = round(float(np.mean([photo.file.stat().st_size for photo in photos])) / 1000)
            boxes = [photo.box(resolution) for photo in photos]
            for peer, make in (("torchvision", make_torchvision), ("timm", make_timm)):
                ours, theirs = make_ours(photos, resolution), make(photos, boxes, resolution)
                apart = levels_apart(ours(), theirs())
                smaller = any(eighths(box, resolution) < BLOCK for box in boxes)
                times = compare(ours, theirs, options.rounds)
                facts = {
                    "kB_a_photo": kilobytes,
                    "our_images_per_s": round(1000 * len(photos) / times.ours_ms),
                    "levels_apart": round(float(apart.abs().mean()), 3),
                    "brighter_by": round(float(apart.mean()), 3) + 0.0,
                }
                results.append(Result(f"{name}, {peer}", facts, times, {"same_images": are_alike(apart, smaller)}))
    return Suite(f"files to a batch of {resolution} pixels on one core, ours against torchvision's and timm's", results)


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def draw_photos(folder: Path) -> dict[str, list[Crop]]:
    """By case."""
    cases: dict[str, list[Crop]] = {}
    for name, (width, height, size, subsampling, falloff, files, crops) in DRAWN.items():
        rng, cases[name] = np.random.default_rng(0), []
        for number in range(files):
            file = folder / f"{width}_{number}.jpg"
            file.write_bytes(encode_photo(draw_photo(width, height, falloff, rng), size, subsampling))
            cases[name] += [Crop(file, number * crops + crop) for crop in range(crops)]
    return cases


def your_photos(folder: str) -> list[Crop]:
    """Up to MOST of a folder's JPEG files, from all parts of it. Raises UserError where it holds none."""
    found = [file for file in find_images(folder, "images") if file.suffix.lower() in (".jpg", ".jpeg")]
    if not found:
        raise UserError(f"images={folder}: holds no .jpg or .jpeg")
    return [Crop(file, number) for number, file in enumerate(found[:: -(-len(found) // MOST)])]


def make_ours(photos: list[Crop], resolution: int) -> Side:
    normalize = Normalize(MEAN, STD)

    def batch() -> Tensor:
        parts = [
            random_crop_of(EncodedImage.read(file), resolution, np.random.default_rng(seed), CROP)[0]
            for file, seed in photos
        ]
        return normalize(collate_images(parts))

    return batch


def make_torchvision(photos: list[Crop], boxes: list[Box], resolution: int) -> Side:
    finish = v1.Compose([v1.ToTensor(), v1.Normalize(MEAN, STD)])

    def read(file: Path, box: Box) -> Tensor:
        left, top, width, height = box
        with Image.open(file, formats=FORMATS) as image:  # which open_image has taken
            part = v1.F.resized_crop(image.convert("RGB"), top, left, height, width, [resolution, resolution])
        return finish(part)

    return lambda: torch.stack([read(photo.file, box) for photo, box in zip(photos, boxes, strict=True)])


def make_timm(photos: list[Crop], boxes: list[Box], resolution: int) -> Side:
    look: dict[str, Any] = {"color_jitter": None, "hflip": 0.0, "interpolation": "bilinear"}
    transform = create_transform(resolution, is_training=True, mean=MEAN, std=STD, **look)
    turn = cycle(boxes)

    def next_box(*_: object) -> Box:
        left, top, width, height = next(turn)
        return top, left, height, width

    transform.transforms[0].get_params = next_box  # where to crop; its own are random

    def read(file: Path) -> Tensor:
        with Image.open(file, formats=FORMATS) as image:  # which open_image has taken
            return transform(image.convert("RGB"))

    return lambda: torch.stack([read(photo.file) for photo in photos])


def levels_apart(ours: Tensor, theirs: Tensor) -> Tensor:
    """Of normalised images, in levels of 255."""
    return (ours - theirs) * STD[0] * 255


def are_alike(apart: Tensor, smaller: bool) -> bool:
    """smaller: ours decoded some photos smaller."""
    rough = apart.abs().mean().item()
    return rough < (NEAR if smaller else ALIKE) and abs(apart.mean().item()) < ALIKE
