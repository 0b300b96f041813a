"""Both stages' losses against a slow loop, torchvision's, and cases worked by hand."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops import box_iou

from tasks.faster_rcnn import FasterRCNN
from tasks.faster_rcnn.anchors import anchor_sizes, make_anchors
from tasks.faster_rcnn.loss import assign_anchors, assign_proposals, regression_targets, two_losses, with_truth
from tasks.faster_rcnn.model import FasterRCNNOutputs
from tasks.shared.detection.boxes import encode
from tasks.shared.detection.matching import BACKGROUND, IGNORED
from tests.tasks.faster_rcnn.conftest import make_task, random_boxes
from tests.tasks.faster_rcnn.slow_loss import slow_anchor_targets, slow_losses, slow_proposal_targets

CLASSES = 3
# All of different sizes: a box inside two anchors of one size overlaps both alike, and rounding has the choice.
ANCHORS = make_anchors(anchor_sizes((0.1, 0.2, 0.3), (0.5, 1, 2)), 6, 6, 16)
ANCHORS += torch.rand(ANCHORS.shape, generator=torch.Generator().manual_seed(0))
EVERYTHING = {"anchors": 10_000, "anchors_positive": 1.0, "proposals": 10_000, "proposals_positive": 1.0}


class Problem:
    """Random outputs and targets; the last image has no boxes. Its second stage answers by the box alone, so that the
    order in which candidates are drawn changes nothing."""

    def __init__(self, seed: int = 0, counts: tuple[int, ...] = (4, 1, 0), **options: Any):
        draw = torch.Generator().manual_seed(seed)
        self.boxes = [random_boxes(n, seed=seed + 10 * k) for k, n in enumerate(counts)]
        self.labels = [torch.randint(CLASSES, (n,), generator=draw) for n in counts]
        proposals = random_boxes(len(counts), 30, seed=seed + 100)
        for own, truth in zip(proposals, self.boxes, strict=True):  # some that are near
            own[: 3 * len(truth)] = truth.repeat(3, 1) + 3 * torch.randn(3 * len(truth), 4, generator=draw)
        self.found = torch.tensor([30, 25, 28])[: len(counts)]
        self.weights = tuple(torch.randn(4, n, generator=draw) / 30 for n in (CLASSES + 1, 4 * CLASSES))
        shape = (len(counts), len(ANCHORS))
        self.outputs = FasterRCNNOutputs(
            torch.zeros(len(counts), 1, 6, 6),
            2 * torch.randn(*shape, 2, generator=draw),
            torch.randn(*shape, 4, generator=draw),
            ANCHORS,
            proposals,
            self.found,
            None,
            None,
        )
        self.task: FasterRCNN = make_task(CLASSES, sampling=EVERYTHING | options)
        self.task.second_stage = lambda _, boxes: self.second_stage(boxes)  # type: ignore[assignment]

    def second_stage(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        logits, offsets = (boxes @ weight for weight in self.weights)
        return logits, offsets.view(*boxes.shape[:-1], CLASSES, 4)

    def targets(self) -> list[Any]:
        return [{"boxes": b, "labels": k} for b, k in zip(self.boxes, self.labels, strict=True)]

    def loss(self) -> dict[str, Tensor]:
        return self.task.loss(self.outputs, self.targets())

    def candidates(self, image: int) -> Tensor:
        """The proposals that are there, and the truth."""
        return torch.cat([self.outputs.proposals[image, : self.found[image]], self.boxes[image]])


def slow(problem: Problem) -> dict[str, float]:
    totals = dict.fromkeys(("rpn_objectness", "rpn_localization", "classification", "localization"), 0.0)
    for image, (boxes, labels) in enumerate(zip(problem.boxes, problem.labels, strict=True)):
        truth, anchors = boxes.tolist(), ANCHORS.tolist()
        outputs = problem.outputs
        logits, offsets = outputs.objectness[image].tolist(), outputs.offsets[image, :, None].tolist()
        own = slow_losses(slow_anchor_targets(anchors, truth), [1] * len(truth), truth, anchors, logits, offsets)
        near = problem.candidates(image)
        second = [t.tolist() for t in problem.second_stage(near)]
        classes = [label + 1 for label in labels.tolist()]
        matched = slow_proposal_targets(near.tolist(), truth)
        both = own + slow_losses(matched, classes, truth, near.tolist(), *second)
        for name, value in zip(totals, both, strict=True):
            totals[name] += value / len(problem.boxes) * (2 if name.endswith("localization") else 1)
    return totals


@pytest.mark.parametrize("counts", [(4, 1, 0), (1,), (0, 0), (7, 7)])
def test_agrees_with_a_slow_loop(counts):
    for seed in range(3):
        problem = Problem(seed, counts)
        loss = problem.loss()
        assert {name: value.item() for name, value in loss.items()} == pytest.approx(slow(problem), rel=1e-4)
        assert any(counts) == (loss["localization"] > 0) == (loss["rpn_localization"] > 0)


def test_classes_are_counted_from_1_and_background_is_0():
    problem = Problem(counts=(4,))
    problem.labels = [torch.tensor([0, 1, 2, 2])]
    first = problem.loss()["classification"]
    problem.weights = problem.weights[0][:, [0, 2, 3, 1]], problem.weights[1]  # classes 0, 1, 2 say what 2, 0, 1 said
    problem.labels = [torch.tensor([2, 0, 1, 1])]
    torch.testing.assert_close(problem.loss()["classification"], first)
    problem.labels = [torch.tensor([0, 1, 2, 2])]
    assert not torch.isclose(problem.loss()["classification"], first)


def test_the_weight_of_both_box_losses_is_a_setting():
    problem = Problem()
    before = problem.loss()
    problem.task.localization_weight = 6.0
    for name, value in problem.loss().items():
        torch.testing.assert_close(value, before[name] * (3 if name.endswith("localization") else 1))


# torchvision's


def torchvisions_rpn() -> RegionProposalNetwork:
    counts = {"training": 1, "testing": 1}
    return RegionProposalNetwork(nn.Identity(), nn.Identity(), 0.7, 0.3, 256, 0.5, counts, counts, 0.7)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(5))
def test_anchors_are_positive_ignored_and_background_where_torchvisions_are(seed):
    boxes = [random_boxes(5, seed=seed), random_boxes(1, seed=seed + 50)]
    labels, _ = torchvisions_rpn().assign_targets_to_anchors([ANCHORS] * 2, [{"boxes": own} for own in boxes])
    matched = assign_anchors(ANCHORS, boxes)
    assert torch.equal(matched >= 0, torch.stack(labels) == 1)
    assert torch.equal(matched == IGNORED, torch.stack(labels) == -1)
    assert (matched >= 0).sum() >= 5


def test_proposals_belong_to_the_boxes_that_torchvisions_do():
    problem = Problem(counts=(4, 2, 1))
    roi = RoIHeads(None, None, None, 0.5, 0.5, 64, 0.25, None, 0.05, 0.5, 100)
    near = [problem.candidates(image) for image in range(3)]
    indices, classes = roi.assign_targets_to_proposals(near, problem.boxes, [k + 1 for k in problem.labels])
    matched = assign_proposals(*with_truth(problem.outputs.proposals, problem.found, problem.boxes), problem.boxes)
    for own, index, label, candidates in zip(matched, indices, classes, near, strict=True):
        assert torch.equal(own[: len(candidates)] >= 0, label > 0)
        assert torch.equal(own[: len(candidates)].clamp(min=0), index)
        assert (own[len(candidates) :] == IGNORED).all()
        assert (own >= 0).sum() >= 4 * len(candidates) // 30


def test_first_stage_losses_agree_with_torchvisions():
    """Theirs has one logit; its smooth L1 turns at 1/9, which is ours of nine times the offsets, over nine."""
    draw = torch.Generator().manual_seed(0)
    logits, offsets, wanted = (torch.randn(2, 50, n, generator=draw) for n in (2, 4, 4))
    targets = (torch.rand(2, 50, generator=draw) < 0.3).long()
    everything = torch.ones(2, 50, dtype=torch.bool)
    rpn = torchvisions_rpn()
    rpn.fg_bg_sampler = lambda labels: ([own == 1 for own in labels], [own == 0 for own in labels])
    objectness, localization = rpn.compute_loss(
        logits[..., 1] - logits[..., 0], offsets.flatten(0, 1), list(targets.float()), list(wanted)
    )
    ours = two_losses(logits, 9 * offsets, targets, 9 * wanted, everything)
    torch.testing.assert_close(ours[0], objectness)
    torch.testing.assert_close(ours[1], 9 * localization)


def test_second_stage_losses_agree_with_torchvisions():
    problem = Problem(counts=(3, 2))
    near = [problem.candidates(image)[:27] for image in range(2)]  # as many in each: theirs counts over the batch
    overlap = [box_iou(own, c).max(0) for own, c in zip(problem.boxes, near, strict=True)]
    labels = [k[o.indices] + 1 for k, o in zip(problem.labels, overlap, strict=True)]
    classes = torch.stack([k * (o.values >= 0.5) for k, o in zip(labels, overlap, strict=True)])
    wanted = torch.stack([encode(b[o.indices], c) for b, o, c in zip(problem.boxes, overlap, near, strict=True)])
    logits, offsets = problem.second_stage(torch.stack(near))
    own = offsets.gather(2, (classes - 1).clamp(min=0)[..., None, None].expand(-1, -1, 1, 4)).squeeze(2)
    with_background = F.pad(offsets, (0, 0, 1, 0)).flatten(2).flatten(0, 1)
    expected = fastrcnn_loss(logits.flatten(0, 1), with_background, list(classes), list(wanted))
    assert (classes > 0).sum() > 5
    ours = two_losses(logits, 9 * own, classes, 9 * wanted, torch.ones_like(classes, dtype=torch.bool))
    torch.testing.assert_close(ours[0], expected[0])
    torch.testing.assert_close(ours[1], 9 * expected[1])


# Worked by hand


def test_each_images_sum_is_over_its_own_count():
    counted = torch.tensor([[True, True], [True, False], [False, False]])
    wanted = torch.zeros(3, 2, 4)
    offsets = torch.tensor([0.5, 0, 0, 3]).expand(3, 2, 4)  # 0.125 + 2.5
    targets = torch.tensor([[1, 0], [2, 2], [1, 1]])
    classification, localization = two_losses(torch.zeros(3, 2, 4), offsets, targets, wanted, counted)
    assert classification.item() == pytest.approx(math.log(4) * (1 + 1 + 0) / 3)
    assert localization.item() == pytest.approx(2.625 * (1 / 2 + 1 + 0) / 3)


def test_offsets_are_wanted_of_positives_alone():
    boxes = [torch.tensor([[0.0, 0, 20, 40]]), torch.zeros(0, 4)]
    references = torch.tensor([[[5.0, 0, 25, 20], [0, 0, 0, 0]], [[1, 1, 2, 2], [0, 0, 0, 0]]])
    offsets = regression_targets(torch.tensor([[0, BACKGROUND], [BACKGROUND, IGNORED]]), boxes, references)
    torch.testing.assert_close(offsets[0, 0], torch.tensor([-2.5, 5.0, 0, 5 * math.log(2)]))
    assert offsets.flatten(0, 1)[1:].abs().sum() == 0


def test_the_truth_follows_the_proposals_that_are_there():
    proposals, found = random_boxes(3, 4), torch.tensor([4, 2, 0])
    boxes = [random_boxes(2, seed=1), random_boxes(1, seed=2), random_boxes(0)]
    wide, count = with_truth(proposals, found, boxes)
    assert (wide.shape, count.tolist()) == ((3, 6, 4), [6, 3, 0])
    assert torch.equal(wide[0], torch.cat([proposals[0], boxes[0]]))
    assert torch.equal(wide[1, :3], torch.cat([proposals[1, :2], boxes[1]]))
    matched = assign_proposals(wide, count, boxes)
    assert matched[0, 4:].tolist() == [0, 1]
    assert matched[1, 2] == 0
    assert (matched[1, 3:] == IGNORED).all() and (matched[2] == IGNORED).all()


def test_no_proposal_is_forced_upon_a_box():
    boxes = [torch.tensor([[0.0, 0, 10, 30]])]
    proposals = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 15], [0, 0, 10, 20]]])  # IoU 1/3, 1/2 and 2/3
    assert assign_proposals(proposals, torch.tensor([3]), boxes).tolist() == [[BACKGROUND, 0, 0]]
    assert assign_proposals(proposals[:, :1], torch.tensor([1]), boxes).tolist() == [[BACKGROUND]]


def test_targets_get_no_gradient_and_outputs_do():
    problem = Problem()
    outputs = problem.outputs
    leaves = [t.requires_grad_() for t in (outputs.objectness, outputs.offsets, *problem.weights)]
    torch.stack(list(problem.loss().values())).sum().backward()
    assert all(t.grad is not None and t.grad.isfinite().all() and t.grad.any() for t in leaves)


def test_a_target_below_a_pixel_has_finite_losses():
    problem = Problem(counts=(1,))
    problem.boxes, problem.labels = [torch.tensor([[40.0, 40, 40.2, 40.1]])], [torch.tensor([1])]
    assert all(value.isfinite() for value in problem.loss().values())
