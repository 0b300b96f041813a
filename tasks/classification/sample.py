"""A drawn sample data set for image classification in ImageNet's own layout: training without a download.

Each picture shows one large thing of ten classes somewhere on clutter. Six classes are patterns, on a plate whose outline
tells nothing; four are shapes, half of them on such a plate. Colours, light, size, place and turn are random in all of
them, and small pieces of other classes lie about: neither the colours nor a blurred view give the class away.
The same parameters give the same bytes in the same environment.
"""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from tasks.shared.drawing import any_colour, background, photograph
from tasks.shared.sample_folder import keep_sample

VERSION = 1  # raise it whenever the drawing changes: existing sets are then redrawn
FORMAT = "drawn classification sample"
SPLITS = ("train", "val")

MIDDLE_SIDE = (116, 166)  # pixels: geometric mean of a picture's sides
PROPORTION = 0.19  # at most, either way: logarithm of a side over their mean, so 96 to 200 pixels
SIZE = (0.4, 0.9)  # of a thing's longer axis, as a share of the picture's short side
PIECE_SIZE = (0.1, 0.18)  # of the pieces of other classes
OFF_CENTRE = 0.4  # at most, share of the short side: the usual central crop keeps half a thing or more
SATURATION = (0.0, 0.9)  # of all colours, the background's too
CONTRAST = 70  # least difference of brightness between the two tones of a thing, 0..255
MARGIN = 1.15  # of the patch that a thing is drawn on, over the thing: room for its shadow
QUALITY = (60, 95)  # of the JPEG files

Field = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


def _star(x: np.ndarray, y: np.ndarray, notch: float) -> np.ndarray:
    """Five points; `notch` is the radius between them."""
    sector = 2 * np.pi / 5
    angle = np.abs((np.arctan2(y, x) + sector / 2) % sector - sector / 2)  # from the nearest point's axis
    along, across = np.hypot(x, y) * (np.cos(angle), np.sin(angle))
    notch_x, notch_y = notch * math.cos(sector / 2), notch * math.sin(sector / 2)
    return ((1 - along) * notch_y - across * (1 - notch_x)) / math.hypot(notch_y, 1 - notch_x)


def _gear(x: np.ndarray, y: np.ndarray, teeth: float) -> np.ndarray:
    radius, tooth = np.hypot(x, y), np.sin(round(teeth) * np.arctan2(y, x))
    return np.minimum(0.86 + 0.12 * (2.5 * tooth).clip(-1, 1) - radius, radius - 0.36)


def _crescent(x: np.ndarray, y: np.ndarray, offset: float) -> np.ndarray:
    return np.minimum(1 - np.hypot(x, y), np.hypot(x - offset, y) - 0.8)


def _cross(x: np.ndarray, y: np.ndarray, arm: float) -> np.ndarray:
    longer, shorter = np.maximum(np.abs(x), np.abs(y)), np.minimum(np.abs(x), np.abs(y))
    return np.minimum(arm - shorter, 0.95 - longer)


def _spiral(x: np.ndarray, y: np.ndarray, arms: float) -> np.ndarray:
    radius = np.hypot(x, y)
    return np.sin(round(arms) * np.arctan2(y, x) + 4 * np.log(radius + 0.05)) * radius / 6


# A class: the least and largest k, and a function of the thing's own axes, in which it spans -1 to 1. The function gives
# the distance to the nearest border, positive in the first of two tones (patterns) or inside (shapes, plates).
PATTERNS: dict[str, tuple[float, float, Field]] = {
    "checker": (6, 10, lambda x, y, k: np.sin(k * x) * np.sin(k * y) / k),
    "dots": (9, 14, lambda x, y, k: (np.cos(k * x) + np.cos(k * y) - 0.7) / k),
    "lattice": (5, 8, lambda x, y, k: (np.minimum(np.abs(np.sin(k * x)), np.abs(np.sin(k * y))) - 0.4) / k),
    "rings": (11, 17, lambda x, y, k: np.sin(k * np.hypot(x, y)) / k),
    "spiral": (2.5, 4.5, _spiral),
    "stripes": (8, 16, lambda x, y, k: np.sin(k * x) / k),
}
SHAPES: dict[str, tuple[float, float, Field]] = {
    "crescent": (0.35, 0.6, _crescent),
    "cross": (0.2, 0.36, _cross),
    "gear": (6.5, 11.5, _gear),
    "star": (0.36, 0.55, _star),
}
PLATES: tuple[tuple[float, float, Field], ...] = (
    (2, 8, lambda x, y, k: 0.9 - (np.abs(x) ** k + np.abs(y) ** k) ** (1 / k)),  # disc to square
    (1.5, 5.5, lambda x, y, k: 0.88 + 0.1 * np.sin(round(k) * np.arctan2(y, x)) - np.hypot(x, y)),
)
CLASSES = tuple(sorted(PATTERNS | SHAPES))


def _evaluate(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, low: float, high: float, field: Field) -> np.ndarray:
    return field(x, y, rng.uniform(low, high))


