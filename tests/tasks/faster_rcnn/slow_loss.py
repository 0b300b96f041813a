"""An independent version of Faster-RCNN's losses: one candidate at a time, and all of them counted."""

import math
from collections.abc import Sequence

Box = Sequence[float]


def slow_iou(a: Box, b: Box) -> float:
    w, h = (max(min(a[i + 2], b[i + 2]) - max(a[i], b[i]), 0) for i in (0, 1))
    areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
    return w * h / (sum(areas) - w * h)


def slow_anchor_targets(anchors: Sequence[Box], boxes: Sequence[Box]) -> list[int | None]:
    """A box's index, -1 for background, or None for ignored, for each anchor."""
    matched: list[int | None] = []
    for anchor in anchors:
        overlaps = [slow_iou(anchor, box) for box in boxes]
        best = max(overlaps, default=0.0)
        matched.append(overlaps.index(best) if best >= 0.7 else -1 if best < 0.3 else None)
    claims: dict[int, tuple[float, int]] = {}
    for index, box in enumerate(boxes):
        overlaps = [slow_iou(anchor, box) for anchor in anchors]
        best = max(overlaps)
        if best > 0:
            claims[overlaps.index(best)] = max(claims.get(overlaps.index(best), (0.0, -1)), (best, index))
    for anchor_index, (_, index) in claims.items():
        matched[anchor_index] = index
    return matched


def slow_proposal_targets(proposals: Sequence[Box], boxes: Sequence[Box]) -> list[int | None]:
    matched: list[int | None] = []
    for proposal in proposals:
        overlaps = [slow_iou(proposal, box) for box in boxes]
        best = max(overlaps, default=0.0)
        matched.append(overlaps.index(best) if best >= 0.5 else -1)
    return matched


def slow_encode(box: Box, reference: Box) -> list[float]:
    offsets = []
    for i in (0, 1):
        center, size = (box[i] + box[i + 2]) / 2, box[i + 2] - box[i]
        own_center, own_size = (reference[i] + reference[i + 2]) / 2, reference[i + 2] - reference[i]
        offsets.append((10 * (center - own_center) / own_size, 5 * math.log(size / own_size)))
    return [offsets[0][0], offsets[1][0], offsets[0][1], offsets[1][1]]


def slow_cross_entropy(logits: Sequence[float], target: int) -> float:
    return math.log(sum(math.exp(v) for v in logits)) - logits[target]


def slow_smooth_l1(offsets: Sequence[float], wanted: Sequence[float]) -> float:
    errors = [abs(a - b) for a, b in zip(offsets, wanted, strict=True)]
    return sum(0.5 * e * e if e < 1 else e - 0.5 for e in errors)


def slow_losses(
    matched: Sequence[int | None],
    classes: Sequence[int],
    boxes: Sequence[Box],
    references: Sequence[Box],
    logits: Sequence[Sequence[float]],
    offsets: Sequence[Sequence[Sequence[float]]],
) -> tuple[float, float]:
    """Of one image: classification and localization, over the count of candidates that are not ignored.

    classes: of each box, from 1; offsets: of each candidate, a row for each class but background.
    """
    counted = [k for k, index in enumerate(matched) if index is not None]
    classification = localization = 0.0
    for k in counted:
        index = matched[k]
        assert index is not None
        target = classes[index] if index >= 0 else 0
        classification += slow_cross_entropy(logits[k], target)
        if target:
            localization += slow_smooth_l1(offsets[k][target - 1], slow_encode(boxes[index], references[k]))
    return classification / len(counted), localization / len(counted)
