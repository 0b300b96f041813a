"""SSD's loss against a slow loop, torchvision's, and batches that have nothing to learn."""

import math

import pytest
import torch
from torch import nn
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD
from torchvision.ops import box_iou, sigmoid_focal_loss

from tasks.shared.detection.boxes import encode
from tasks.shared.detection.matching import match_anchors
from tasks.ssd.loss import CLASSIFICATIONS, SSDLoss
from tests.tasks.ssd.slow_loss import CLASSES, Problem, slow_loss, slow_smooth_l1


@pytest.mark.parametrize("classification", ["sigmoid", "softmax"])
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"mining_nms": None}, id="3-to-1"),
        pytest.param({"mining_nms": None, "negatives_per_positive": 0.7}, id="fewer-negatives-than-matches"),
        pytest.param({"mining_nms": None, "negatives_per_positive": 1000}, id="more-negatives-than-there-are"),
        pytest.param({"mining_nms": None, "min_negatives": 5}, id="some-negatives-always"),
        pytest.param({"mining_nms": None, "match_iou": 0.3}, id="loose-matches"),
        pytest.param({"mining_nms": 0.4, "negatives_per_positive": 1}, id="nms"),
        pytest.param({"mining_nms": 0.4, "mining_candidates": 12}, id="nms-and-few-candidates"),
        pytest.param({"mining_nms": 0.4, "mining_candidates": 12, "min_negatives": 100}, id="fewer-than-the-minimum"),
    ],
)
def test_agrees_with_a_slow_loop(classification, options):
    for seed in range(4):
        problem = Problem(seed)
        loss = problem.loss(classification=classification, **options)
        assert list(loss) == ["classification", "localization"]
        expected = slow_loss(problem, classification, **options)
        assert {name: value.item() for name, value in loss.items()} == pytest.approx(expected, rel=1e-4)


def test_the_published_settings_are_the_defaults():
    problem = Problem(anchors=300)
    expected = slow_loss(problem, "sigmoid", 0.5, 3, 0, 0.99, 3000)
    assert {name: value.item() for name, value in problem.loss().items()} == pytest.approx(expected, rel=1e-4)


def test_anchors_of_the_same_decoded_box_count_once():
    once = Problem(counts=(1,), anchors=40)
    once.boxes = [once.anchors[7:8] + 0.5]  # overlaps by far more than 0.5, so that both copies match
    twice = Problem(counts=(1,), anchors=40)
    twice.boxes = once.boxes
    twice.anchors, twice.logits, twice.offsets = (
        torch.cat([t, t], dim=-2) for t in (once.anchors, once.logits, once.offsets)
    )
    single, double = once.loss(mining_nms=0.99), twice.loss(mining_nms=0.99)
    for name in ("classification", "localization"):
        torch.testing.assert_close(2 * double[name], single[name])  # the same sum, over twice the matches
    assert twice.loss(mining_nms=None)["localization"] == pytest.approx(single["localization"])


@pytest.fixture
def torchvisions() -> SSD:
    return SSD(nn.Identity(), DefaultBoxGenerator([[2]]), (100, 100), CLASSES + 1, head=nn.Identity())


def test_softmax_agrees_with_torchvisions_ssd(torchvisions):
    problem = Problem(seed=5, counts=(4, 2, 0, 7))
    targets = [{"boxes": b, "labels": k + 1} for b, k in zip(problem.boxes, problem.labels, strict=True)]
    matched = [match_anchors(box_iou(b, problem.anchors), 0.5) for b in problem.boxes]
    expected = torchvisions.compute_loss(
        targets,
        {"bbox_regression": problem.offsets, "cls_logits": problem.logits},
        [problem.anchors] * 4,
        matched,
    )
    loss = problem.loss(classification="softmax", mining_nms=None)
    torch.testing.assert_close(loss["classification"], expected["classification"])
    torch.testing.assert_close(loss["localization"], expected["bbox_regression"])


def test_focal_agrees_with_torchvisions_over_all_anchors():
    problem = Problem(seed=6)
    classes = torch.stack(
        [SSDLoss().assign(problem.anchors, b, k)[0] for b, k in zip(problem.boxes, problem.labels, strict=True)]
    )
    one_hot = nn.functional.one_hot(classes, CLASSES + 1).float()
    matches = (classes > 0).sum()
    for alpha, gamma in ((0.25, 2.0), (0.6, 1.5)):
        expected = sigmoid_focal_loss(problem.logits, one_hot, alpha, gamma, reduction="sum") / matches
        loss = problem.loss(classification="focal", focal_alpha=alpha, focal_gamma=gamma)
        torch.testing.assert_close(loss["classification"], expected)
    torch.testing.assert_close(
        problem.loss(classification="focal")["localization"], problem.loss(mining_nms=None)["localization"]
    )


