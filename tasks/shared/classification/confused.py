"""The classes that are taken for each other most, side by side."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from tasks.shared.classification.draw import fit_text
from tasks.shared.images.decode import to_pil

SHOWN = 8  # pairs
TILE, PLACES, CAPTION, GAP = 112, 3, 26, 12  # pixels of an image, images a part, pixels of its caption and around


class Pair(NamedTuple):
    """Images of class `truth` that were taken for class `predicted`: `wrong` of the class's `total`."""

    truth: int
    predicted: int
    wrong: int
    total: int


def most_confused(truth: np.ndarray, best: np.ndarray) -> list[Pair]:
    """Pairs of different classes, that with the largest share of the true class first; never the same two twice.

    truth, best: (N,) class indices, of the truth and of the best answer.
    """
    classes, totals = np.unique(truth, return_counts=True)
    size = dict(zip(classes.tolist(), totals.tolist(), strict=True))
    wrong = truth != best
    taken, counts = np.unique(np.stack([truth[wrong], best[wrong]]), axis=1, return_counts=True)
    pairs = [Pair(a, b, n, size[a]) for a, b, n in zip(*taken.tolist(), counts.tolist(), strict=True)]
    pairs.sort(key=lambda pair: (-pair.wrong / pair.total, -pair.wrong, pair.truth, pair.predicted))
    first: dict[frozenset[int], Pair] = {}
    for pair in pairs:
        first.setdefault(frozenset((pair.truth, pair.predicted)), pair)
    return list(first.values())


def draw_confused(
    truth: np.ndarray, best: np.ndarray, names: Sequence[str], image: Callable[[int], Tensor]
) -> Image.Image | None:
    """A row for each pair: images of the true class that were recognised, those that were taken for the other, and
    recognised ones of the other. None where nothing is confused.

    image: the original image (3, H, W) uint8 of a place in `truth`.
    """
    pairs = most_confused(truth, best)[:SHOWN]
    if not pairs:
        return None
    part = PLACES * TILE + GAP
    row = TILE + CAPTION + GAP
    sheet = Image.new("RGB", (3 * part + GAP, len(pairs) * row + GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=15)
    for index, pair in enumerate(pairs):
        taken = f"{pair.wrong} of {pair.total} taken for {names[pair.predicted]}"
        parts: list[tuple[str, np.ndarray, str]] = [
            (names[pair.truth], (truth == pair.truth) & (best == pair.truth), "black"),
            (taken, (truth == pair.truth) & (best == pair.predicted), "firebrick"),
            (names[pair.predicted], (truth == pair.predicted) & (best == pair.predicted), "black"),
        ]
        top = GAP + index * row
        for number, (caption, which, color) in enumerate(parts):
            left = GAP + number * part
            draw.text((left, top), fit_text(draw, caption, font, PLACES * TILE), fill=color, font=font)
            for position, k in enumerate(np.flatnonzero(which)[:PLACES].tolist()):
                tile = _square(to_pil(image(k)))
                sheet.paste(tile, (left + position * TILE, top + CAPTION))
    return sheet


def _square(image: Image.Image) -> Image.Image:
    """The middle of an image, as a tile with a little room to its neighbour."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side)).resize((TILE - 4, TILE - 4), Image.Resampling.BICUBIC)
