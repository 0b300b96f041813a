"""Boxes: xyxy corners, and the coder that regresses them against anchors (Faster-RCNN's, with SSD's scales)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

SCALES = (10.0, 10.0, 5.0, 5.0)  # TF object detection: of the x, y, width and height targets
MAX_LOG_SIZE = math.log(1000 / 16)  # a box grows at most to this multiple of its anchor, so that exp stays finite


def to_centers(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """boxes (..., 4) xyxy -> centres (..., 2) and sizes (..., 2), both x first."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return (low + high) / 2, high - low


def encode(boxes: Tensor, anchors: Tensor, scales: Sequence[float] = SCALES) -> Tensor:
    """Regression targets (..., 4) of boxes against anchors, both (..., 4) xyxy with positive sizes, in one unit."""
    center, size = to_centers(boxes)
    anchor_center, anchor_size = to_centers(anchors)
    offsets = torch.cat([(center - anchor_center) / anchor_size, torch.log(size / anchor_size)], dim=-1)
    return offsets * offsets.new_tensor(scales)


def decode(offsets: Tensor, anchors: Tensor, scales: Sequence[float] = SCALES) -> Tensor:
    """The inverse of `encode`: boxes (..., 4) xyxy in the anchors' unit."""
    offsets = offsets / offsets.new_tensor(scales)
    anchor_center, anchor_size = to_centers(anchors)
    center = anchor_center + offsets[..., :2] * anchor_size
    half = anchor_size * torch.exp(offsets[..., 2:].clamp(max=MAX_LOG_SIZE)) / 2
    return torch.cat([center - half, center + half], dim=-1)


def clip(boxes: Tensor, height: float, width: float) -> Tensor:
    """boxes (..., 4) xyxy, cut off at the border of an image of height x width."""
    limit = boxes.new_tensor([width, height, width, height])
    return torch.minimum(boxes.clamp(min=0), limit)
