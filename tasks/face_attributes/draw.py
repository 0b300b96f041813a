"""Attributes as bars: those of an image beside it, and how well each is told."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from tasks.shared.classification.draw import NEUTRAL, RIGHT, WRONG, fit_text
from tasks.shared.files.writing import save_figure
from tasks.shared.terminal.escaped import in_diagram

ROW, COLUMN, ROWS = 22, 230, 20  # pixels of an attribute's row and of a column of them; rows in a column
TALLEST = 480  # pixels that the image is enlarged to at most


def draw_attributes(
    image: Image.Image, names: Sequence[str], probabilities: Sequence[float], truth: Sequence[bool | None] | None = None
) -> Image.Image:
    """The image with a bar beside it for each attribute, as long as its probability; the line is at 0.5.

    truth: what each attribute is, None where that is not known; bars of right decisions are green then, others red.
    """
    columns = -(-len(names) // ROWS)
    height = max(min(len(names), ROWS) * ROW, 256)
    photo = ImageOps.contain(image.convert("RGB"), (2 * TALLEST, min(height, TALLEST)), Image.Resampling.BICUBIC)
    sheet = Image.new("RGB", (photo.width + columns * COLUMN, height), (24, 24, 28))
    sheet.paste(photo, (0, (height - photo.height) // 2))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=14)
    for position, (name, probability) in enumerate(zip(names, probabilities, strict=True)):
        left, top = photo.width + position // ROWS * COLUMN, position % ROWS * ROW
        known = None if truth is None else truth[position]
        color = NEUTRAL if known is None else RIGHT if known == (probability > 0.5) else WRONG
        right = left + round((COLUMN - 6) * probability)
        draw.rectangle((left, top + 2, right, top + ROW - 2), fill=tuple(c // 2 for c in color))
        middle = left + (COLUMN - 6) // 2
        draw.line((middle, top + 2, middle, top + ROW - 2), fill=(70, 70, 80))
        share = f"{100 * probability:.0f} %"
        wide = draw.textlength(share, font=font)
        draw.text((left + COLUMN - 10 - wide, top + 2), share, fill="white", font=font)
        draw.text((left + 5, top + 2), fit_text(draw, name, font, COLUMN - wide - 24), fill="white", font=font)
    return sheet


def draw_precisions(
    names: Sequence[str], ours: Sequence[float | None], teacher: Sequence[float | None] | None, path: Path
) -> None:
    """Average precision of each attribute as a bar, the teacher's beside; those without are left out."""
    from matplotlib.figure import Figure

    shown = [k for k in range(len(names)) if ours[k] is not None]
    shown.sort(key=lambda k: ours[k] or 0.0)
    figure = Figure(figsize=(7, 1.2 + 0.26 * max(len(shown), 3)), layout="constrained")
    axes = figure.subplots()
    networks = [("network", ours, "tab:blue")] + ([("teacher", teacher, "tab:orange")] if teacher is not None else [])
    thick = 0.8 / len(networks)
    for number, (label, values, color) in enumerate(networks):
        positions = [row + (0.5 - number) * thick * (len(networks) - 1) for row in range(len(shown))]
        axes.barh(positions, [values[k] or 0.0 for k in shown], thick, label=label, color=color)
    axes.set_yticks(range(len(shown)), [in_diagram(names[k]) for k in shown])
    axes.set(xlim=(0, 1), xlabel="average precision")
    if len(networks) > 1:
        axes.legend(loc="lower right")
    axes.grid(alpha=0.3, axis="x")
    save_figure(path, figure, "output", dpi=110)
