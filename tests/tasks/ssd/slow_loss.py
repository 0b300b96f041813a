"""Random problems for SSD's loss, and an independent version of it: one anchor at a time."""

import math
from typing import Any

import torch
from torch import Tensor

from tasks.ssd.loss import SSDLoss

CLASSES = 3
ANCHORS = 80


def random_boxes(count: int, draw: torch.Generator, low: float = 10, high: float = 60) -> Tensor:
    corner = torch.rand(count, 2, generator=draw) * (100 - low)
    return torch.cat([corner, corner + low + (high - low) * torch.rand(count, 2, generator=draw)], dim=1)


class Problem:
    """Random anchors, outputs and targets; the last image has no boxes."""

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
