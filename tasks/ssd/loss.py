"""SSD's loss: classification and localization over matched anchors and hard negatives."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou, nms

from tasks.shared.detection.boxes import decode, encode
from tasks.shared.detection.matching import match_anchors

CLASSIFICATIONS = ("sigmoid", "softmax", "focal")


class SSDLoss:
    """Classification + smooth L1, 1:1, over the number of matches in the batch [ssd_mobilenet_v1_coco].

    Args:
        classification: `"sigmoid"` (one-hot over background and classes, as published), `"softmax"`, or
            `"focal"`: sigmoid focal loss over all anchors, without mining (alpha 0.25, gamma 2).
        match_iou: an anchor with at least this IoU takes the box; each box has its best anchor besides.
        negatives_per_positive: hard negatives kept a match, image by image.
        min_negatives: kept in an image without matches; 0 as published, so that empty images teach nothing.
        mining_nms: candidates whose decoded boxes overlap more than this count as one (0.99 as published);
            None leaves that out.
        mining_candidates: at most so many survivors of it.
    """

    def __init__(
        self,
        classification: str = "sigmoid",
        match_iou: float = 0.5,
        negatives_per_positive: float = 3.0,
        min_negatives: int = 0,
        mining_nms: float | None = 0.99,
        mining_candidates: int = 3000,
        focal_alpha: float = 0.25,
        focal_gamma: float = 2.0,
    ):
        if classification not in CLASSIFICATIONS:
            raise ValueError(
                f"task.loss.classification={classification!r}; expected one of {', '.join(CLASSIFICATIONS)}"
            )
        if not 0 < match_iou < 1:
            raise ValueError(f"task.loss.match_iou={match_iou}; expected a number between 0 and 1")
        if not (mining_nms is None or (isinstance(mining_nms, int | float) and 0 < mining_nms <= 1)):
            raise ValueError(f"task.loss.mining_nms={mining_nms!r}; expected a number above 0, up to 1, or null")
        if min(negatives_per_positive, min_negatives, mining_candidates) < 0:
            raise ValueError(
                f"task.loss.negatives_per_positive={negatives_per_positive}, task.loss.min_negatives={min_negatives}, "
                f"task.loss.mining_candidates={mining_candidates}; expected numbers from 0"
            )
        self.classification = classification
        self.match_iou = match_iou
        self.negatives_per_positive = negatives_per_positive
        self.min_negatives = min_negatives
        self.mining_nms = mining_nms
        self.mining_candidates = mining_candidates
        self.focal_alpha = focal_alpha
        self.focal_gamma = focal_gamma

    def __call__(
        self,
        class_logits: Tensor,
        box_offsets: Tensor,
        anchors: Tensor,
        boxes: Sequence[Tensor],
        labels: Sequence[Tensor],
    ) -> dict[str, Tensor]:
        """class_logits (B, A, C + 1), background first; box_offsets (B, A, 4); anchors (A, 4) xyxy;
        boxes: B tensors (N, 4) in the anchors' unit, N may be 0; labels: B tensors (N,), 0 to C - 1."""
        assigned = [self.assign(anchors, b, k) for b, k in zip(boxes, labels, strict=True)]
        classes = torch.stack([a[0] for a in assigned])
        offsets = torch.stack([a[1] for a in assigned])
        positive = classes > 0
        matches = positive.sum().clamp(min=1)
        per_anchor = self.classification_loss(class_logits, classes)
        if self.classification == "focal":
            counted = torch.ones_like(positive)
        else:
            counted = self.mine(per_anchor.detach(), positive, box_offsets.detach(), anchors)
        localization = F.smooth_l1_loss(box_offsets, offsets, reduction="none").sum(-1)
        counted_positive = positive & counted
        zero = per_anchor.new_zeros(())
        return {
            "classification": torch.where(counted, per_anchor, zero).sum() / matches,
            "localization": torch.where(counted_positive, localization, zero).sum() / matches,
        }

    def assign(self, anchors: Tensor, boxes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Targets of one image: class (A,), 0 for background, and regression offsets (A, 4), 0 there."""
        matched = match_anchors(box_iou(boxes, anchors), self.match_iou)
        if not len(boxes):
            return torch.zeros_like(matched), torch.zeros_like(anchors)
        positive = matched >= 0
        index = matched.clamp(min=0)
        classes = torch.where(positive, labels[index] + 1, 0)
        return classes, torch.where(positive[:, None], encode(boxes[index], anchors), 0.0)

    def classification_loss(self, logits: Tensor, classes: Tensor) -> Tensor:
        """logits (B, A, C + 1), classes (B, A) -> loss of every anchor (B, A)."""
        if self.classification == "softmax":
            return F.cross_entropy(logits.transpose(1, 2), classes, reduction="none")
        one_hot = F.one_hot(classes, logits.shape[-1]).to(logits.dtype)
        loss = F.binary_cross_entropy_with_logits(logits, one_hot, reduction="none")
        if self.classification == "focal":
            right = torch.where(one_hot > 0, logits.sigmoid(), (-logits).sigmoid())
            weight = torch.where(one_hot > 0, self.focal_alpha, 1 - self.focal_alpha)
            loss = weight * (1 - right) ** self.focal_gamma * loss
        return loss.sum(-1)

    def mine(self, loss: Tensor, positive: Tensor, box_offsets: Tensor, anchors: Tensor) -> Tensor:
        """Which anchors count (B, A): the matched, and of the others those that are most wrong."""
        candidate = torch.ones_like(positive)
        if self.mining_nms is not None:
            for image, offsets in enumerate(box_offsets):
                keep = nms(decode(offsets.float(), anchors), loss[image].float(), self.mining_nms)
                candidate[image] = False
                candidate[image, keep[: self.mining_candidates]] = True
        positive = positive & candidate
        quota = (self.negatives_per_positive * positive.sum(1)).long().clamp(min=self.min_negatives)
        rivals = loss.masked_fill(positive | ~candidate, -torch.inf)
        rank = rivals.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        return positive | ((rank < quota[:, None]) & candidate)
