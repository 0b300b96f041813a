"""Drawn detections, pixel by pixel."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tasks.shared.detection.draw import class_color, draw_detections
from tasks.shared.detection.postprocess import Detections

NAMES = ["person", "traffic light", "cat"]
GREY = (100, 100, 100)


def found(*entries: tuple[list[float], float, int]) -> Detections:
    """entries: box, score, label, best first."""
    boxes, scores, labels = zip(*entries, strict=True) if entries else ([], [], [])
    return Detections(torch.tensor(boxes).reshape(-1, 4), torch.tensor(scores), torch.tensor(labels, dtype=torch.int64))


def grey(width: int = 200, height: int = 160) -> Image.Image:
    return Image.new("RGB", (width, height), GREY)


def changed(image: Image.Image) -> np.ndarray:
    """(H, W), where the image is no longer grey."""
    return (np.asarray(image) != GREY).any(-1)


def test_a_box_is_drawn_on_its_border_in_its_class_colour_and_nowhere_else():
    drawn = draw_detections(grey(), found(([50, 60, 150, 120], 0.9, 1)), NAMES)
    for x, y in [(50, 90), (51, 90), (150, 90), (100, 120), (100, 119), (150, 120), (145, 60)]:
        assert drawn.getpixel((x, y)) == class_color(1)
    mask = changed(drawn)
    assert not mask[63:117, 54:147].any()  # inside
    assert not mask[122:].any()
    assert not mask[:, :49].any()
    assert not mask[:, 152:].any()
    assert not mask[:30].any()  # above the label
    label = mask[42:60, 50:60]
    assert label.mean() > 0.7


def test_the_image_itself_is_left_alone():
    image = grey()
    draw_detections(image, found(([50, 60, 150, 120], 0.9, 1)), NAMES)
    assert not changed(image).any()


@pytest.mark.parametrize(("score", "drawn"), [(0.3, True), (0.29, False), (0.9, True), (0.0, False)])
def test_only_detections_of_the_least_score_are_drawn(score, drawn):
    detections = found(([50.0, 60, 150, 120], score, 0))
    detections = detections._replace(scores=detections.scores.double())
    assert changed(draw_detections(grey(), detections, NAMES, min_score=0.3)).any() == drawn


def test_without_detections_the_image_comes_back_unchanged():
    image = draw_detections(grey(), found(), NAMES)
    assert image.size == (200, 160)
    assert not changed(image).any()


@pytest.mark.parametrize(
    "box",
    [[50, 0, 150, 120], [50, 6, 150, 120], [0, 0, 30, 30], [180, 2, 199, 90], [-20, -30, 40, 40], [150, 100, 260, 190]],
)
def test_the_label_stays_in_the_image(box):
    image = grey()
    mask = changed(draw_detections(image, found((box, 0.5, 1)), NAMES))
    free = changed(draw_detections(image, found(([50, 60, 150, 120], 0.5, 1)), NAMES))
    whole = free[:59, :].sum()  # the label alone, where it has all the room
    without = np.zeros_like(mask)
    x1, y1, x2, y2 = (int(v) for v in box)
    inner = (slice(max(y1, 0), max(y2 + 1, 0)), slice(max(x1, 0), max(x2 + 1, 0)))
    without[inner] = True
    without[max(y1 + 2, 0) : max(y2 - 1, 0), max(x1 + 2, 0) : max(x2 - 1, 0)] = False
    assert (mask & ~without).sum() > 0.75 * whole  # of the label no more is hidden than what the border covers


def test_the_best_detection_is_drawn_on_top():
    box: list[float] = [50, 60, 150, 120]
    drawn = draw_detections(grey(), found((box, 0.9, 2), (box, 0.8, 0)), NAMES)
    assert drawn.getpixel((100, 120)) == class_color(2)


def test_the_truth_is_drawn_in_white_below_the_detections():
    target: Any = {"boxes": torch.tensor([[20.0, 30, 80, 90]]), "labels": torch.tensor([0])}
    drawn = draw_detections(grey(), found(([60, 90, 150, 120], 0.9, 1)), NAMES, target)
    assert drawn.getpixel((20, 60)) == drawn.getpixel((50, 30)) == (255, 255, 255)
    assert drawn.getpixel((70, 90)) == class_color(1)
    assert not changed(drawn)[32:70, 23:78].any()


def test_an_empty_truth_draws_nothing():
    target: Any = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    assert not changed(draw_detections(grey(), found(), NAMES, target)).any()


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_images_of_any_mode_come_back_in_colour(mode):
    drawn = draw_detections(grey().convert(mode), found(([50, 60, 150, 120], 0.9, 1)), NAMES)
    assert drawn.mode == "RGB"
    assert drawn.getpixel((50, 90)) == class_color(1)


@pytest.mark.parametrize("size", [(1, 1), (8, 200), (3000, 20)])
def test_odd_sizes_are_drawn_on(size):
    box = [0.0, 0.0, size[0] / 2, size[1] / 2]
    drawn = draw_detections(grey(*size), found((box, 0.9, 1)), NAMES)
    assert drawn.size == size
    assert changed(drawn).any()


def test_neighbouring_classes_have_distinct_colours_that_never_change():
    colors = [np.array(class_color(label)) for label in range(8)]
    assert min(np.abs(a - b).sum() for a, b in itertools.combinations(colors, 2)) > 60
    assert class_color(0) == (242, 36, 36)
    assert all(0 <= v <= 255 for label in range(500) for v in class_color(label))
