"""Losses of both stages (Ren et al. 2015, Secs. 3.1.2 and 3.2; weights and counts of the TF object detection API)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou

from tasks.shared.detection.boxes import encode
from tasks.shared.detection.matching import BACKGROUND, IGNORED, match_anchors


class Sampling(NamedTuple):
    """Anchors and proposals an image that the losses count, and the shares of them that may be positive."""

    anchors: int = 256
    anchors_positive: float = 0.5
    proposals: int = 64
    proposals_positive: float = 0.25


def make_sampling(options: dict[str, float]) -> Sampling:
    """The settings of task.sampling. Raises ValueError naming the key that is unknown or out of range."""
    for key, value in options.items():
        if key not in Sampling._fields:
            raise ValueError(f"task.sampling.{key}: no such key; expected one of {', '.join(Sampling._fields)}")
        if key.endswith("positive"):
            if not 0 <= value <= 1:
                raise ValueError(f"task.sampling.{key}={value}; expected a share from 0 to 1")
        elif not isinstance(value, int) or value < 1:
            raise ValueError(f"task.sampling.{key}={value}; expected a whole number from 1")
    return Sampling(**options)  # type: ignore[arg-type]


class Sample(NamedTuple):
    """Candidates that were drawn: `chosen` (B, K), their places, `counted` (B, K), whether there is one, and `matched`
    (B, K), the box of the truth that it belongs to, below 0 where it is background."""

    chosen: Tensor
    counted: Tensor
    matched: Tensor


class SampledTargets(NamedTuple):
    """What a stage is to say of the candidates `boxes` (B, K, 4), at the places `chosen` (B, K): `classes` (B, K), 0
    for background, and `offsets` (B, K, 4). Only those `counted` (B, K) count."""

    boxes: Tensor
    chosen: Tensor
    counted: Tensor
    classes: Tensor
    offsets: Tensor


@torch.no_grad()
def rpn_targets(anchors: Tensor, boxes: Sequence[Tensor], sampling: Sampling) -> SampledTargets:
    """For the anchors (A, 4); boxes: the truth of each image (N, 4). Classes: 1 is any object."""
    matched = assign_anchors(anchors, boxes)
    drawn = sample(matched, sampling.anchors, sampling.anchors_positive)
    own = anchors[drawn.chosen]
    offsets = regression_targets(drawn.matched, boxes, own)
    return SampledTargets(own, drawn.chosen, drawn.counted, (drawn.matched >= 0).long(), offsets)


@torch.no_grad()
def roi_targets(
    proposals: Tensor, found: Tensor, boxes: Sequence[Tensor], labels: Sequence[Tensor], sampling: Sampling
) -> SampledTargets:
    """For proposals (B, P, 4), of which found (B,) are real, and the truth's boxes, which are candidates too.

    boxes, labels: the truth of each image, (N, 4) and (N,) int64.
    """
    proposals, found = with_truth(proposals, found, boxes)
    matched = assign_proposals(proposals, found, boxes)
    drawn = sample(matched, sampling.proposals, sampling.proposals_positive)
    own = rows(proposals, drawn.chosen)
    classes = torch.zeros_like(drawn.matched)
    for image, names in enumerate(labels):
        positive = drawn.matched[image] >= 0
        classes[image, positive] = names[drawn.matched[image, positive]] + 1
    offsets = regression_targets(drawn.matched, boxes, own)
    return SampledTargets(own, drawn.chosen, drawn.counted, classes, offsets)


def with_truth(proposals: Tensor, found: Tensor, boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The proposals and the boxes of the truth, so that the second stage has what to learn from the start."""
    most = max([len(own) for own in boxes], default=0)
    wide = torch.cat([proposals, proposals.new_zeros(len(proposals), most, 4)], dim=1)
    for image, own in enumerate(boxes):
        start = int(found[image])
        wide[image, start : start + len(own)] = own
    return wide, found + torch.tensor([len(own) for own in boxes], device=found.device)


def sample(matched: Tensor, count: int, positive_share: float) -> Sample:
    """Draw at most `count` candidates an image from torch's generator, at most `positive_share` of them positive.

    matched (B, A) as `match_anchors` gives it: ignored candidates are not drawn. Where positives are too few,
    background fills up.
    """
    luck = torch.rand(matched.shape, device=matched.device)
    positive, negative = matched >= 0, matched == BACKGROUND
    positives = positive.sum(1).clamp(max=int(count * positive_share))
    negatives = torch.minimum(negative.sum(1), count - positives)
    chosen = _luckiest(luck, positive, positives) | _luckiest(luck, negative, negatives)
    # The chosen first; every image has as many places, counted or not.
    counted, index = chosen.to(torch.uint8).sort(dim=1, descending=True, stable=True)
    counted, index = counted[:, :count].bool(), index[:, :count]
    return Sample(index, counted, matched.gather(1, index).masked_fill(~counted, BACKGROUND))


def _luckiest(luck: Tensor, among: Tensor, count: Tensor) -> Tensor:
    """The `count` (B,) candidates an image with the highest luck of those `among` (B, A)."""
    rank = luck.masked_fill(~among, -1.0).argsort(dim=1, descending=True).argsort(dim=1)
    return among & (rank < count[:, None])


def assign_anchors(anchors: Tensor, boxes: Sequence[Tensor], positive: float = 0.7, negative: float = 0.3) -> Tensor:
    """(B, A): the box that each anchor belongs to, background or ignored; every box has its best anchor."""
    return torch.stack([match_anchors(box_iou(own, anchors), positive, negative) for own in boxes])


def assign_proposals(proposals: Tensor, found: Tensor, boxes: Sequence[Tensor], positive: float = 0.5) -> Tensor:
    """(B, P): the box that each proposal belongs to, background, or ignored where there is no proposal."""
    there = torch.arange(proposals.shape[1], device=proposals.device) < found[:, None]
    pairs = zip(boxes, proposals, strict=True)
    matched = [match_anchors(box_iou(own, near), positive, force_best=False) for own, near in pairs]
    return torch.stack(matched).masked_fill(~there, IGNORED)


def two_losses(
    logits: Tensor, offsets: Tensor, targets: Tensor, wanted: Tensor, counted: Tensor
) -> tuple[Tensor, Tensor]:
    """Cross-entropy, and smooth L1 of positives, each image's sum over its count, then the mean over images.

    logits (B, K, C + 1), background first; offsets (B, K, 4) of each one's own class; targets (B, K) 0 for background;
    wanted (B, K, 4); counted (B, K).
    """
    share = counted / counted.sum(1, keepdim=True).clamp(min=1) / len(counted)
    classification = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(share)
    localization = F.smooth_l1_loss(offsets, wanted, reduction="none").sum(-1)
    positive = targets > 0
    return (classification * share).sum(), torch.where(positive, localization * share, 0.0).sum()


def regression_targets(matched: Tensor, boxes: Sequence[Tensor], references: Tensor) -> Tensor:
    """(B, K, 4): what turns each reference box (B, K, 4) into the box it is matched to, 0 for the others."""
    offsets = torch.zeros_like(references)
    for image, own in enumerate(boxes):
        positive = matched[image] >= 0
        offsets[image, positive] = encode(own[matched[image, positive]], references[image, positive])
    return offsets


def rows(values: Tensor, index: Tensor) -> Tensor:
    """values (B, A, D) at index (B, K) -> (B, K, D)."""
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[-1]))