def _two_tones(rng: np.random.Generator) -> np.ndarray:
    """Two colours [2, 3], 0..255, one clearly brighter than the other."""
    while True:
        tones = np.array([any_colour(rng, SATURATION) for _ in range(2)], np.float32)
        if abs((tones[0] - tones[1]) @ (0.3, 0.59, 0.11)) > CONTRAST:
            return tones


def _draw_thing(rng: np.random.Generator, picture: Image.Image, name: str, centre: np.ndarray, radius: float) -> None:
    """Draw a thing of class `name` over `picture`, its longer axis twice `radius`, around `centre` (x, y), in pixels."""
    corner = np.floor(centre - radius * MARGIN)
    side = math.ceil(radius * 2 * MARGIN) + 1
    pixels = np.arange(side, dtype=np.float32) + 0.5
    across, down = pixels - np.float32(centre[0] - corner[0]), (pixels - np.float32(centre[1] - corner[1]))[:, None]
    turn, narrow = rng.uniform(0, 2 * np.pi), radius * rng.uniform(0.75, 1)
    x = (across * math.cos(turn) + down * math.sin(turn)) / np.float32(radius)
    y = (down * math.cos(turn) - across * math.sin(turn)) / np.float32(narrow)

    body = _evaluate(rng, x, y, *PLATES[rng.integers(len(PLATES))])
    tone = _evaluate(rng, x / np.float32(0.8), y / np.float32(0.8), *SHAPES[name]) if name in SHAPES else _evaluate(rng, x, y, *PATTERNS[name])
    if name in SHAPES and rng.random() < 0.5:
        body = _evaluate(rng, x, y, *SHAPES[name])
        angle = rng.uniform(0, 2 * np.pi)
        tone = (x * math.cos(angle) + y * math.sin(angle) + rng.uniform(-0.5, 0.5)) / rng.uniform(4, 40)
    first, second = _two_tones(rng)
    share = (0.5 + tone * radius).clip(0, 1)[..., None]  # about a pixel from tone to tone
    slope = rng.uniform(-0.25, 0.25, 2)
    colours = (second + (first - second) * share) * (1 + slope[0] * x + slope[1] * y)[..., None]
    patch = Image.fromarray(colours.clip(0, 255).astype(np.uint8))
    shadow = (0.6 + body * 6).clip(0, 0.6)
    mask = (0.5 + body * radius).clip(0, 1)
    place = tuple(corner.astype(int).tolist())
    for layer, opacity in ((Image.new("RGB", patch.size, (0,0,0) if rng.random() < 0.5 else (255,255,255)), shadow), (patch, mask)):
        picture.paste(layer, place, Image.fromarray((opacity * 255).astype(np.uint8)))


def _draw_picture(seed: int, split: int, label: int, index: int) -> Image.Image:
    """Picture `index` of a class and split, the same however many pictures are drawn."""
    rng = np.random.default_rng((seed, split, label, index))
    proportion = math.exp(rng.uniform(-PROPORTION, PROPORTION))
    middle = rng.uniform(*MIDDLE_SIDE)
    sides = np.rint((middle * proportion, middle / proportion))
    picture = background(rng, int(sides[0]), int(sides[1]), SATURATION)
    short = min(sides)
    for _ in range(rng.integers(2, 6)):
        other = CLASSES[(label + rng.integers(1, len(CLASSES))) % len(CLASSES)]
        _draw_thing(rng, picture, other, rng.uniform(0, 1, 2) * sides, short * rng.uniform(*PIECE_SIZE) / 2)
    radius = short * rng.uniform(*SIZE) / 2
    room = np.minimum(sides / 2 - radius, OFF_CENTRE * short)
    _draw_thing(rng, picture, CLASSES[label], sides / 2 + rng.uniform(-1, 1, 2) * room, radius)
    return photograph(rng, picture)


def _draw_into(root: Path, counts: dict[str, int], seed: int) -> None:
    total = sum(counts.values()) * len(CLASSES)
    with tqdm(total=total, desc="drawing the classification sample", unit="picture", disable=None) as bar:
        for split, (split_name, count) in enumerate(counts.items()):
            for label, name in enumerate(CLASSES):
                folder = root / split_name / name
                folder.mkdir(parents=True)
                for index in range(count):
                    picture = _draw_picture(seed, split, label, index)
                    quality = int(np.random.default_rng((seed, split, label, index, 1)).integers(*QUALITY))
                    picture.save(folder / f"{name}_{index + 1:05d}.jpg", quality=quality)
                    bar.update()


def draw_classification_sample(root: Path, train: int = 160, val: int = 40, seed: int = 0) -> None:
    counts = dict(zip(SPLITS, (train, val), strict=True))
    wanted = {"format": FORMAT, "version": VERSION, **counts, "seed": seed}
    files = {f"{split}/{name}/{name}_*.jpg": count for split, count in counts.items() for name in CLASSES}
    keep_sample(root, wanted, files, lambda folder: _draw_into(folder, counts, seed))
