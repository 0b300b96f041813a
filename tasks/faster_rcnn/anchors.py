"""Faster-RCNN's anchors: the same few shapes at every place of the shared map (Ren et al. 2015, Sec. 3.1.1)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

BASE = 256.0  # pixels: side of the anchor of scale 1


def anchor_sizes(scales: Sequence[float], ratios: Sequence[float]) -> Tensor:
    """(S * R, 2) width and height in pixels: every scale with every ratio (width / height), scale by scale."""
    numbers = all(isinstance(value, int | float) and 0 < value < math.inf for value in (*scales, *ratios))
    if not (scales and ratios and numbers):
        raise ValueError(
            f"task.anchors.scales={list(scales)}, task.anchors.ratios={list(ratios)}; expected numbers above 0"
        )
    side = torch.tensor(list(scales), dtype=torch.float64)[:, None] * BASE
    root = torch.tensor(list(ratios), dtype=torch.float64).sqrt()
    return torch.stack([side * root, side / root], dim=-1).view(-1, 2).float()


def make_anchors(sizes: Tensor, rows: int, columns: int, stride: int) -> Tensor:
    """Anchors (rows * columns * K, 4) xyxy in pixels of the resized image, not clipped.

    sizes: (K, 2). Each place of the map has its anchors around (column * stride, row * stride), as the TF object
    detection API has them. Order: row, column, size.
    """
    y = torch.arange(rows, device=sizes.device) * float(stride)
    x = torch.arange(columns, device=sizes.device) * float(stride)
    center = torch.stack([x.expand(rows, -1), y[:, None].expand(-1, columns)], dim=-1)[:, :, None]
    half = sizes / 2
    return torch.cat([center - half, center + half], dim=-1).view(-1, 4)
