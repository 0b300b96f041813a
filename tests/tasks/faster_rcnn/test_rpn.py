"""The first stage: the order of its outputs, and its proposals against torchvision's and numbers worked by hand."""

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.rpn import RegionProposalNetwork

from tasks.faster_rcnn.anchors import anchor_sizes, make_anchors
from tasks.faster_rcnn.rpn import ProposalHead, propose
from tasks.shared.detection.boxes import SCALES, encode

SIDE = 96
ANCHORS = make_anchors(anchor_sizes((0.1, 0.2, 0.3), (0.5, 1, 2)), 6, 6, 16)  # 324


def random_outputs(batch: int, seed: int, spread: float) -> tuple[Tensor, Tensor]:
    """Logits (B, A, 2) and offsets (B, A, 4); the larger the spread, the further the boxes leave their anchors."""
    draw = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(batch, len(ANCHORS), 2, generator=draw)
    return logits, spread * torch.randn(batch, len(ANCHORS), 4, generator=draw)


def torchvisions(logits: Tensor, offsets: Tensor, count: int, iou: float) -> list[Tensor]:
    """Theirs have one logit an anchor, and are cut to the best before suppression (here: none is) and after it."""
    everything, wanted = ({"training": n, "testing": n} for n in (len(ANCHORS), count))
    network = RegionProposalNetwork(nn.Identity(), nn.Identity(), 0.7, 0.3, 256, 0.5, everything, wanted, iou)  # type: ignore[arg-type]
    boxes = BoxCoder(SCALES).decode(offsets.flatten(0, 1), [ANCHORS] * len(offsets)).view(len(offsets), -1, 4)
    sizes = [(SIDE, SIDE)] * len(offsets)
    found, _ = network.filter_proposals(boxes, logits[..., 1] - logits[..., 0], sizes, [len(ANCHORS)])
    return found


@pytest.mark.parametrize("spread", [0.3, 3.0])
@pytest.mark.parametrize(("count", "iou"), [(20, 0.7), (100, 0.7), (300, 0.3), (324, 1.0)])
def test_agrees_with_torchvisions_proposals(count, iou, spread):
    for seed in range(3):
        logits, offsets = random_outputs(3, seed, spread)
        boxes, found = propose(logits, offsets, ANCHORS, count, iou, SIDE, SIDE)
        assert boxes.shape == (3, count, 4)
        expected = torchvisions(logits, offsets, count, iou)
        assert found.tolist() == [len(own) for own in expected]
        for own, theirs in zip(boxes, expected, strict=True):
            torch.testing.assert_close(own[: len(theirs)], theirs, rtol=0, atol=1e-4)
            assert not own[len(theirs) :].any()


def test_a_case_worked_by_hand():
    anchors = torch.tensor([[0.0, 0, 40, 40], [4, 0, 44, 40], [-30, 20, 30, 60], [50, 50, 90, 90], [100, 0, 140, 40]])
    logits = torch.tensor([[[0.0, 2], [0, 3], [0, 1], [5, 5], [0, 9]]])
    offsets = torch.zeros(1, 5, 4)
    offsets[0, 3] = torch.tensor([5.0, 0, 0, 0])  # half its width to the right
    boxes, found = propose(logits, offsets, anchors, 4, 0.7, 80, SIDE)
    # The second is better than the first, which it overlaps by 36 / 44; the third and the fourth are cut off at the
    # border; the fifth would be the best, but lies outside.
    assert boxes.tolist() == [[[4, 0, 44, 40], [0, 20, 30, 60], [70, 50, 96, 80], [0, 0, 0, 0]]]
    assert found.tolist() == [3]


def test_nothing_but_boxes_outside_is_no_proposal():
    anchors = torch.tensor([[100.0, 0, 140, 40], [0, -60, 40, -10]])
    boxes, found = propose(torch.zeros(2, 2, 2), torch.zeros(2, 2, 4), anchors, 3, 0.7, SIDE, SIDE)
    assert found.tolist() == [0, 0]
    assert not boxes.any()


def test_logits_are_ranked_where_their_softmax_is_1():
    anchors = torch.tensor([[0.0, 0, 40, 40], [50, 50, 90, 90], [0, 50, 40, 90]])
    logits = torch.tensor([[[0.0, 100], [0, 300], [0, 200]]])
    assert logits.softmax(-1)[..., 1].unique().tolist() == [1]
    boxes, found = propose(logits, torch.zeros(1, 3, 4), anchors, 3, 0.7, SIDE, SIDE)
    assert torch.equal(boxes[0], anchors[[1, 2, 0]])
    assert found.tolist() == [3]


def test_bf16_outputs_give_fp32_proposals_without_gradient():
    logits, offsets = (t.bfloat16().requires_grad_() for t in random_outputs(2, 0, 1.0))
    boxes, _ = propose(logits, offsets, ANCHORS, 10, 0.7, SIDE, SIDE)
    assert boxes.dtype == torch.float32
    assert not boxes.requires_grad
    expected, _ = propose(logits.detach().float(), offsets.detach().float(), ANCHORS, 10, 0.7, SIDE, SIDE)
    assert torch.equal(boxes, expected)


def test_an_object_that_every_anchor_points_at_is_proposed_once():
    wanted = torch.tensor([10.0, 20, 60, 70])
    offsets = encode(wanted.expand_as(ANCHORS), ANCHORS)[None]
    boxes, found = propose(torch.zeros(1, len(ANCHORS), 2), offsets, ANCHORS, 5, 0.7, SIDE, SIDE)
    assert found.tolist() == [1]
    torch.testing.assert_close(boxes[0, 0], wanted, rtol=0, atol=1e-3)


def test_outputs_are_flattened_in_the_order_of_the_anchors():
    torch.manual_seed(0)
    head = ProposalHead(8, 3)
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=0.1)
    features = torch.rand(2, 8, 4, 5)
    logits, offsets = head(features)
    assert logits.shape == (2, 4 * 5 * 3, 2)
    assert offsets.shape == (2, 4 * 5 * 3, 4)
    wide = head.act(head.conv(features))
    grid = head.objectness(wide), head.offsets(wide)  # (B, 3 anchors x values, 4, 5)
    for row, column, anchor in [(0, 0, 0), (0, 1, 2), (2, 4, 1), (3, 0, 2)]:
        place = (row * 5 + column) * 3 + anchor
        torch.testing.assert_close(logits[:, place], grid[0][:, 2 * anchor : 2 * anchor + 2, row, column])
        torch.testing.assert_close(offsets[:, place], grid[1][:, 4 * anchor : 4 * anchor + 4, row, column])
