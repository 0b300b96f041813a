"""Images of embeddings: as a strip below a face, as ROC curves, and the pairs that are told wrong."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from tasks.facenet.metrics import Roc
from tasks.facenet.pairs import Floats
from tasks.shared.classification.draw import fit_text
from tasks.shared.files.writing import save_figure

STRIP, SMALLEST = 14, 256  # pixels: height of a strip, and an image's least width
TILE, CAPTION, GAP, SHOWN = 120, 24, 14, 6  # pixels of an image, of a caption and between; pairs of each kind
COLORS = {"network": "tab:blue", "teacher": "tab:orange"}


class Shown(NamedTuple):
    """A pair of images to show, and the squared distance between their embeddings."""

    left: Image.Image
    right: Image.Image
    distance: float


def draw_embedding(image: Image.Image, vector: Floats, teacher: Floats | None = None) -> Image.Image:
    """The image with its embedding (D,) below: a field for each number, blue below 0, red above.

    teacher: another's embedding of it, drawn below, with the cosine between the two.
    """
    image = image.convert("RGB")
    if image.width < SMALLEST:
        image = image.resize((SMALLEST, round(image.height * SMALLEST / image.width)), Image.Resampling.BICUBIC)
    vectors = [vector] if teacher is None else [vector, teacher]
    text = CAPTION if teacher is not None else 0
    sheet = Image.new("RGB", (image.width, image.height + len(vectors) * STRIP + text), "white")
    sheet.paste(image)
    for position, row in enumerate(vectors):
        sheet.paste(_strip(row, image.width), (0, image.height + position * STRIP))
    if teacher is not None:
        caption = f"cosine to the teacher, below: {cosine(vector, teacher):.3f}"
        font = ImageFont.load_default(size=15)
        ImageDraw.Draw(sheet).text((4, sheet.height - CAPTION + 3), caption, fill="black", font=font)
    return sheet


def cosine(first: Floats, second: Floats) -> float:
    """Of two vectors (D,)."""
    lengths = np.linalg.norm(first) * np.linalg.norm(second)
    return float(first @ second / max(lengths, np.finfo(np.float32).tiny))


def _strip(vector: Floats, width: int) -> Image.Image:
    share = np.clip(vector / max(np.abs(vector).max(), np.finfo(np.float32).tiny), -1, 1)
    fade = 1 - np.abs(share)
    colors = np.stack([np.where(share > 0, 1, fade), fade, np.where(share < 0, 1, fade)], 1)
    fields = Image.fromarray((255 * colors).round().astype(np.uint8)[None])
    return fields.resize((width, STRIP), Image.Resampling.NEAREST)


def draw_roc(rocs: Mapping[str, Roc], far: float, path: Path) -> None:
    """VAL over FAR, its axis logarithmic, of each network, with the point at FAR `far` marked."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.subplots()
    least = min(0.5 / max(roc.different for roc in rocs.values()), far / 2)
    for name, roc in rocs.items():
        x, y = roc.curve()
        val, _ = roc.val_at_far(far)
        label = f"{name}: VAL {val:.3f} at FAR {far:g}, AUC {roc.auc():.3f}"
        # VAL rises at the distances of one person: between two of them FAR alone grows.
        axes.step([*np.maximum(x, least), 1], [*y, y[-1]], where="post", label=label, color=COLORS[name])
        axes.plot([far], [val], "o", color=COLORS[name])
    axes.axvline(far, color="grey", linewidth=0.8, linestyle=":")
    axes.set(xscale="log", xlim=(least, 1), ylim=(0, 1.02), xlabel="FAR: pairs of two persons taken for one",
             ylabel="VAL: pairs of one person found")  # fmt: skip
    axes.legend(loc="lower right")
    axes.grid(alpha=0.3)
    save_figure(path, figure, "output", dpi=110)


def draw_mistakes(taken_for_one: Sequence[Shown], taken_for_two: Sequence[Shown], threshold: float) -> Image.Image:
    """Pairs that are told wrong: on the left two persons taken for one, on the right one person taken for two."""
    part = 2 * TILE + GAP
    rows = max(len(taken_for_one), len(taken_for_two))
    height = 2 * GAP + CAPTION + rows * (TILE + CAPTION + GAP)
    sheet = Image.new("RGB", (2 * part + 3 * GAP, height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=15)
    columns = (("two persons, taken for one", taken_for_one), ("one person, taken for two", taken_for_two))
    for number, (title, pairs) in enumerate(columns):
        left = GAP + number * (part + GAP)
        draw.text((left, GAP), fit_text(draw, title, font, part), fill="black", font=font)
        for position, pair in enumerate(pairs):
            top = 2 * GAP + CAPTION + position * (TILE + CAPTION + GAP)
            _paste_pair(sheet, pair, left, top, f"{pair.distance:.3f}, threshold {threshold:.3f}")
    return sheet


def draw_pair(pair: Shown, caption: str) -> Image.Image:
    """Two images side by side, and what is told of them below."""
    sheet = Image.new("RGB", (2 * TILE + 2 * GAP + GAP, TILE + CAPTION + 2 * GAP), "white")
    _paste_pair(sheet, pair, GAP, GAP, caption)
    return sheet


def _paste_pair(sheet: Image.Image, pair: Shown, left: int, top: int, caption: str) -> None:
    for position, image in enumerate((pair.left, pair.right)):
        tile = ImageOps.contain(image.convert("RGB"), (TILE, TILE), Image.Resampling.BICUBIC)
        middle = ((TILE - tile.width) // 2, (TILE - tile.height) // 2)
        sheet.paste(tile, (left + position * (TILE + GAP) + middle[0], top + middle[1]))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=14)
    draw.text((left, top + TILE + 3), fit_text(draw, caption, font, 2 * TILE + GAP), fill="black", font=font)
