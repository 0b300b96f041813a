"""From a score for every class of every box to the few detections that stay."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchvision.ops import nms

from tasks.shared.errors import check_count

FIRST_PAIRS = 4  # pairs looked at first, as a multiple of the detections wanted
BLOCK = 400  # boxes that are suppressed at a time


class Detections(NamedTuple):
    """What was found in one image, best first.

    boxes: (N, 4) float xyxy in pixels of the original image; scores: (N,) in 0 to 1; labels: (N,) int64.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


def check_postprocess(
    score_threshold: float = 1e-8, iou_threshold: float = 0.6, per_class: int = 100, total: int = 100
) -> dict[str, Any]:
    """Arguments of `postprocess`, by name; a ValueError names the config key of one that is out of range."""
    if not 0 <= iou_threshold <= 1:
        raise ValueError(f"task.postprocess.iou_threshold={iou_threshold}; expected a number from 0 to 1")
    check_count("task.postprocess.per_class", per_class)
    check_count("task.postprocess.total", total)
    return dict(score_threshold=score_threshold, iou_threshold=iou_threshold, per_class=per_class, total=total)


def postprocess(
    boxes: Tensor | Callable[[Tensor, Tensor], Tensor],
    scores: Tensor,
    *,
    score_threshold: float = 1e-8,
    iou_threshold: float = 0.6,
    per_class: int = 100,
    total: int = 100,
) -> Detections:
    """Non-maximum suppression within each class, then the best over all classes.

    Args:
        boxes: (A, 4) xyxy, shared by the classes, or (A, C, 4), one for each class; or a function that gives those of
            pairs, (N, 4) from their places and labels (N,), so that only boxes that may stay are computed.
        scores: (A, C) without background.
        score_threshold: pairs of box and class at or below it are dropped.
        iou_threshold: of two boxes of one class that overlap more than this, the better stays.
        per_class, total: at most so many detections a class and in all.

    Boxes without area, such as those that lay beyond the border, are no detections.

    Exact, and as fast as the answer is small: greedy NMS decides about a pair from better pairs alone, so the
    best P pairs are suppressed first, and if as many survive as are wanted, they are the answer; else 4 P.
    """
    peaks = scores.amax(1)
    wanted = FIRST_PAIRS * total
    while True:
        best, anchors, labels = _best_pairs(scores, peaks, wanted, score_threshold)
        last = len(best) < wanted
        if isinstance(boxes, Tensor):
            found = boxes[anchors] if boxes.dim() == 2 else boxes[anchors, labels]
        else:
            found = boxes(anchors, labels)
        solid = (found[:, 2:] > found[:, :2]).all(1)
        if not solid.all():
            found, best, labels = found[solid], best[solid], labels[solid]
        keep = _suppress(found, labels, iou_threshold, per_class, total)
        if len(keep) >= total or last:
            return Detections(found[keep], best[keep], labels[keep])
        wanted *= 4


def _best_pairs(scores: Tensor, peaks: Tensor, wanted: int, score_threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """The best `wanted` pairs above the threshold, or all: scores, anchors and labels, (N,) each, best first.

    scores: (A, C); peaks: (A,), each anchor's best score. The best P pairs lie in the P anchors with the best peaks,
    at or above the least of these peaks, so no more is searched.
    """
    top, anchors = peaks.topk(min(wanted, len(peaks)))
    anchors = anchors[top > score_threshold]
    if scores.shape[1] == 1:  # the peaks are the pairs
        return top[: len(anchors)], anchors, torch.zeros_like(anchors)
    candidates = scores[anchors]
    if wanted == len(anchors) > 0:
        rows, labels = (candidates >= top[-1]).nonzero(as_tuple=True)
    else:
        rows, labels = (candidates > score_threshold).nonzero(as_tuple=True)
    best, order = candidates[rows, labels].topk(min(wanted, len(rows)))
    return best, anchors[rows[order]], labels[order]


def _suppress(boxes: Tensor, labels: Tensor, iou_threshold: float, per_class: int, total: int) -> Tensor:
    """Indices of the first `total` that survive, `per_class` a class, best first. boxes, labels: sorted by score."""
    # One NMS for all classes: each class has a plane of its own, too far from the others to overlap. In float64,
    # where the shift costs no precision.
    exact = boxes.double()
    if len(boxes):
        low, high = exact.aminmax()
        exact = exact + (labels * (high - low + 1))[:, None]
    rank = torch.arange(len(boxes), 0, -1, dtype=exact.dtype, device=boxes.device)
    survivors = keep = labels[:0]
    # What survives of better boxes decides about the next ones; when there are enough, the rest need not be looked at.
    for block in torch.arange(len(boxes), device=boxes.device).split(BLOCK):
        seen = torch.cat([survivors, block])
        survivors = keep = seen[nms(exact[seen], rank[seen], iou_threshold)]
        if per_class < total:  # else a class's surplus lies beyond `total` anyway
            keep = survivors[_rank_in_class(labels[survivors]) < per_class]
        if len(keep) >= total:
            break
    return keep[:total]


def _rank_in_class(labels: Tensor) -> Tensor:
    """(N,): how many of the same label stand before each."""
    by_class = labels.argsort(stable=True)
    counts = labels.bincount()
    starts = torch.repeat_interleave(counts.cumsum(0) - counts, counts)
    rank = torch.empty_like(labels)
    rank[by_class] = torch.arange(len(labels), device=labels.device) - starts
    return rank
