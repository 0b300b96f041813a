"""The drawn detection sample keeps its promised difficulty: everything is measured on the written files."""

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from tasks.shared.detection import sample
from tasks.shared.detection.sample import draw_detection_sample

SPLITS = ("train", "val")
MEASURED = 80  # images of either split whose pixels are measured

# pycocotools' own arrays are behind numpy's interface; nothing here can change that.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("detection") / "sample"
    draw_detection_sample(folder)
    return folder


def load(root: Path, split: str) -> tuple[dict, list[list[dict]]]:
    """The instances of a split and the annotations of each of its images, in order."""
    instances = json.loads((root / "annotations" / f"instances_{split}.json").read_text())
    by_image = defaultdict(list)
    for annotation in instances["annotations"]:
        by_image[annotation["image_id"]].append(annotation)
    return instances, [by_image[image["id"]] for image in instances["images"]]


def boxes_of(annotations: list[dict]) -> np.ndarray:
    """Boxes [n, 4] as left, top, right, bottom in pixels."""
    boxes = np.array([annotation["bbox"] for annotation in annotations], float).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)


def shared_pixels(boxes: np.ndarray) -> np.ndarray:
    """Intersections [n, n] of boxes with each other, in pixels."""
    sides = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) - np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    return sides.clip(0).prod(2)


def mask_of(annotation: dict, height: int, width: int) -> np.ndarray:
    return coco_mask.decode(coco_mask.frPyObjects(annotation["segmentation"], height, width))[..., 0].astype(bool)


def in_blocks(values: np.ndarray, side: int = 8) -> np.ndarray:
    """Whole blocks of an image [height, width] as [rows, columns, side * side]."""
    rows, columns = values.shape[0] // side, values.shape[1] // side
    blocks = values[: rows * side, : columns * side].reshape(rows, side, columns, side)
    return blocks.swapaxes(1, 2).reshape(rows, columns, -1)


