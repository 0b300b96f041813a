"""A drawn sample data set for image classification in ImageNet's own layout: training without a download.

Each image shows one large thing of ten classes on clutter: a plate in two tones, whose pattern or figure is the class
and whose outline tells nothing. Colours, light, size, place and turn are random in all classes, and small pieces of
other classes lie about, so that neither colours nor a blurred view give the class away.
The same parameters give the same bytes in the same environment.
"""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tasks.shared.data.sample_folder import keep_sample
from tasks.shared.errors import UserError
from tasks.shared.files.writing import encode_image
from tasks.shared.samples.drawing import any_colour, background, photograph
from tasks.shared.terminal.progress import counted

VERSION = 1  # raise it whenever the drawing changes: existing sets are then redrawn
FORMAT = "drawn classification sample"
SPLITS = ("train", "val")

MIDDLE_SIDE = (116.0, 166.0)  # pixels: geometric mean of an image's two sides
PROPORTION = 0.19  # at most, either way: logarithm of a side over that mean, so that sides are 96 to 200 pixels
SIZE = (0.55, 0.92)  # of a thing's longer axis, as a share of the image's short side
NARROW = (0.75, 1.0)  # the other axis over the longer one
TURN = 0.7  # radians, at most, either way; things of any turn take a network three times the steps to learn
OFF_CENTRE = 0.3  # at most, as a share of the short side: the usual central crop keeps most of a thing
PIECE_SIZE = (0.1, 0.18)  # of the small pieces of other classes, 1 to 4 of them
SATURATION = (0.2, 0.95)
CLUTTER_SATURATION = (0.0, 0.5)
CONTRAST = 105  # least difference in brightness between the two tones of a thing, 0..255
MARGIN = 1.15  # side of the patch that a thing is drawn on, over its size: room for its shadow
QUALITY = (60, 95)  # of the JPEG files, both ends included

Array = np.ndarray
Field = tuple[float, float, Callable[[Array, Array, float], Array]]


def _zigzag(x: Array, y: Array, pitch: float) -> Array:
    return np.sin(pitch * x + 5 * np.abs(1.3 * y % 1 - 0.5)) / pitch / 1.5


def _spiral(x: Array, y: Array, arms: float) -> Array:
    radius = np.hypot(x, y)
    return np.sin(round(arms) * np.arctan2(y, x) + 4 * np.log(radius + 0.05)) * radius / 6


def _star(x: Array, y: Array, notch: float) -> Array:
    """Five points at radius 0.84; `notch` is the radius between them."""
    sector = 2 * np.pi / 5
    angle = np.abs((np.arctan2(y, x) + sector / 2) % sector - sector / 2)  # from the axis of the nearest point
    along, across = np.hypot(x, y) * (np.cos(angle), np.sin(angle))
    notch_x, notch_y = notch * math.cos(sector / 2), notch * math.sin(sector / 2)
    return ((0.84 - along) * notch_y - across * (0.84 - notch_x)) / math.hypot(notch_y, 0.84 - notch_x)


def _gear(x: Array, y: Array, teeth: float) -> Array:
    radius, tooth = np.hypot(x, y), np.sin(round(teeth) * np.arctan2(y, x))
    return np.minimum(0.72 + 0.1 * (2.5 * tooth).clip(-1, 1) - radius, radius - 0.3)


def _crescent(x: Array, y: Array, offset: float) -> Array:
    return np.minimum(0.84 - np.hypot(x, y), np.hypot(x - offset, y) - 0.67)


# Fields: the range of k, and a function of x, y (of a thing's own axes, in which it spans -1 to 1) and k. It gives the
# distance to the nearest border, about, positive in the first of two tones, or inside the plate.
KINDS: dict[str, Field] = {
    "checker": (6, 10, lambda x, y, k: np.sin(k * x) * np.sin(k * y) / k),
    "crescent": (0.3, 0.5, _crescent),
    "dots": (9, 14, lambda x, y, k: (np.cos(k * x) + np.cos(k * y) - 0.7) / k),
    "gear": (6.5, 11.5, _gear),
    "lattice": (5, 8, lambda x, y, k: (np.minimum(np.abs(np.sin(k * x)), np.abs(np.sin(k * y))) - 0.4) / k),
    "rings": (11, 17, lambda x, y, k: np.sin(k * np.hypot(x, y)) / k),
    "spiral": (2.5, 4.5, _spiral),
    "star": (0.32, 0.42, _star),
    "stripes": (8, 16, lambda x, y, k: np.sin(k * x) / k),
    "zigzag": (9, 14, _zigzag),
}
PLATES: tuple[Field, ...] = (
    (2, 8, lambda x, y, k: 0.9 - (np.abs(x) ** k + np.abs(y) ** k) ** (1 / k)),  # from a disc to a square
    (1.5, 4.5, lambda x, y, k: 0.88 + 0.1 * np.sin(round(k) * np.arctan2(y, x)) - np.hypot(x, y)),  # lobes
)
CLASSES = tuple(KINDS)


def _evaluate(rng: np.random.Generator, field: Field, x: Array, y: Array) -> Array:
    low, high, function = field
    return function(x, y, rng.uniform(low, high))


