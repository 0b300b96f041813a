"""Crops: where they lie, and what comes out."""

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from tasks.shared.errors import UserError
from tasks.shared.images.crops import TrainCrop, center_crop, check_crop, random_box, random_crop


def ramp(height: int, width: int) -> torch.Tensor:
    """Red grows with x, green with y, from 0 to 255."""
    x = torch.linspace(0, 255, width).expand(height, width)
    y = torch.linspace(0, 255, height)[:, None].expand(height, width)
    return torch.stack([x, y, torch.zeros(height, width)]).round().to(torch.uint8)


@pytest.mark.parametrize(("height", "width"), [(300, 400), (77, 31), (31, 77), (10, 200)])
def testrandom_boxes_have_the_area_and_aspect_that_was_asked_for(height: int, width: int) -> None:
    rng = np.random.default_rng(0)
    crop = TrainCrop(area=(0.2, 0.6), aspect=(0.5, 2.0))
    for _ in range(300):
        left, top, w, h = random_box(width, height, rng, crop)
        assert 0 <= left <= width - w and 0 <= top <= height - h and w > 0 and h > 0
        assert 0.5 - 2 / h <= w / h <= 2.0 + 2 / h
        if height / width > 0.5:
            assert 0.2 - 0.05 <= w * h / (width * height) <= 0.6 + 0.05


def testrandom_boxes_go_everywhere() -> None:
    rng = np.random.default_rng(1)
    boxes = np.array([random_box(100, 100, rng, TrainCrop(area=(0.1, 0.1), aspect=(1.0, 1.0))) for _ in range(2000)])
    assert boxes[:, 0].min() == boxes[:, 1].min() == 0
    assert (boxes[:, 0] + boxes[:, 2]).max() == (boxes[:, 1] + boxes[:, 3]).max() == 100
    assert abs(boxes[:, 0].mean() - 34) < 2  # of 0 to 68


def test_a_image_too_narrow_for_any_try_is_cut_in_its_middle() -> None:
    left, top, w, h = random_box(400, 20, np.random.default_rng(0), TrainCrop(area=(0.9, 1.0)))
    assert (left, top, w, h) == ((400 - 27) // 2, 0, 27, 20)


def test_the_whole_image_is_squashed() -> None:
    image = ramp(60, 90)
    whole = random_crop(image, 30, np.random.default_rng(0), TrainCrop((1.0, 1.0), (1.5, 1.5), flip=0.0))
    assert torch.equal(whole, v2.functional.resize(image, [30, 30], antialias=True))


def test_half_of_the_images_are_mirrored() -> None:
    rng, image = np.random.default_rng(0), ramp(40, 40)
    crops = [random_crop(image, 8, rng, TrainCrop((1.0, 1.0), (1.0, 1.0), flip=0.5)) for _ in range(200)]
    mirrored = sum(int(c[0, 0, 0] > c[0, 0, -1]) for c in crops)
    assert 75 < mirrored < 125


@pytest.mark.parametrize(("height", "width"), [(200, 300), (300, 200), (64, 64), (40, 41), (500, 333)])
def test_the_short_side_crop_is_what_torchvision_composes(height: int, width: int) -> None:
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    theirs = v2.Compose([v2.Resize(73, antialias=True), v2.CenterCrop(64)])(image)  # 64 / 0.875 = 73.1
    assert torch.equal(center_crop(image, 64), theirs)


def test_a_very_long_image_is_cut_before_it_is_enlarged() -> None:
    image = ramp(1, 20_000)
    middle = center_crop(image, 64)
    assert middle.shape == (3, 64, 64) and abs(float(middle[0].float().mean()) - 127.5) < 2


def test_the_inception_crop_takes_the_middle_of_both_sides() -> None:
    crop = center_crop(ramp(80, 160), 32, "inception", 0.5)
    low, high = 255 * 0.25, 255 * 0.75
    for channel, line in ((0, crop[0, 16, :]), (1, crop[1, :, 16])):
        assert abs(float(line[0]) - low) < 4 and abs(float(line[-1]) - high) < 4, channel


@pytest.mark.parametrize(
    ("crop", "named"),
    [
        (TrainCrop(area=(0.0, 1.0)), r"data\.augment\.area=\[0\.0, 1\.0\]"),
        (TrainCrop(area=(0.5, 1.5)), r"data\.augment\.area"),
        (TrainCrop(aspect=(2.0, 1.0)), r"data\.augment\.aspect"),
        (TrainCrop(flip=2.0), r"data\.augment\.flip=2\.0"),
    ],
)
def test_impossible_settings_are_named(crop: TrainCrop, named: str) -> None:
    with pytest.raises(UserError, match=named):
        crop.checked()


def test_unknown_evaluation_crops_are_named() -> None:
    with pytest.raises(UserError, match=r"task\.crop='middle'.*short_side, inception"):
        check_crop("middle", 0.875)
    with pytest.raises(UserError, match=r"task\.crop_share=0"):
        check_crop("inception", 0)