def test_targets_of_a_image_worked_by_hand():
    anchors = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 20], [50, 50, 60, 60], [80, 0, 90, 10]])
    boxes = torch.tensor([[0.0, 0, 10, 18], [52, 50, 62, 60]])
    classes, offsets = SSDLoss(match_iou=0.6).assign(anchors, boxes, torch.tensor([4, 0]))
    assert classes.tolist() == [0, 5, 1, 0]  # IoU 10 / 18, 18 / 20, 8 / 12 and none
    assert offsets[[0, 3]].tolist() == [[0, 0, 0, 0]] * 2
    torch.testing.assert_close(offsets[1], torch.tensor([0, -0.5, 0, 5 * math.log(0.9)]))
    torch.testing.assert_close(offsets[2], torch.tensor([2.0, 0, 0, 0]))
    torch.testing.assert_close(offsets[1:3], encode(boxes, anchors[1:3]))


# Batches with little or nothing in them


@pytest.mark.parametrize("classification", ["sigmoid", "softmax"])
@pytest.mark.parametrize("mining_nms", [0.99, None])
def test_a_batch_without_boxes_teaches_nothing_as_published(classification, mining_nms):
    problem = Problem(counts=(0, 0))
    options = {"classification": classification, "mining_nms": mining_nms}
    assert [value.item() for value in problem.loss(**options).values()] == [0, 0]
    assert not any(gradient.any() for gradient in problem.gradients(**options))


@pytest.mark.parametrize("classification", ["sigmoid", "softmax"])
@pytest.mark.parametrize("mining_nms", [0.99, None])
def test_a_batch_without_boxes_teaches_background_where_negatives_are_kept(classification, mining_nms):
    problem = Problem(counts=(0, 0))
    logits, offsets = problem.gradients(classification=classification, mining_nms=mining_nms, min_negatives=3)
    assert (logits != 0).any(-1).sum(1).tolist() == [3, 3]
    touched = logits[(logits != 0).any(-1)]
    assert (touched[:, 0] < 0).all()  # background is pushed up, the classes down
    assert (touched[:, 1:] > 0).all()
    assert not offsets.any()


def test_focal_learns_from_a_batch_without_boxes():
    logits, offsets = Problem(counts=(0, 0)).gradients(classification="focal")
    assert (logits[..., 0] < 0).all()
    assert not offsets.any()


def test_an_empty_image_of_a_half_empty_batch_gets_no_gradient():
    logits, offsets = Problem(counts=(3, 0)).gradients()
    assert logits[0].any()
    assert offsets[0].any()
    assert not logits[1].any()
    assert not offsets[1].any()


def test_the_gradient_reaches_the_matched_and_three_times_as_many_others():
    problem = Problem(seed=2, counts=(3,), anchors=200)
    logits, offsets = problem.gradients(mining_nms=None)
    positive = match_anchors(box_iou(problem.boxes[0], problem.anchors), 0.5) >= 0
    assert ((offsets[0] != 0).any(-1) == positive).all()
    touched = (logits[0] != 0).any(-1)
    assert (touched & positive).sum() == positive.sum() > 0
    assert touched.sum() == 4 * positive.sum()


def test_a_batch_of_one_image_and_one_box_counts_its_forced_match():
    anchors = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30]])
    boxes = [torch.tensor([[0.0, 0, 4, 4]])]  # IoU 0.16
    loss = SSDLoss("softmax")(torch.zeros(1, 2, 2), torch.zeros(1, 2, 4), anchors, boxes, [torch.tensor([0])])
    assert loss["classification"].item() == pytest.approx(2 * math.log(2))  # the match and the one negative
    errors = [10 * 0.3, 10 * 0.3, 5 * math.log(10 / 4), 5 * math.log(10 / 4)]
    assert loss["localization"].item() == pytest.approx(slow_smooth_l1(errors))


@pytest.mark.parametrize("classification", CLASSIFICATIONS)
@pytest.mark.parametrize("size", [1e4, -1e4, 1e6])
def test_extreme_outputs_give_finite_losses_and_gradients(classification, size):
    problem = Problem()
    signs = torch.randn(problem.logits.shape, generator=torch.Generator().manual_seed(0)).sign()
    problem.logits, problem.offsets = size * signs, size * problem.offsets
    assert all(value.isfinite() for value in problem.loss(classification=classification).values())
    assert all(gradient.isfinite().all() for gradient in problem.gradients(classification=classification))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classification": "hinge"}, "task.loss.classification='hinge'; expected one of sigmoid, softmax, focal"),
        ({"match_iou": 0}, "task.loss.match_iou=0"),
        ({"match_iou": 50}, "task.loss.match_iou=50"),
    ],
)
def test_bad_settings_are_named(options, message):
    with pytest.raises(ValueError) as error:
        SSDLoss(**options)
    assert message in str(error.value)
