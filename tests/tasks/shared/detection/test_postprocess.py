"""Suppression and ranking against a slow loop over the classes and torchvision's SSD."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD
from torchvision.ops import nms

import tasks.shared.detection.postprocess as module
from tasks.shared.detection.postprocess import Detections, postprocess


def random_boxes(*shape: int, seed: int = 0, side: float = 300.0, size: float = 120.0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    corner = torch.rand(*shape, 2, generator=draw) * (side - size)
    return torch.cat([corner, corner + 4 + torch.rand(*shape, 2, generator=draw) * (size - 4)], dim=-1)


def random_scores(boxes: int, classes: int, seed: int = 0) -> Tensor:
    """(boxes, classes) in (0, 1), no two the same."""
    order = torch.randperm(boxes * classes, generator=torch.Generator().manual_seed(seed))
    return ((order + 1) / (boxes * classes + 1)).view(boxes, classes)


def slow_postprocess(
    boxes: Tensor, scores: Tensor, score_threshold: float, iou_threshold: float, per_class: int, total: int
) -> list[tuple[float, int, list[float]]]:
    found = []
    for label in range(scores.shape[1]):
        own = boxes if boxes.dim() == 2 else boxes[:, label]
        index = (scores[:, label] > score_threshold).nonzero().squeeze(1)
        keep = index[nms(own[index].double(), scores[index, label].double(), iou_threshold)][:per_class]
        found += [(float(scores[i, label]), label, own[i].tolist()) for i in keep]
    return sorted(found, key=lambda entry: -entry[0])[:total]


def as_rows(found: Detections) -> list[tuple[float, int, list[float]]]:
    return list(zip(found.scores.tolist(), found.labels.tolist(), found.boxes.tolist(), strict=True))


OPTIONS: dict[str, Any] = {"score_threshold": 1e-8, "iou_threshold": 0.6, "per_class": 100, "total": 100}


@pytest.mark.parametrize("specific", [False, True], ids=["shared-boxes", "boxes-per-class"])
@pytest.mark.parametrize(
    ("boxes", "classes", "options"),
    [
        pytest.param(200, 7, {}, id="defaults"),
        pytest.param(1, 1, {}, id="a-single-pair"),
        pytest.param(300, 1, {}, id="one-class"),
        pytest.param(600, 20, {}, id="12000-pairs"),
        pytest.param(600, 20, {"total": 5}, id="few-wanted"),
        pytest.param(100, 6, {"per_class": 3}, id="fewer-survivors-than-wanted"),
        pytest.param(400, 6, {"per_class": 11, "total": 60}, id="capped-per-class"),
        pytest.param(400, 6, {"per_class": 1, "total": 4}, id="one-per-class"),
        pytest.param(200, 7, {"score_threshold": 0.97}, id="high-threshold"),
        pytest.param(200, 7, {"iou_threshold": 0.05}, id="low-iou"),
        pytest.param(100, 4, {"iou_threshold": 0.02}, id="as-many-pairs-as-are-looked-at-first"),
        pytest.param(50, 3, {"iou_threshold": 1.0, "total": 1000, "per_class": 1000}, id="nothing-suppressed"),
    ],
)
def test_agrees_with_a_slow_loop(boxes, classes, options, specific):
    shape = (boxes, classes) if specific else (boxes,)
    own, scores = random_boxes(*shape), random_scores(boxes, classes)
    options = OPTIONS | options
    found = postprocess(own, scores, **options)
    assert as_rows(found) == slow_postprocess(own, scores, **options)
    assert len(found.scores) > 0
    assert found.labels.dtype == torch.int64


def clustered(boxes: int, clusters: int) -> Tensor:
    """Boxes so close to one of a few centres that each cluster keeps a single one a class."""
    draw = torch.Generator().manual_seed(1)
    centers = random_boxes(clusters, side=3000, size=100, seed=2)
    return centers[torch.arange(boxes) % clusters] + torch.rand(boxes, 4, generator=draw)


@pytest.fixture
def suppressed(monkeypatch) -> list[int]:
    """How many pairs each round of suppression was given."""
    counts: list[int] = []
    suppress = module._suppress

    def counting(boxes: Tensor, *arguments: Any) -> Tensor:
        counts.append(len(boxes))
        return suppress(boxes, *arguments)

    monkeypatch.setattr(module, "_suppress", counting)
    return counts


def test_heavy_overlap_is_enlarged_until_nothing_better_can_come(suppressed):
    boxes, scores = clustered(2000, 5), random_scores(2000, 3)
    options = OPTIONS | {"total": 20}
    found = postprocess(boxes, scores, **options)
    assert suppressed == [80, 320, 1280, 5120, 6000]  # 4 x total, then times 4, then all
    assert len(found.scores) == 5 * 3
    assert as_rows(found) == slow_postprocess(boxes, scores, **options)


def test_enlarging_stops_as_soon_as_enough_survive(suppressed):
    boxes = clustered(3000, 60).view(50, 60, 4).transpose(0, 1).reshape(3000, 4)  # cluster after cluster, best first
    scores = torch.arange(12000, 0, -1).view(3000, 4) / 12001
    found = postprocess(boxes, scores, **OPTIONS)
    assert suppressed == [400, 1600, 6400]  # of 12000; 2, 8 and 32 clusters in 4 classes
    assert as_rows(found) == slow_postprocess(boxes, scores, **OPTIONS)


@pytest.mark.parametrize("block", [1, 7, 100])
def test_the_size_of_a_block_changes_nothing(block, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", block)
    for total in (5, 40, 400):
        boxes, scores, options = random_boxes(300), random_scores(300, 4), OPTIONS | {"per_class": 400, "total": total}
        assert as_rows(postprocess(boxes, scores, **options)) == slow_postprocess(boxes, scores, **options)


def test_suppression_stops_when_enough_survive(monkeypatch):
    given: list[int] = []

    def counting(boxes: Tensor, *arguments: Any) -> Tensor:
        given.append(len(boxes))
        return nms(boxes, *arguments)

    monkeypatch.setattr(module, "BLOCK", 16)
    monkeypatch.setattr(module, "nms", counting)
    apart = torch.arange(100.0)[:, None] * 10 + torch.tensor([0.0, 0, 5, 5])
    found = postprocess(apart, torch.arange(100, 0, -1)[:, None] / 101, **OPTIONS | {"per_class": 20, "total": 20})
    assert torch.equal(found.boxes, apart[:20])
    assert given == [16, 16 + 16]  # of the 80 that are looked at first


def test_boxes_that_are_computed_on_demand_are_those_of_the_pairs():
    boxes, scores = random_boxes(400, 6), random_scores(400, 6)
    asked = []

    def boxes_of(places: Tensor, labels: Tensor) -> Tensor:
        asked.append(len(places))
        return boxes[places, labels]

    options = OPTIONS | {"total": 10}
    assert as_rows(postprocess(boxes_of, scores, **options)) == slow_postprocess(boxes, scores, **options)
    assert asked == [40]


def test_boxes_without_area_take_nobodys_place():
    boxes, scores = random_boxes(200), random_scores(200, 1)
    boxes[scores[:, 0].argsort(descending=True)[:150:2], 2] = 0  # most of the best, so that the search is enlarged
    solid = boxes[:, 2] > boxes[:, 0]
    options = OPTIONS | {"total": 30}
    expected = slow_postprocess(boxes[solid], scores[solid], **options)
    assert len(expected) == 30
    assert as_rows(postprocess(boxes, scores, **options)) == expected
    assert not len(postprocess(torch.zeros(5, 4), torch.ones(5, 2)).scores)


@pytest.mark.parametrize("by_class", [False, True], ids=["best-pairs-in-few-boxes", "best-pairs-in-one-class"])
def test_the_best_pairs_may_lie_anywhere(by_class):
    boxes = random_boxes(900)
    scores = random_scores(900, 9).flatten().sort(descending=True).values
    scores = scores.view(9, 900).T if by_class else scores.view(900, 9)
    for total in (3, 40, 500):
        options = OPTIONS | {"total": total}
        assert as_rows(postprocess(boxes, scores, **options)) == slow_postprocess(boxes, scores, **options)


def test_equal_scores_give_as_many_detections_with_the_same_scores():
    boxes, scores = random_boxes(700), (random_scores(700, 5) * 4).ceil() / 4
    found = postprocess(boxes, scores, **OPTIONS)
    assert found.scores.tolist() == [row[0] for row in slow_postprocess(boxes, scores, **OPTIONS)] == [1.0] * 100
    rows = scores.new_zeros(700, 5)  # all at the threshold, but for three
    rows[0, 1:4] = 0.5
    assert postprocess(boxes, rows, score_threshold=0.0).labels.sort().values.tolist() == [1, 2, 3]


def test_scattered_boxes_are_looked_at_once(suppressed):
    boxes = random_boxes(3000, side=20000, size=20)
    found = postprocess(boxes, random_scores(3000, 4), **OPTIONS)
    assert suppressed == [400]
    assert len(found.scores) == 100


@pytest.mark.parametrize("boxes", [torch.zeros(0, 4), random_boxes(5), random_boxes(5, 3)], ids=["none", "5", "5x3"])
def test_nothing_above_the_threshold_gives_nothing(boxes):
    scores = torch.full((len(boxes), 3), 0.5)
    found = postprocess(boxes, scores, score_threshold=0.5)
    assert [t.shape for t in found] == [(0, 4), (0,), (0,)]
    assert [t.dtype for t in found] == [torch.float32, torch.float32, torch.int64]


def test_the_same_box_may_be_of_two_classes():
    box = torch.tensor([[1.0, 2, 30, 40]])
    found = postprocess(box, torch.tensor([[0.3, 0.9]]))
    assert as_rows(found) == [
        (pytest.approx(0.9), 1, [1, 2, 30, 40]),
        (pytest.approx(0.3), 0, [1, 2, 30, 40]),
    ]


def test_boxes_beyond_the_image_do_not_reach_into_the_next_class():
    boxes = torch.tensor([[-400.0, -400, -300, -300], [100, 100, 500, 500]])
    found = postprocess(boxes, torch.tensor([[0.9, 0.8], [0.7, 0.6]]), iou_threshold=0.01)
    assert found.labels.tolist() == [0, 1, 0, 1]


def test_class_boxes_may_be_a_slice_of_a_larger_tensor():
    boxes, scores = random_boxes(40, 4), random_scores(40, 3)
    assert as_rows(postprocess(boxes[:, 1:], scores)) == as_rows(postprocess(boxes[:, 1:].clone(), scores))


def test_agrees_with_torchvisions_ssd():
    anchors = random_boxes(500)
    logits = 4 * torch.randn(1, 500, 6, generator=torch.Generator().manual_seed(3))
    theirs = SSD(
        nn.Identity(),
        DefaultBoxGenerator([[2]]),
        (300, 300),
        num_classes=6,
        head=nn.Identity(),
        score_thresh=0.01,
        nms_thresh=0.5,
        detections_per_img=80,
        topk_candidates=500,  # all: they cut before the suppression, we after it
    )
    outputs = {"bbox_regression": torch.zeros(1, 500, 4), "cls_logits": logits}
    (expected,) = theirs.postprocess_detections(outputs, [anchors], [(300, 300)])
    found = postprocess(
        anchors,
        logits[0].softmax(-1)[:, 1:],
        score_threshold=0.01,
        iou_threshold=0.5,
        per_class=500,
        total=80,
    )
    assert len(found.scores) == 80
    torch.testing.assert_close(found.scores, expected["scores"], rtol=0, atol=1e-5)
    torch.testing.assert_close(found.boxes, expected["boxes"], rtol=0, atol=1e-3)
    assert torch.equal(found.labels + 1, expected["labels"])
