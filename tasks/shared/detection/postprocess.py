"""From a score for every class of every box to the few detections that stay."""

from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import nms

FIRST_PAIRS = 4  # pairs looked at first, as a multiple of the detections wanted


class Detections(NamedTuple):
    """What was found in one picture, best first.

    boxes: (N, 4) float xyxy in pixels of the original picture; scores: (N,) in 0 to 1; labels: (N,) int64.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


def postprocess(
    boxes: Tensor,
    scores: Tensor,
    *,
    score_threshold: float = 1e-8,
    iou_threshold: float = 0.6,
    per_class: int = 100,
    total: int = 100,
) -> Detections:
    """Non-maximum suppression within each class, then the best over all classes.

    Args:
        boxes: (A, 4) xyxy, shared by the classes, or (A, C, 4), one for each class.
        scores: (A, C) without background.
        score_threshold: pairs of box and class at or below it are dropped.
        iou_threshold: of two boxes of one class that overlap more than this, the better stays.
        per_class, total: at most so many detections a class and in all.

    Exact, and as fast as the answer is small: greedy NMS decides about a pair from better pairs alone, so the
    best P pairs are suppressed first, and if as many survive as are wanted, they are the answer; else 4 P.
    """
    peaks = scores.amax(1)
    wanted = FIRST_PAIRS * total
    while True:
        best, anchors, labels = _best_pairs(scores, peaks, wanted, score_threshold)
        kept_boxes = boxes[anchors] if boxes.dim() == 2 else boxes[anchors, labels]
        keep = _suppress(kept_boxes, best, labels, iou_threshold)
        if per_class < total:  # else a class's surplus lies beyond `total` anyway
            keep = keep[_rank_in_class(labels[keep]) < per_class]
        if len(keep) >= total or len(best) < wanted:
            keep = keep[:total]
            return Detections(kept_boxes[keep], best[keep], labels[keep])
        wanted *= 4


def _best_pairs(scores: Tensor, peaks: Tensor, wanted: int, score_threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """The best `wanted` pairs above the threshold, or all: scores, anchors and labels, (N,) each, best first.

    scores: (A, C); peaks: (A,), each anchor's best score. The best P pairs lie in the P anchors with the best peaks,
    at or above the least of these peaks, so no more is searched.
    """
    top, anchors = peaks.topk(min(wanted, len(peaks)))
    anchors = anchors[top > score_threshold]
    candidates = scores[anchors]
    if wanted == len(anchors) > 0:
        rows, labels = (candidates >= top[-1]).nonzero(as_tuple=True)
    else:
        rows, labels = (candidates > score_threshold).nonzero(as_tuple=True)
    best, order = candidates[rows, labels].topk(min(wanted, len(rows)))
    return best, anchors[rows[order]], labels[order]


def _suppress(boxes: Tensor, scores: Tensor, labels: Tensor, iou_threshold: float) -> Tensor:
    """Indices that survive, best first. boxes, scores, labels: sorted by score."""
    if not len(boxes):
        return labels
    # One NMS for all classes: each class has a plane of its own, too far from the others to overlap. In float64,
    # where the shift costs no precision.
    exact = boxes.double()
    low, high = exact.aminmax()
    plane = labels * (high - low + 1)
    return nms(exact + plane[:, None], scores.double(), iou_threshold)


def _rank_in_class(labels: Tensor) -> Tensor:
    """(N,): how many of the same label stand before each."""
    by_class = labels.argsort(stable=True)
    counts = labels.bincount()
    starts = torch.repeat_interleave(counts.cumsum(0) - counts, counts)
    rank = torch.empty_like(labels)
    rank[by_class] = torch.arange(len(labels), device=labels.device) - starts
    return rank
