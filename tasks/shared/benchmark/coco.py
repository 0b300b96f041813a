"""COCO's evaluation against pycocotools'."""

import copy
from functools import partial
from typing import Any

import numpy as np

from tasks.shared.benchmark.suite import Options, Result, Suite
from tasks.shared.benchmark.timing import compare
from tasks.shared.detection.evaluate import evaluate_detections

CLASSES = 80
OBJECTS = 7.3  # an image, the mean of COCO's val2017
FOUND = 100  # detections an image, as many as COCO counts
SIDE = 640  # pixels
MOST_ROUNDS = 3
EQUAL = 1e-12  # pycocotools adds 2e-16 to the counts that it divides by


def coco_suite(options: Options) -> Suite:
    """Detections in COCO's results format to the 12 numbers and AP by class, drawn to be like a good detector's.

    Ours: `evaluate_detections`, as training, tools/eval.py and the others call it. Both sides get copies of the same
    truth and detections, as both write into them.
    """
    truth, detections = draw_evaluation(options.coco_pictures)
    ids = [image["id"] for image in truth["images"]]
    ours, peer = (
        partial(evaluate_detections, *copy.deepcopy((truth, detections)), ids, backend)
        for backend in ("faster", "pycocotools")
    )
    figures, theirs = ours(), peer()
    times = compare(ours, peer, min(options.rounds, MOST_ROUNDS))
    facts = {"detections": len(detections), "AP": round(figures["AP"], 3)}
    result = Result(f"{len(ids):,} images", facts, times, {"equal_numbers": are_equal(figures, theirs)})
    return Suite("ours against pycocotools", [result])


def are_equal(ours: dict[str, float], theirs: dict[str, float]) -> bool:
    return ours.keys() == theirs.keys() and all(abs(ours[name] - theirs[name]) <= EQUAL for name in ours)


def draw_evaluation(records: int, seed: int = 0) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Truth as COCO's instances dict, one object in fifty a crowd, and FOUND detections an image.

    Of the objects nine in ten are found, with boxes and scores the worse the smaller they are; all other detections
    are anywhere, with low scores.
    """
    rng = np.random.default_rng(seed)
    counts = rng.poisson(OBJECTS, records)
    images = [{"id": 1 + number, "width": SIDE, "height": SIDE} for number in range(records)]
    annotations: list[dict[str, Any]] = []
    detections: list[dict[str, Any]] = []
    for image, count in zip(images, counts, strict=True):
        truth, classes = _draw_boxes(count, rng), rng.integers(1, CLASSES + 1, count)
        areas = truth[:, 2] * truth[:, 3]
        for box, area, category in zip(truth.tolist(), areas.tolist(), classes.tolist(), strict=True):
            about = {"id": len(annotations) + 1, "image_id": image["id"], "category_id": category}
            annotations.append(about | {"bbox": box, "area": area, "iscrowd": int(rng.random() < 0.02)})
        near = np.flatnonzero(rng.random(count) < 0.9)[:FOUND]
        rough = truth[near] + rng.normal(0, 0.1, (len(near), 4)) * truth[near][:, [2, 3, 2, 3]]
        boxes = np.concatenate([rough, _draw_boxes(FOUND - len(near), rng)])
        boxes[:, 2:] = np.maximum(boxes[:, 2:], 1)
        sure = np.concatenate([rng.beta(4, 2, len(near)), rng.beta(1, 8, FOUND - len(near))])
        found = np.concatenate([classes[near], rng.integers(1, CLASSES + 1, FOUND - len(near))])
        for box, score, category in zip(boxes.round(3).tolist(), sure.tolist(), found.tolist(), strict=True):
            about = {"image_id": image["id"], "category_id": category}
            detections.append(about | {"bbox": box, "score": score})
    categories = [{"id": number, "name": f"class {number}"} for number in range(1, CLASSES + 1)]
    return {"images": images, "annotations": annotations, "categories": categories}, detections


def _draw_boxes(count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, 4) x, y, width, height in pixels, of all of COCO's sizes: from 8 pixels to most of the image."""
    sizes = np.exp(rng.uniform(np.log(8), np.log(0.8 * SIDE), (count, 2)))
    return np.concatenate([rng.uniform(0, 1, (count, 2)) * (SIDE - sizes), sizes], axis=1).round(3)
