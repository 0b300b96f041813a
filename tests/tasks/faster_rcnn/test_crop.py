"""Crops of a map against a slow loop, torch's own sampler and numbers worked by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.faster_rcnn.crop import crop_and_resize
from tests.tasks.faster_rcnn.conftest import random_boxes

STRIDE, SIDE = 16, 5


def random_map(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


def awkward_boxes() -> Tensor:
    """(2, 9, 4): any, and beyond the border, at it, without area, below a step of the map, the whole image."""
    boxes = random_boxes(2, 9).double()
    special = [[-30.0, -20, 50, 200], [96, 0, 96, 80], [7, 9, 7, 9], [31, 33, 33, 34], [0, 0, 96, 80], [16, 16, 32, 64]]
    boxes[1, :6] = torch.tensor(special, dtype=torch.float64)
    return boxes


def slow_crops(features: Tensor, boxes: Tensor) -> Tensor:
    batch, channels, height, width = features.shape
    crops = torch.zeros(batch * boxes.shape[1], channels, SIDE, SIDE, dtype=features.dtype)
    for number, (x1, y1, x2, y2) in enumerate(boxes.view(-1, 4).tolist()):
        grid = features[number // boxes.shape[1]]
        for row in range(SIDE):
            for column in range(SIDE):
                y = min(max((y1 + (y2 - y1) * row / (SIDE - 1)) / STRIDE, 0), height - 1)
                x = min(max((x1 + (x2 - x1) * column / (SIDE - 1)) / STRIDE, 0), width - 1)
                for near_y in (math.floor(y), math.floor(y) + 1):
                    for near_x in (math.floor(x), math.floor(x) + 1):
                        weight = (1 - abs(y - near_y)) * (1 - abs(x - near_x))
                        if weight > 0:
                            crops[number, :, row, column] += weight * grid[:, near_y, near_x]
    return crops


def torchs_crops(features: Tensor, boxes: Tensor) -> Tensor:
    steps = torch.linspace(0, 1, SIDE, dtype=boxes.dtype)
    low, high = boxes[..., None, :2], boxes[..., None, 2:]
    x, y = ((low + (high - low) * steps[:, None]) / STRIDE).unbind(-1)  # (B, P, SIDE)
    height, width = features.shape[-2:]
    x, y = x * 2 / (width - 1) - 1, y * 2 / (height - 1) - 1
    grid = torch.stack([x[:, :, None].expand(*x.shape, SIDE), y[..., None].expand(*y.shape, SIDE)], dim=-1)
    crops = [
        F.grid_sample(own.expand(len(places), -1, -1, -1), places, padding_mode="border", align_corners=True)
        for own, places in zip(features, grid, strict=True)
    ]
    return torch.cat(crops)


@pytest.mark.parametrize("oracle", [slow_crops, torchs_crops])
def test_agrees_with_another_way_to_sample(oracle):
    features, boxes = random_map(2, 3, 5, 6), awkward_boxes()
    crops = crop_and_resize(features, boxes, STRIDE, SIDE)
    assert crops.shape == (18, 3, SIDE, SIDE)
    torch.testing.assert_close(crops, oracle(features, boxes))


def test_a_ramp_gives_the_places_that_were_sampled():
    x, y = torch.arange(7.0).expand(8, 7), torch.arange(8.0)[:, None].expand(8, 7)
    crops = crop_and_resize(torch.stack([x, y])[None], torch.tensor([[[16.0, 32, 48, 80]]]), 16, 3)
    assert crops[0, 0].tolist() == [[1, 2, 3]] * 3
    assert crops[0, 1].tolist() == [[2] * 3, [3.5] * 3, [5] * 3]


def test_a_map_of_one_place_is_that_place_everywhere():
    crops = crop_and_resize(random_map(1, 4, 1, 1), random_boxes(1, 2).double(), 16)
    assert crops.shape == (2, 4, 14, 14)
    assert torch.equal(crops, random_map(1, 4, 1, 1).expand(2, 4, 14, 14))


def test_crops_lie_channels_last_whatever_the_map_does():
    for memory in (torch.contiguous_format, torch.channels_last):
        features = random_map(2, 8, 5, 6).contiguous(memory_format=memory)
        crops = crop_and_resize(features, random_boxes(2, 3).double(), STRIDE, SIDE)
        assert crops.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(crops, slow_crops(features, random_boxes(2, 3).double()))


def test_bf16_is_near_fp32_and_stays_bf16():
    features, boxes = random_map(2, 8, 5, 6, dtype=torch.float32), random_boxes(2, 4)
    half = features.bfloat16().requires_grad_()
    crops = crop_and_resize(half, boxes, STRIDE, SIDE)
    assert crops.dtype == torch.bfloat16
    torch.testing.assert_close(crops.float(), crop_and_resize(features, boxes, STRIDE, SIDE), rtol=0, atol=0.05)
    crops.sum().backward()
    assert half.grad is not None and half.grad.isfinite().all() and half.grad.any()


def test_gradients_of_the_map_are_exact_and_boxes_get_none():
    features = random_map(2, 2, 3, 4).requires_grad_()
    boxes = random_boxes(2, 3, side=64, size=40).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: crop_and_resize(x, boxes.detach(), STRIDE, SIDE), (features,))
    crop_and_resize(features, boxes, STRIDE, SIDE).square().sum().backward()
    assert features.grad is not None and features.grad.any()
    assert boxes.grad is None
