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
    classes = scores.shape[1]
    flat = scores.flatten()
    above = (flat > score_threshold).nonzero().squeeze(1)
    wanted = min(FIRST_PAIRS * total, len(above))
    while True:
        best, order = flat[above].topk(wanted)
        pairs = above[order]
        labels = pairs % classes
        kept_boxes = boxes[pairs // classes] if boxes.dim() == 2 else boxes.view(-1, 4)[pairs]
        keep = _suppress(kept_boxes, best, labels, iou_threshold, per_class)
        if len(keep) >= total or wanted == len(above):
            keep = keep[:total]
            return Detections(kept_boxes[keep], best[keep], labels[keep])
        wanted = min(4 * wanted, len(above))


def _suppress(boxes: Tensor, scores: Tensor, labels: Tensor, iou_threshold: float, per_class: int) -> Tensor:
    """Indices that survive, best first. boxes, scores, labels: sorted by score."""
    if not len(boxes):
        return labels
    # One NMS for all classes: each class has a plane of its own, too far from the others to overlap. In float64,
    # where the shift costs no precision.
    exact = boxes.double()
    plane = labels.to(exact.dtype) * (exact.max() - exact.min() + 1)
    keep = nms(exact + plane[:, None], scores.double(), iou_threshold)
    kept = labels[keep]
    rank = torch.empty_like(kept)  # the how-manieth of its class each survivor is
    by_class = kept.argsort(stable=True)
    counts = kept.bincount()
    starts = torch.repeat_interleave(counts.cumsum(0) - counts, counts)
    rank[by_class] = torch.arange(len(kept), device=kept.device) - starts
    return keep[rank < per_class]
