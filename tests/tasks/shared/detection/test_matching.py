"""Matching against a slow loop, torchvision's matcher and cases worked by hand."""

import pytest
import torch
from torch import Tensor
from torchvision.models.detection._utils import Matcher

from tasks.shared.detection.matching import BACKGROUND, IGNORED, match_anchors


def random_iou(boxes: int, anchors: int, seed: int) -> Tensor:
    """No two values are the same; about a third of them is zero, as most overlaps are."""
    draw = torch.Generator().manual_seed(seed)
    iou = torch.rand(boxes, anchors, generator=draw, dtype=torch.float64)
    return iou.masked_fill(torch.rand(boxes, anchors, generator=draw) < 0.3, 0)


def slow_match(iou: list[list[float]], positive: float, negative: float, force_best: bool) -> list[int]:
    matched = []
    for anchor in range(len(iou[0])):
        overlaps = [row[anchor] for row in iou]
        best = overlaps.index(max(overlaps))
        if overlaps[best] >= positive:
            matched.append(best)
        else:
            matched.append(IGNORED if overlaps[best] >= negative else BACKGROUND)
    if force_best:
        claims: dict[int, tuple[float, int]] = {}
        for box, row in enumerate(iou):
            if max(row) > 0:
                anchor = row.index(max(row))
                claims[anchor] = max(claims.get(anchor, (0.0, -1)), (max(row), box))
        for anchor, (_, box) in claims.items():
            matched[anchor] = box
    return matched


@pytest.mark.parametrize("force_best", [True, False])
@pytest.mark.parametrize(("positive", "negative"), [(0.5, None), (0.7, 0.3), (0.95, 0.9)])
@pytest.mark.parametrize(("boxes", "anchors"), [(1, 1), (1, 40), (7, 5), (12, 60), (40, 8)])
def test_agrees_with_a_slow_loop(boxes, anchors, positive, negative, force_best):
    for seed in range(10):
        iou = random_iou(boxes, anchors, seed)
        matched = match_anchors(iou, positive, negative, force_best)
        expected = slow_match(iou.tolist(), positive, positive if negative is None else negative, force_best)
        assert matched.dtype == torch.int64
        assert matched.tolist() == expected


@pytest.mark.parametrize(("positive", "negative"), [(0.7, 0.3), (0.5, 0.5), (0.5, 0.4)])
def test_thresholds_agree_with_torchvisions_matcher(positive, negative):
    iou = random_iou(6, 300, 0)
    iou[0, 0], iou[1:, 0] = positive, 0  # exactly on the thresholds
    iou[0, 1], iou[1:, 1] = negative, 0
    theirs = Matcher(positive, negative, allow_low_quality_matches=False)
    assert torch.equal(match_anchors(iou, positive, negative, force_best=False), theirs(iou))


@pytest.mark.parametrize("force_best", [True, False])
def test_without_boxes_every_anchor_is_background(force_best):
    assert match_anchors(torch.zeros(0, 3), 0.5, 0.3, force_best).tolist() == [BACKGROUND] * 3


@pytest.mark.parametrize(
    ("iou", "arguments", "expected"),
    [
        pytest.param(
            [[0.6, 0.4, 0.2]], {"positive": 0.5, "negative": 0.3}, [0, IGNORED, BACKGROUND], id="ignored-band"
        ),
        pytest.param([[0.1, 0.2, 0.0]], {"positive": 0.5}, [BACKGROUND, 0, BACKGROUND], id="best-is-forced"),
        pytest.param([[0.1, 0.2, 0.0]], {"positive": 0.5, "force_best": False}, [BACKGROUND] * 3, id="not-forced"),
        # Both want anchor 0; box 1 overlaps it more, and box 0 goes without.
        pytest.param([[0.3, 0.1], [0.4, 0.2]], {"positive": 0.5}, [1, BACKGROUND], id="two-want-one"),
        # Anchor 0 overlaps box 1 more, but is the best that box 0 has.
        pytest.param([[0.6, 0.1], [0.7, 0.9]], {"positive": 0.5}, [0, 1], id="forced-over-better-overlap"),
        pytest.param([[0.0, 0.0], [0.0, 0.8]], {"positive": 0.5}, [BACKGROUND, 1], id="no-overlap-forces-nothing"),
        pytest.param(
            [[0.4, 0.35]], {"positive": 0.5, "negative": 0.3}, [0, IGNORED], id="forced-out-of-the-ignored-band"
        ),
    ],
)
def test_cases_worked_by_hand(iou, arguments, expected):
    assert match_anchors(torch.tensor(iou), **arguments).tolist() == expected
