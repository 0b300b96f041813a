"""Anchors against numbers worked by hand and torchvision's generator."""

import math

import pytest
import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator

from tasks.faster_rcnn.anchors import anchor_sizes, make_anchors

SCALES, RATIOS = (0.25, 0.5, 1.0, 2.0), (0.5, 1.0, 2.0)


def test_sizes_are_every_scale_of_256_pixels_with_every_ratio():
    sizes = anchor_sizes(SCALES, RATIOS)
    assert sizes.dtype == torch.float32
    # 64 pixels at ratio 1/2: 64 / sqrt 2 wide, 64 * sqrt 2 high
    expected = [[45.254834, 90.509668], [64, 64], [90.509668, 45.254834]]
    torch.testing.assert_close(sizes, torch.cat([torch.tensor(expected) * k for k in (1, 2, 4, 8)]))
    torch.testing.assert_close(sizes[:, 0] / sizes[:, 1], torch.tensor(RATIOS).repeat(4))


@pytest.mark.parametrize(("side", "count"), [(300, 4332), (600, 17328)])
def test_there_are_12_at_every_place_of_the_published_maps(side, count):
    cells = math.ceil(side / 16)  # 19 and 38
    anchors = make_anchors(anchor_sizes(SCALES, RATIOS), cells, cells, 16)
    assert anchors.shape == (count, 4)
    assert anchors.dtype == torch.float32


def test_they_stand_around_the_pixel_that_a_place_of_the_map_looks_at():
    anchors = make_anchors(anchor_sizes(SCALES, RATIOS), 19, 19, 16)
    torch.testing.assert_close(anchors[1], torch.tensor([-32.0, -32, 32, 32]))
    # row 2, column 7: centre (112, 32); the tenth is the first of 512 pixels, 362 wide and 724 high
    expected = [112 - 181.019336, 32 - 362.038672, 112 + 181.019336, 32 + 362.038672]
    torch.testing.assert_close(anchors[(2 * 19 + 7) * 12 + 9], torch.tensor(expected))


def test_the_order_is_row_column_size_and_maps_need_not_be_square():
    anchors = make_anchors(torch.tensor([[10.0, 20], [4, 4]]), 2, 3, 16)
    assert len(anchors) == 2 * 3 * 2
    for row in range(2):
        for column in range(3):
            first = (row * 3 + column) * 2
            x, y = 16 * column, 16 * row
            assert anchors[first].tolist() == [x - 5, y - 10, x + 5, y + 10]
            assert anchors[first + 1].tolist() == [x - 2, y - 2, x + 2, y + 2]


def torchvisions(ratios: tuple[float, ...]) -> torch.Tensor:
    """Theirs for a 3x5 map of stride 16, in our order.

    Their ratio is height / width, they go through the sizes within each ratio, and they round corners to pixels. The
    stride is given here: their forward would take the image's side over the map's, rounded down (15 at 300 pixels).
    """
    sizes = tuple(256 * scale for scale in SCALES)
    generator = AnchorGenerator((sizes,), (tuple(1 / ratio for ratio in ratios),))  # type: ignore[arg-type]
    (anchors,) = generator.grid_anchors([[3, 5]], [[torch.tensor(16), torch.tensor(16)]])
    return anchors.view(15, len(ratios), len(SCALES), 4).transpose(1, 2).reshape(-1, 4)


def test_agrees_with_torchvisions_generator_where_it_need_not_round():
    ratios = (0.25, 1.0, 4.0)  # whose roots are exact
    torch.testing.assert_close(make_anchors(anchor_sizes(SCALES, ratios), 3, 5, 16), torchvisions(ratios))


def test_agrees_with_torchvisions_generator_to_its_rounding():
    ours = make_anchors(anchor_sizes(SCALES, RATIOS), 3, 5, 16)
    torch.testing.assert_close(ours, torchvisions(RATIOS), rtol=0, atol=0.5)
    assert not torch.equal(ours, torchvisions(RATIOS))


@pytest.mark.parametrize(
    ("scales", "ratios"),
    [((), (1.0,)), ((1.0,), ()), ((-0.5, 1.0), (1.0,)), ((1.0,), (0.0,)), ((math.inf,), (1.0,)), ((math.nan,), (1.0,))],
)
def test_sizes_that_are_none_are_refused_by_key(scales, ratios):
    with pytest.raises(ValueError, match=r"task\.anchors\.scales=.*task\.anchors\.ratios=.*expected numbers above 0"):
        anchor_sizes(scales, ratios)