def _two_tones(rng: np.random.Generator) -> Array:
    """Two colours [2, 3] in 0..255, one clearly brighter than the other."""
    while True:
        tones = np.array([any_colour(rng, SATURATION) for _ in range(2)], np.float32)
        if abs((tones[0] - tones[1]) @ (0.3, 0.59, 0.11)) > CONTRAST:
            return tones


def _draw_thing(rng: np.random.Generator, image: Image.Image, name: str, centre: Array, radius: float) -> None:
    """Draw a thing of class `name` over `image`, around `centre` (x, y), its longer axis twice `radius`; pixels."""
    left, top = (math.floor(middle - radius * MARGIN) for middle in centre)
    pixels = np.arange(math.ceil(2 * radius * MARGIN) + 1, dtype=np.float32) + 0.5
    across, down = pixels + (left - float(centre[0])), pixels[:, None] + (top - float(centre[1]))
    turn, narrow = rng.uniform(-TURN, TURN), rng.uniform(*NARROW)
    x = (across * math.cos(turn) + down * math.sin(turn)) / radius
    y = (down * math.cos(turn) - across * math.sin(turn)) / (radius * narrow)

    body = _evaluate(rng, PLATES[rng.integers(len(PLATES))], x, y)
    tone = _evaluate(rng, KINDS[name], x, y)
    first, second = _two_tones(rng)
    mix = (0.5 + tone * radius).clip(0, 1)[..., None]  # about one pixel from tone to tone
    slope = rng.uniform(-0.25, 0.25), rng.uniform(-0.25, 0.25)  # light falls from one side
    colours = (second + (first - second) * mix) * (1 + slope[0] * x + slope[1] * y)[..., None]
    halo = 255 * int(rng.integers(2))  # dark or light, so that a thing stands out from clutter of its colours
    glow, silhouette = (0.6 + 6 * body).clip(0, 0.6), (0.5 + radius * body).clip(0, 1)
    for layer, opacity in ((np.full_like(colours, halo), glow), (colours, silhouette)):
        patch, mask = (Image.fromarray(values.clip(0, 255).astype(np.uint8)) for values in (layer, 255 * opacity))
        image.paste(patch, (left, top), mask)


def _draw_image(seed: int, split: int, label: int, index: int) -> tuple[Image.Image, int]:
    """Image `index` of a class and split, the same however many are drawn, and the quality to save it with."""
    rng = np.random.default_rng((seed, split, label, index))
    middle, proportion = rng.uniform(*MIDDLE_SIDE), math.exp(rng.uniform(-PROPORTION, PROPORTION))
    width, height = round(middle * proportion), round(middle / proportion)
    sides, short = np.array([width, height]), min(width, height)
    image = background(rng, width, height, CLUTTER_SATURATION)
    for _ in range(rng.integers(1, 5)):
        other = CLASSES[(label + rng.integers(1, len(CLASSES))) % len(CLASSES)]
        _draw_thing(rng, image, other, rng.uniform(0, 1, 2) * sides, short * rng.uniform(*PIECE_SIZE) / 2)
    radius = short * rng.uniform(*SIZE) / 2
    room = np.minimum(sides / 2 - radius, OFF_CENTRE * short)
    _draw_thing(rng, image, CLASSES[label], sides / 2 + rng.uniform(-1, 1, 2) * room, radius)
    return photograph(rng, image), int(rng.integers(*QUALITY, endpoint=True))


def _draw_into(root: Path, counts: dict[str, int], seed: int) -> None:
    total = sum(counts.values()) * len(CLASSES)
    with counted("drawing the classification sample", total) as drawn:
        for split, (split_name, count) in enumerate(counts.items()):
            for label, name in enumerate(CLASSES):
                folder = root / split_name / name
                folder.mkdir(parents=True)
                for index in range(count):
                    image, quality = _draw_image(seed, split, label, index)
                    file = folder / f"{name}_{index + 1:05d}.jpg"
                    file.write_bytes(encode_image(image, "JPEG", quality=quality))
                    drawn()


def draw_classification_sample(root: Path, train: int = 240, val: int = 40, seed: int = 0) -> None:
    """Draw the sample into `root`: train/<class>/*.jpg and val/<class>/*.jpg as in ImageNet.

    Returns at once where `root` already holds the complete set of the same parameters, and replaces an incomplete or
    different one. The set appears in `root` only when it is whole.

    Args:
        root: Folder of the set; its parents are created.
        train, val: Number of images of each class in either split.
        seed: Non-negative; another seed gives other images.

    Raises:
        UserError: A number is out of range, or `root` holds something that is not part of a drawn sample; nothing is
            deleted.
    """
    if train < 1 or val < 1 or seed < 0:
        raise UserError(f"data.train={train}, data.val={val}, data.draw_seed={seed}; expected at least 1, 1 and 0")
    counts = dict(zip(SPLITS, (train, val), strict=True))
    wanted = {"format": FORMAT, "version": VERSION, **counts, "seed": seed}
    files = {f"{split}/{name}/{name}_*.jpg": count for split, count in counts.items() for name in CLASSES}
    keep_sample(root, wanted, files, lambda folder: _draw_into(folder, counts, seed))
