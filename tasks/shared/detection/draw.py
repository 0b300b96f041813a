"""Boxes, names and scores: drawn on an image, and as plain data."""

import colorsys
from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from tasks.shared.detection.dataset import DetectionInfo, DetectionTarget
from tasks.shared.detection.postprocess import Detections
from tasks.shared.images.decode import fit_scale
from tasks.shared.terminal.escaped import one_line

GOLDEN = 0.61803  # steps of the golden ratio around the hue circle keep neighbouring classes apart


def class_color(label: int) -> tuple[int, int, int]:
    """A strong colour for a class, the same in every image."""
    red, green, blue = colorsys.hsv_to_rgb(label * GOLDEN % 1, 0.85, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_detections(
    image: Image.Image,
    found: Detections,
    class_names: Sequence[str],
    target: DetectionTarget | None = None,
    min_score: float = 0.3,
) -> Image.Image:
    """A copy of the image with every detection of at least `min_score`, best on top.

    target: the truth, `boxes` (N, 4) xyxy in pixels of `image` and `labels`; drawn as thin white boxes.
    """
    image = image.convert("RGB")
    draw = ImageDraw.Draw(image)
    line = max(2, round(min(image.size) / 150))
    font = ImageFont.load_default(size=max(11, min(image.size) // 28))
    if target is not None:
        for box in target["boxes"].tolist():
            draw.rectangle(box, outline="white", width=max(1, line // 2))
    for box, score, label in reversed(list(zip(*(t.tolist() for t in found), strict=True))):
        if score < min_score:
            continue
        color = class_color(label)
        draw.rectangle(box, outline=color, width=line)
        text = f"{one_line(class_names[label])} {score:.2f}"
        left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
        x = min(max(box[0], 0), max(image.width - (right - left) - 4, 0))
        y = box[1] - (bottom - top) - 5
        y = y if y >= 0 else max(box[1], 0)  # above the box, or inside where there is no room
        draw.rectangle((x, y, x + right - left + 4, y + bottom - top + 5), fill=color)
        dark = 0.3 * color[0] + 0.6 * color[1] + 0.1 * color[2] > 140
        draw.text((x + 2 - left, y + 2 - top), text, fill="black" if dark else "white", font=font)
    return image


def scale_target(
    target: DetectionTarget | None, size: tuple[int, int], resolution: int, resize: str = "square"
) -> DetectionTarget | None:
    """A loader's target, its boxes in pixels of the square of `resolution`, for an image of `size` (width, height)."""
    if target is None:
        return None
    width, height = size
    return {**target, "boxes": target["boxes"].cpu() / fit_scale(height, width, resolution, resize)}


def describe_detections(found: Detections, info: DetectionInfo, min_score: float) -> list[dict[str, Any]]:
    """One dict a detection of at least `min_score`: bbox (x, y, width, height in pixels), category id, name, score."""
    return [
        {
            "category_id": info["category_ids"][label],
            "name": info["class_names"][label],
            "score": score,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
        }
        for (x1, y1, x2, y2), score, label in zip(*(t.tolist() for t in found), strict=True)
        if score >= min_score
    ]
