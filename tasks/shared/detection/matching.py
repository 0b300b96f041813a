"""Which anchor answers for which box."""

import torch
from torch import Tensor

BACKGROUND = -1
IGNORED = -2


def match_anchors(iou: Tensor, positive: float, negative: float | None = None, force_best: bool = True) -> Tensor:
    """Match each anchor to the box it overlaps most.

    Args:
        iou: (G, A), the overlap of G boxes with A anchors.
        positive: an anchor with at least this IoU takes the box.
        negative: below this it is background, between the two it is ignored; None: no gap.
        force_best: give each box its best anchor, however small the overlap (if any): SSD's bipartite step.
            Where two boxes want the same anchor, the one that overlaps it more has it.

    Returns (A,) int64: the box's index, BACKGROUND or IGNORED.
    """
    boxes, anchors = iou.shape
    if boxes == 0:
        return torch.full((anchors,), BACKGROUND, dtype=torch.int64, device=iou.device)
    best_iou, matched = iou.max(dim=0)
    negative = positive if negative is None else negative
    matched = matched.masked_fill(best_iou < positive, IGNORED).masked_fill(best_iou < negative, BACKGROUND)
    if force_best:
        wanted = torch.zeros_like(iou, dtype=torch.bool).scatter(1, iou.argmax(dim=1, keepdim=True), True)
        forced_iou, forced = torch.where(wanted, iou, 0).max(dim=0)
        matched = torch.where(forced_iou > 0, forced, matched)
    return matched