def steps(values: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Differences of the horizontal neighbours that both are counted, 0..255."""
    return np.abs(np.diff(values, axis=1))[counted[:, 1:] & counted[:, :-1]]


@pytest.fixture(scope="module")
def measured(root) -> dict[str, list]:
    """Measurements of the pixels, per background and per object with enough visible and colourful ones."""
    found = defaultdict(list)
    for split in SPLITS:
        instances, objects = load(root, split)
        for image, annotations in list(zip(instances["images"], objects, strict=True))[:MEASURED]:
            photo = Image.open(root / split / image["file_name"])
            grey = np.asarray(photo.convert("L"), float)
            hue, saturation, value = np.moveaxis(np.asarray(photo.convert("HSV"), int), 2, 0)
            colourful = (saturation > 110) & (value > 60)

            free = np.ones(grey.shape, bool)
            for left, top, right, bottom in boxes_of(annotations).astype(int):
                free[top : bottom + 1, left : right + 1] = False
            found["fine"].append(steps(grey, free).mean())
            found["sharp"].append((steps(grey, free) > 35).mean())
            found["coarse"].append(steps(in_blocks(grey).mean(2), in_blocks(free).min(2)).mean())
            found["hues"].append(np.histogram(hue[free & colourful], 12, (0, 256))[0])

            seen = np.zeros(grey.shape, int)  # number of the topmost object, from 1
            for index, annotation in enumerate(annotations, 1):
                seen[mask_of(annotation, *grey.shape)] = index
            for index, annotation in enumerate(annotations, 1):
                angles = hue[(seen == index) & colourful] * 2 * np.pi / 256
                if len(angles) > 100:
                    angle = np.degrees(np.angle(np.exp(1j * angles).mean()))
                    found["objects"].append((annotation["category_id"], angle, grey[seen == index].std()))
    return found


def test_writes_the_coco_layout(root):
    assert sorted(p.name for p in root.iterdir()) == ["annotations", "sample.json", "train", "val"]
    for split, count in zip(SPLITS, (400, 100), strict=True):
        instances, _ = load(root, split)
        assert {"info", "licenses", "images", "annotations", "categories"} == set(instances)
        assert len(instances["images"]) == count == len({image["id"] for image in instances["images"]})
        names = [image["file_name"] for image in instances["images"]]
        assert sorted(names) == sorted(p.name for p in (root / split).iterdir())
        ids = [annotation["id"] for annotation in instances["annotations"]]
        assert len(set(ids)) == len(ids)
        assert {a["image_id"] for a in instances["annotations"]} <= {image["id"] for image in instances["images"]}
        for annotation in instances["annotations"]:
            assert annotation["iscrowd"] == 0
            assert annotation["bbox"] == [round(value, 2) for value in annotation["bbox"]]


def test_classes_have_sparse_ids_and_are_in_both_splits(root):
    for split in SPLITS:
        instances, _ = load(root, split)
        ids = [category["id"] for category in instances["categories"]]
        assert len(ids) == 6 == len({category["name"] for category in instances["categories"]})
        assert max(ids) > len(ids)  # gaps, so that nobody takes ids for indices
        counts = np.array([sum(a["category_id"] == number for a in instances["annotations"]) for number in ids])
        assert counts.sum() == len(instances["annotations"])
        assert counts.min() > 0.1 * counts.sum()


def test_images_vary_in_size(root):
    for split in SPLITS:
        instances, _ = load(root, split)
        sizes = np.array([(image["width"], image["height"]) for image in instances["images"]])
        for image, size in zip(instances["images"], sizes, strict=True):
            with Image.open(root / split / image["file_name"]) as photo:
                assert photo.format == "JPEG" and photo.mode == "RGB" and photo.size == tuple(size)
        assert sizes.min() >= 260 and sizes.max() <= 360
        assert sizes.std(0).min() > 20
        assert np.log(sizes[:, 0] / sizes[:, 1]).std() > 0.1


def test_sizes_and_positions_of_objects(root):
    for split in SPLITS:
        instances, objects = load(root, split)
        for image, annotations in zip(instances["images"], objects, strict=True):
            boxes = boxes_of(annotations)
            assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= (image["width"], image["height"])).all()
        sides = np.array([annotation["bbox"][2:] for annotation in instances["annotations"]])
        longer = sides.max(1)
        assert longer.min() >= 32 and longer.max() <= 180
        assert 0.17 <= (longer < 48).mean() <= 0.25
        assert (longer > 120).mean() > 0.1
        proportions = sides[:, 0] / sides[:, 1]
        assert (proportions < 0.85).mean() > 0.1 and (proportions > 1 / 0.85).mean() > 0.1


def test_objects_overlap_but_none_is_hidden(root):
    for split in SPLITS:
        overlapping = []
        for annotations in load(root, split)[1]:
            boxes = boxes_of(annotations)
            areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
            shared = shared_pixels(boxes)
            ious = shared / (areas[:, None] + areas - shared)
            overlapping.append(np.where(np.eye(len(boxes)), 0, ious).max(1, initial=0) > 0.05)
            assert (np.triu(shared, 1).sum(1) <= 0.43 * areas).all()  # all later ones together
        assert np.concatenate(overlapping).mean() >= 0.15


def test_number_of_objects(root):
    for split in SPLITS:
        counts = np.array([len(annotations) for annotations in load(root, split)[1]])
        assert 0.05 <= (counts == 0).mean() <= 0.09
        assert 0.12 <= (counts >= 6).mean() <= 0.18
        assert counts.max() == 9
        assert set(range(1, 6)) <= set(counts.tolist())


def test_segmentation_box_and_area_agree(root):
    instances, objects = load(root, "val")
    for image, annotations in zip(instances["images"], objects, strict=True):
        for annotation in annotations:
            mask = mask_of(annotation, image["height"], image["width"])
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            ends = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
            # A sharp corner may be thinner than a pixel of the mask.
            np.testing.assert_allclose(boxes_of([annotation])[0], ends, atol=2.5)
            assert mask.sum() == pytest.approx(annotation["area"], rel=0.05, abs=15)


def test_drawn_pixels_are_where_the_annotation_says():
    for seed in range(60):
        black, white = (Image.new("RGB", (300, 280), colour) for colour in ("black", "white"))
        annotation = sample._draw_object(np.random.default_rng(seed), black, [], [])
        assert annotation is not None
        assert annotation == sample._draw_object(np.random.default_rng(seed), white, [], [])
        opacity = 1 - (np.asarray(white, float) - np.asarray(black, float)).mean(2) / 255
        assert opacity.sum() == pytest.approx(annotation["area"], rel=0.01)
        drawn, mask = opacity > 0.5, mask_of(annotation, 280, 300)
        assert (drawn & mask).sum() / (drawn | mask).sum() > 0.92
        rows, columns = np.flatnonzero((opacity > 0.1).any(1)), np.flatnonzero((opacity > 0.1).any(0))
        ends = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        np.testing.assert_allclose(boxes_of([annotation])[0], ends, atol=1.5)


def test_backgrounds_are_cluttered(measured):
    fine, sharp, coarse = (np.array(measured[name]) for name in ("fine", "sharp", "coarse"))
    assert fine.min() > 3 and fine.mean() > 6
    assert coarse.min() > 4.5 and coarse.mean() > 7  # camera noise and a gradient alone give about 1
    assert sharp.min() > 0.001 and sharp.mean() > 0.009  # lines, scribbles and polygons
    hues = np.sum(measured["hues"], 0)
    assert (hues / hues.sum()).min() > 0.015  # distractors of all hues, if pale


def test_objects_are_textured(measured):
    classes, _, deviations = (np.array(column) for column in zip(*measured["objects"], strict=True))
    for number in np.unique(classes):
        lowest, middle = np.percentile(deviations[classes == number], [5, 50])
        assert lowest > 18 and middle > 30  # shading and camera noise alone give about 10


def test_hue_helps_but_does_not_tell_the_class(measured):
    classes, hues, _ = (np.array(column) for column in zip(*measured["objects"], strict=True))
    centres, astray = [], []
    for number in np.unique(classes):
        own = hues[classes == number]
        apart = np.abs((own[:, None] - own + 180) % 360 - 180)
        middle = np.median(apart, 0).argmin()
        centres.append(own[middle])
        astray += (apart[middle] > 45).tolist()
    assert 0.06 < np.mean(astray) < 0.25
    between = np.abs((np.array(centres)[:, None] - centres + 180) % 360 - 180) + 360 * np.eye(len(centres))
    assert between.min() > 25
