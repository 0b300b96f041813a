"""Anchors against numbers worked by hand from the published configuration (ssd_mobilenet_v1_coco)."""

import math

import pytest
import torch
from torch import Tensor

from tasks.ssd.anchors import anchor_shapes, make_anchors

MAPS_300 = [(19, 19), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)]
STARTS = [0, 1083, 1683, 1833, 1887, 1911]  # of each map's anchors: 19 * 19 * 3 = 1083, then 6 * side^2


@pytest.fixture
def anchors() -> Tensor:
    return make_anchors(anchor_shapes(6), MAPS_300, 300)


def centered(x: float, y: float, *sizes: tuple[float, float]) -> Tensor:
    """xyxy of boxes of these widths and heights around (x, y)."""
    return torch.tensor([[x - w / 2, y - h / 2, x + w / 2, y + h / 2] for w, h in sizes])


def test_there_are_1917_at_300_pixels(anchors):
    assert anchors.shape == (1917, 4)
    assert anchors.dtype == torch.float32


def test_the_first_map_has_three_at_its_first_location(anchors):
    # centre 300 / 19 / 2; scale 0.1 square, scale 0.2 at ratio 2 (60 * sqrt 2 wide, 60 / sqrt 2 high) and 1/2
    expected = centered(7.894737, 7.894737, (30, 30), (84.852814, 42.426407), (42.426407, 84.852814))
    torch.testing.assert_close(anchors[:3], expected)


def test_the_second_map_has_six_at_a_location_in_its_middle(anchors):
    # row 2, column 7 of 10: centre (225, 75); scale 0.35 is 105 pixels, between it and 0.5 lies sqrt(0.175)
    expected = centered(
        *(225, 75),
        *[(105, 105), (148.492424, 74.246212), (74.246212, 148.492424)],
        *[(181.865335, 60.621778), (60.621778, 181.865335), (125.499004, 125.499004)],
    )
    start = 1083 + (2 * 10 + 7) * 6
    torch.testing.assert_close(anchors[start : start + 6], expected)


def test_the_last_map_looks_from_the_middle_of_the_image(anchors):
    centers = (anchors[1911:, :2] + anchors[1911:, 2:]) / 2
    torch.testing.assert_close(centers, torch.full((6, 2), 150.0))
    expected = centered(150, 150, (285, 285), (403.050865, 201.525433))  # scale 0.95
    torch.testing.assert_close(anchors[1911:1913], expected)
    torch.testing.assert_close(anchors[1916:], centered(150, 150, (292.403830, 292.403830)))  # sqrt(0.95 * 1)


def test_scales_run_linearly_from_02_to_095(anchors):
    squares = [anchors[start, 2] - anchors[start, 0] for start in STARTS[1:]]
    expected = [300 * scale for scale in (0.35, 0.5, 0.65, 0.8, 0.95)]
    assert [float(side) for side in squares] == pytest.approx(expected)


def test_the_order_is_map_row_column_shape(anchors):
    shapes = [3, 6, 6, 6, 6, 6]
    for start, (rows, columns), count in zip(STARTS, MAPS_300, shapes, strict=True):
        for row in range(rows):
            for column in range(columns):
                first = start + (row * columns + column) * count
                center = (anchors[first : first + count, :2] + anchors[first : first + count, 2:]) / 2
                expected = torch.tensor([(column + 0.5) * 300 / columns, (row + 0.5) * 300 / rows])
                torch.testing.assert_close(center, expected.expand(count, 2), rtol=0, atol=1e-4)


def test_anchors_reach_beyond_the_image(anchors):
    assert anchors.min() < -20
    assert anchors.max() > 320


def test_areas_do_not_depend_on_the_ratio(anchors):
    width, height = (anchors[1083:1089, 2:] - anchors[1083:1089, :2]).unbind(1)
    torch.testing.assert_close(width * height, torch.tensor([105.0**2] * 5 + [125.499004**2]))
    torch.testing.assert_close(width / height, torch.tensor([1, 2, 0.5, 3, 1 / 3, 1]))


@pytest.mark.parametrize("maps", [1, 2, 6, 7])
def test_any_number_of_maps_spans_the_same_scales(maps):
    shapes = anchor_shapes(maps, 0.1, 0.9)
    assert [len(pairs) for pairs in shapes] == [3] + [6] * (maps - 1)
    assert shapes[0] == [(0.05, 1.0), (0.1, 2.0), (0.1, 0.5)]
    if maps > 1:
        assert shapes[-1][0] == (pytest.approx(0.9), 1.0)
        assert shapes[-1][-1] == (pytest.approx(math.sqrt(0.9)), 1.0)


def test_maps_need_not_be_square():
    anchors = make_anchors([[(0.5, 1.0)]], [(1, 2)], 100)
    assert anchors.tolist() == [[0, 25, 50, 75], [50, 25, 100, 75]]


def test_they_grow_with_the_resolution(anchors):
    torch.testing.assert_close(make_anchors(anchor_shapes(6), MAPS_300, 600), 2 * anchors)
