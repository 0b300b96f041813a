"""SAME padding, and convolutions whose sides are padded unequally."""

import torch.nn.functional as F
from torch import Tensor

Pads = tuple[tuple[int, int], tuple[int, int]]
"""Zeros (before, after) the rows, and before and after the columns."""


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME padding of one axis: (before, after), so that the output has ceil(size / stride) steps.

    The odd pixel goes behind: a 3x3 kernel of stride 2 pads (0, 1) on an even size and (1, 1) on an odd one.
    """
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, int], pads: Pads, groups: int
) -> Tensor:
    """A convolution with unequal pads and without a padded copy of x."""
    return F.conv2d(x, pad_in_front(weight, pads), bias, stride, (pads[0][1], pads[1][1]), 1, groups)


def pad_in_front(weight: Tensor, pads: Pads) -> Tensor:
    """The kernel that, with what is behind padded on both sides, convolves as `weight` does with `pads`.

    Convolutions pad both sides alike. Where one more zero belongs behind than before, the kernel gets a row or a
    column of zeros in front.
    """
    (top, bottom), (left, right) = pads
    return F.pad(weight, (right - left, 0, bottom - top, 0)) if (top, left) != (bottom, right) else weight
