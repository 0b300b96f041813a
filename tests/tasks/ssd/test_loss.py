"""SSD's loss against a slow loop, torchvision's, and batches that have nothing to learn."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD
from torchvision.ops import box_iou, sigmoid_focal_loss

from tasks.shared.detection.boxes import encode
from tasks.shared.detection.matching import match_anchors
from tasks.ssd.loss import CLASSIFICATIONS, SSDLoss

CLASSES = 3
ANCHORS = 80


def random_boxes(count: int, draw: torch.Generator, low: float = 10, high: float = 60) -> Tensor:
    corner = torch.rand(count, 2, generator=draw) * (100 - low)
    return torch.cat([corner, corner + low + (high - low) * torch.rand(count, 2, generator=draw)], dim=1)


class Problem:
    """Random anchors, outputs and targets; the last picture has no boxes."""

    def __init__(self, seed: int = 0, counts: tuple[int, ...] = (4, 1, 0), anchors: int = ANCHORS):
        draw = torch.Generator().manual_seed(seed)
        self.anchors = random_boxes(anchors, draw)
        self.logits = 2 * torch.randn(len(counts), anchors, CLASSES + 1, generator=draw)
        self.offsets = torch.randn(len(counts), anchors, 4, generator=draw)
        self.boxes = [random_boxes(count, draw) for count in counts]
        self.labels = [torch.randint(CLASSES, (count,), generator=draw) for count in counts]

    def loss(self, **options: Any) -> dict[str, Tensor]:
        return SSDLoss(**options)(self.logits, self.offsets, self.anchors, self.boxes, self.labels)

    def gradients(self, **options: Any) -> tuple[Tensor, Tensor]:
        self.logits.requires_grad_(), self.offsets.requires_grad_()
        total = torch.stack(list(self.loss(**options).values())).sum()
        logits, offsets = torch.autograd.grad(total, (self.logits, self.offsets))
        return logits, offsets


# An independent version, one anchor at a time


def slow_iou(a: list[float], b: list[float]) -> float:
    w, h = (max(min(a[i + 2], b[i + 2]) - max(a[i], b[i]), 0) for i in (0, 1))
    areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
    return w * h / (sum(areas) - w * h)


def slow_match(anchors: list[list[float]], boxes: list[list[float]], match_iou: float) -> list[int]:
    """A box's index or -1 for each anchor."""
    matched = []
    for anchor in anchors:
        overlaps = [slow_iou(anchor, box) for box in boxes]
        matched.append(overlaps.index(max(overlaps)) if boxes and max(overlaps) >= match_iou else -1)
    forced: dict[int, tuple[float, int]] = {}
    for index, box in enumerate(boxes):
        overlaps = [slow_iou(anchor, box) for anchor in anchors]
        best = overlaps.index(max(overlaps))
        forced[best] = max(forced.get(best, (0.0, -1)), (overlaps[best], index))
    for best, (overlap, index) in forced.items():
        matched[best] = index if overlap > 0 else matched[best]
    return matched


def slow_encode(box: list[float], anchor: list[float]) -> list[float]:
    offsets = []
    for i in (0, 1):
        center, size = (box[i] + box[i + 2]) / 2, box[i + 2] - box[i]
        anchor_center, anchor_size = (anchor[i] + anchor[i + 2]) / 2, anchor[i + 2] - anchor[i]
        offsets.append((10 * (center - anchor_center) / anchor_size, 5 * math.log(size / anchor_size)))
    return [offsets[0][0], offsets[1][0], offsets[0][1], offsets[1][1]]


def slow_decode(offsets: list[float], anchor: list[float]) -> list[float]:
    box = [0.0] * 4
    for i in (0, 1):
        anchor_size = anchor[i + 2] - anchor[i]
        center = (anchor[i] + anchor[i + 2]) / 2 + offsets[i] / 10 * anchor_size
        size = anchor_size * math.exp(offsets[i + 2] / 5)
        box[i], box[i + 2] = center - size / 2, center + size / 2
    return box


def slow_class_loss(logits: list[float], target: int, classification: str) -> float:
    if classification == "softmax":
        return math.log(sum(math.exp(v) for v in logits)) - logits[target]
    return sum(math.log(1 + math.exp(-v if index == target else v)) for index, v in enumerate(logits))


def slow_smooth_l1(errors: list[float]) -> float:
    return sum(0.5 * e * e if abs(e) < 1 else abs(e) - 0.5 for e in errors)


def slow_loss(
    problem: Problem,
    classification: str,
    match_iou: float = 0.5,
    negatives_per_positive: float = 3.0,
    min_negatives: int = 0,
    mining_nms: float | None = None,
    mining_candidates: int = 3000,
) -> dict[str, float]:
    anchors = problem.anchors.tolist()
    totals = {"classification": 0.0, "localization": 0.0}
    matches = 0
    for logits, offsets, boxes, labels in zip(
        problem.logits.tolist(),
        problem.offsets.tolist(),
        [b.tolist() for b in problem.boxes],
        [k.tolist() for k in problem.labels],
        strict=True,
    ):
        matched = slow_match(anchors, boxes, match_iou)
        matches += sum(index >= 0 for index in matched)
        targets = [labels[index] + 1 if index >= 0 else 0 for index in matched]
        losses = [slow_class_loss(v, target, classification) for v, target in zip(logits, targets, strict=True)]
        worst_first = sorted(range(len(anchors)), key=lambda a: -losses[a])
        candidates = worst_first
        if mining_nms is not None:
            decoded = [slow_decode(o, a) for o, a in zip(offsets, anchors, strict=True)]
            candidates = []
            for a in worst_first:
                if all(slow_iou(decoded[a], decoded[kept]) <= mining_nms for kept in candidates):
                    candidates.append(a)
            candidates = candidates[:mining_candidates]
        positives = [a for a in candidates if targets[a] > 0]
        quota = max(int(negatives_per_positive * len(positives)), min_negatives)
        negatives = [a for a in candidates if targets[a] == 0][:quota]
        totals["classification"] += sum(losses[a] for a in positives + negatives)
        for a in positives:
            wanted = slow_encode(boxes[matched[a]], anchors[a])
            totals["localization"] += slow_smooth_l1([x - y for x, y in zip(offsets[a], wanted, strict=True)])
    return {name: value / max(matches, 1) for name, value in totals.items()}


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


def test_targets_of_a_picture_worked_by_hand():
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


def test_an_empty_picture_of_a_half_empty_batch_gets_no_gradient():
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


def test_a_batch_of_one_picture_and_one_box_counts_its_forced_match():
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
