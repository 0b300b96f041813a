"""Augmentation: boxes go where their objects go, and the same image of the same epoch comes out the same."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tasks.shared.detection.annotations import read_annotations
from tasks.shared.detection.augment import flip_and_crop, random_crop
from tests.tasks.shared.detection.conftest import R, color_of_the_last, dataset, make_data, same


def seeds(count: int) -> Iterator[np.random.Generator]:
    return (np.random.default_rng(seed) for seed in range(count))


def test_boxes_whose_centre_is_cropped_away_go_with_their_labels():
    boxes = torch.tensor([[0.0, 0, 30, 30], [35, 35, 65, 65], [70, 70, 100, 100]])
    plane = torch.zeros(100, 100, dtype=torch.uint8)
    for (x1, y1, x2, y2), label in zip(boxes.int().tolist(), (7, 8, 9), strict=True):
        plane[y1:y2, x1:x2] = label
    seen = set()
    for rng in seeds(100):
        image, kept, labels = flip_and_crop(plane.expand(3, -1, -1), boxes, torch.tensor([7, 8, 9]), rng)
        seen.add(tuple(labels.tolist()))
        assert len(kept) == len(labels) > 0
        for (x1, y1, x2, y2), label in zip(kept.int().tolist(), labels.tolist(), strict=True):
            assert (image[:, y1:y2, x1:x2] == label).all()  # the box is all of what is left of the object
            assert (image == label).sum() == 3 * (y2 - y1) * (x2 - x1)
    assert {(7, 8, 9), (7, 8), (8, 9), (8,)} < seen


@pytest.mark.parametrize(("width", "height"), [(300, 200), (90, 100), (40, 40)])
def test_crops_lie_in_the_image_keep_a_centre_and_are_neither_small_nor_narrow(width, height):
    boxes = np.array([[0.1, 0.1, 0.3, 0.5], [0.4, 0.3, 0.9, 0.8]]) * (width, height, width, height)
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    whole = 0
    for rng in seeds(150):
        crop = random_crop(boxes, height, width, rng)
        if crop is None:
            whole += 1
            continue
        left, top, right, bottom = crop
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        assert right - left >= 0.3 * width - 1
        assert bottom - top >= 0.3 * height - 1
        assert 0.45 < (right - left) / (bottom - top) < 2.2  # 0.5 to 2, before it is rounded to whole pixels
        assert any(left < x < right and top < y < bottom for x, y in centers)
    assert 0 < whole < 90


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (10, 1000), (1000, 10)])
def test_tiny_and_narrow_images_survive_augmentation(height, width):
    boxes = torch.tensor([[0.0, 0, width, height]])
    for rng in seeds(20):
        image, kept, labels = flip_and_crop(torch.zeros(3, height, width), boxes, torch.tensor([1]), rng)
        assert kept.tolist() == [[0, 0, image.shape[-1], image.shape[-2]]]
        assert labels.tolist() == [1]


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0, 0), (0.5, 50, 110), (1.0, 140, 190)])
def test_only_a_share_of_the_images_is_cropped(share, low, high):
    boxes = torch.tensor([[20.0, 20, 80, 80]])
    cropped = 0
    for rng in seeds(200):
        image, kept, _ = flip_and_crop(torch.zeros(3, 100, 100), boxes, torch.tensor([1]), rng, share)
        cropped += image.shape != (3, 100, 100)
        assert image.shape != (3, 100, 100) or torch.equal(kept, boxes)  # symmetric: a flip leaves the box where it is
    assert low <= cropped <= high  # 6 of 7 are cropped at share 1, some of them by nothing


def test_half_of_the_images_are_flipped_empty_ones_too():
    image = torch.zeros(3, 4, 8, dtype=torch.uint8)
    image[..., 0] = 255
    flipped = 0
    for rng in seeds(200):
        turned, boxes, labels = flip_and_crop(image, torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), rng)
        assert (boxes.shape, labels.shape) == ((0, 4), (0,))
        flipped += int(turned[0, 0, -1] == 255)
    assert 70 < flipped < 130


# In a data set


def test_a_image_is_augmented_alike_in_whatever_order_it_comes(places):
    data = dataset(places[0], augment=True)
    forwards = [data[2, index][0] for index in range(5)]
    backwards = [data[2, index][0] for index in reversed(range(5))][::-1]
    assert all(torch.equal(a, b) for a, b in zip(forwards, backwards, strict=True))
    assert not all(torch.equal(a, data[1, index][0]) for index, a in enumerate(forwards))


def test_augmentation_leaves_the_global_generator_and_the_annotations_alone(places):
    table = read_annotations(Path(places[0]["annotations"]))
    boxes, labels = table.boxes.copy(), table.labels.copy()
    state = torch.get_rng_state()
    data = dataset(places[0], augment=True, table=table)
    for epoch in range(10):
        for index in range(len(data)):
            data[epoch, index]
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(table.boxes, boxes)
    np.testing.assert_array_equal(table.labels, labels)


def test_augmented_boxes_lie_in_the_image_and_on_their_objects(places):
    plain, augmented = dataset(places[0]), dataset(places[0], augment=True)
    changed = looked_at = 0
    for epoch, index in ((e, i) for e in range(12) for i in range(5)):
        (_, before), (image, target) = plain[0, index], augmented[epoch, index]
        boxes, labels = target["boxes"], target["labels"]
        assert image.shape == (3, R, R)
        assert boxes.dtype == torch.float32
        assert len(boxes) == len(labels) > 0
        assert (boxes >= 0).all()
        assert (boxes <= R).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        changed += not torch.equal(boxes, before["boxes"])
        if len(boxes) == len(before["boxes"]) and (boxes[-1, 2:] - boxes[-1, :2] > 8).all():
            assert color_of_the_last(image, boxes) == labels[-1]
            looked_at += 1
    assert changed > 40
    assert looked_at > 20


def test_without_crops_a_image_is_at_most_flipped(places):
    data: Any = make_data(places, crop_share=0.0, batch_size=1).train_loader(0)
    for index in range(5):
        plain, before = dataset(places[0])[0, index]
        for epoch in range(4):
            image, target = data.dataset[epoch, index]
            flipped = not torch.equal(image, plain)
            x1, y1, x2, y2 = before["boxes"].unbind(1)
            expected = torch.stack([R - x2, y1, R - x1, y2], dim=1) if flipped else before["boxes"]
            torch.testing.assert_close(target["boxes"], expected)
            if flipped:
                assert (image.int() - plain.flip(-1).int()).abs().max() <= 2  # resizing rounds


def test_validation_is_never_augmented(places):
    data = make_data(places, augment=True)
    assert same(list(data.val_loader()), list(data.val_loader()))
    plain = dataset(places[1])
    images = torch.cat([batch.images for batch in data.val_loader()])
    assert all(torch.equal(images[index], plain[0, index][0]) for index in range(4))
