"""The box coder against its own inverse, torchvision's and numbers worked by hand."""

import math

import pytest
import torch
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder

from tasks.shared.detection.boxes import clip, decode, encode, to_centers

ANCHOR = torch.tensor([0.0, 0, 10, 20])  # centre (5, 10), size (10, 20)


def random_boxes(count: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Sides of 4 to 204 pixels: within the growth that the coder allows."""
    draw = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=draw, dtype=dtype) * 300 - 20
    return torch.cat([corner, corner + 4 + 200 * torch.rand(count, 2, generator=draw, dtype=dtype)], dim=1)


@pytest.mark.parametrize("scales", [(10.0, 10.0, 5.0, 5.0), (1.0, 1.0, 1.0, 1.0)])
def test_encode_and_decode_are_each_others_inverse(scales):
    boxes, anchors = random_boxes(500, 0), random_boxes(500, 1)
    offsets = encode(boxes, anchors, scales)
    torch.testing.assert_close(decode(offsets, anchors, scales), boxes, rtol=0, atol=1e-9)
    torch.testing.assert_close(encode(decode(offsets, anchors, scales), anchors, scales), offsets, rtol=0, atol=1e-9)


def test_single_precision_is_exact_to_a_thousandth_of_a_pixel():
    boxes, anchors = random_boxes(500, 0, torch.float32), random_boxes(500, 1, torch.float32)
    torch.testing.assert_close(decode(encode(boxes, anchors), anchors), boxes, rtol=0, atol=1e-3)


def test_agrees_with_torchvisions_coder():
    theirs = BoxCoder((10.0, 10.0, 5.0, 5.0))
    boxes, anchors = random_boxes(200, 2), random_boxes(200, 3)
    torch.testing.assert_close(encode(boxes, anchors), theirs.encode_single(boxes, anchors))
    offsets = 10 * torch.randn(200, 4, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    offsets[:20, 2:] = 50  # beyond the limit of growth
    torch.testing.assert_close(decode(offsets, anchors), theirs.decode_single(offsets, anchors))


@pytest.mark.parametrize(
    ("box", "offsets"),
    [
        ([0.0, 0, 10, 20], [0.0, 0, 0, 0]),
        ([10.0, 10, 30, 20], [15.0, 2.5, 5 * math.log(2), -5 * math.log(2)]),  # centre (20, 15), size (20, 10)
        ([-1.0, 0, 9, 20], [-1.0, 0, 0, 0]),  # a tenth of the width to the left
    ],
)
def test_offsets_worked_by_hand(box, offsets):
    torch.testing.assert_close(encode(torch.tensor(box), ANCHOR), torch.tensor(offsets))
    torch.testing.assert_close(decode(torch.tensor(offsets), ANCHOR), torch.tensor(box))


def test_centres_and_sizes_are_x_first():
    center, size = to_centers(torch.tensor([[[1.0, 2, 4, 10]]]))
    assert (center.tolist(), size.tolist()) == ([[[2.5, 6]]], [[[3, 8]]])


def test_anchors_are_shared_by_the_images_of_a_batch():
    anchors = random_boxes(7, 5)
    offsets = torch.randn(3, 7, 4, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    together = decode(offsets, anchors)
    assert together.shape == (3, 7, 4)
    for one, alone in zip(together, offsets, strict=True):
        assert torch.equal(one, decode(alone, anchors))


def test_a_box_grows_at_most_to_62_times_its_anchor_and_shrinks_to_a_point():
    grown = decode(torch.tensor([0.0, 0, 1e30, 1e30]), ANCHOR)
    _, size = to_centers(grown)
    torch.testing.assert_close(size, torch.tensor([10.0, 20]) * 1000 / 16)
    assert decode(torch.tensor([0.0, 0, -1e30, -1e30]), ANCHOR).tolist() == [5, 10, 5, 10]


def test_no_boxes_give_no_offsets():
    assert encode(torch.zeros(0, 4), torch.zeros(0, 4)).shape == (0, 4)
    assert decode(torch.zeros(0, 4), torch.zeros(0, 4)).shape == (0, 4)


def test_clip_cuts_at_the_border_of_a_image_that_is_not_square():
    boxes = torch.tensor([[[-5.0, -6, 500, 600], [1, 2, 3, 4]], [[150, 250, 160, 260], [-9, -9, -1, -1]]])
    expected = [[[0, 0, 100, 200], [1, 2, 3, 4]], [[100, 200, 100, 200], [0, 0, 0, 0]]]
    assert clip(boxes, height=200, width=100).tolist() == expected
