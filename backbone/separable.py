"""Depthwise separable convolutions (Sec. 3.1) as one operator: for networks that only answer, on a CPU in fp32."""

import torch
from torch import Tensor

from backbone import private
from backbone.fused_conv import FusedConv2d
from backbone.gradients import is_exported
from backbone.kernels import kernels
from backbone.kernels.checked import LANES, SeparableForward, SeparableWeights, is_map_of
from backbone.layers import Conv2d
from backbone.private import Prepared, is_watched

NAME = "separable_forward"


class FusedSeparableConv(Prepared):
    """A depthwise convolution of 3x3, the pointwise one behind it, and both activations (kernels/separable.cpp).

    The map between the two is computed in parts that stay in the cache, and never written to memory, which takes less
    time than oneDNN's two operators (docs/performance.md). The same function to float precision, no gradients. The
    weights are kept once more; what becomes of them after the first answer is seen only where this is moved, made of
    another kind of numbers, or loaded into.
    """

    def __init__(self, depthwise: FusedConv2d, pointwise: FusedConv2d):
        super().__init__()
        self.depthwise, self.pointwise = depthwise, pointwise
        self.ceiling = depthwise.ceiling
        self.ready: SeparableForward | None = None  # for the shape that came last

    @staticmethod
    def takes(depthwise: FusedConv2d, pointwise: FusedConv2d) -> bool:
        """Whether there is a kernel for the two."""
        first, second = depthwise.conv, pointwise.conv
        if (NAME, torch.float32) not in kernels() or {first.weight.dtype, second.weight.dtype} != {torch.float32}:
            return False
        channels = first.out_channels
        if not first.groups == first.in_channels == channels == second.in_channels or channels % LANES:
            return False
        if first.kernel_size != (3, 3) or first.stride not in ((1, 1), (2, 2)) or first.dilation != (1, 1):
            return False
        if second.kernel_size != (1, 1) or second.stride != (1, 1) or second.padding != (0, 0) or second.groups != 1:
            return False
        return (isinstance(first, Conv2d) or first.padding == (1, 1)) and depthwise.ceiling == pointwise.ceiling

    def forward(self, x: Tensor) -> Tensor:
        if not is_exported() and not is_watched():
            ready = self.ready
            if ready is None or ready.shape != x.shape:
                ready = self._prepare(x, ready)
            y = None if ready is None else ready(x)
            if y is not None:
                return y
        return self.pointwise(self.depthwise(x))

    def _prepare(self, x: Tensor, before: SeparableForward | None) -> SeparableForward | None:
        """The kernel for x's shape, if it takes it. before: that for another shape, whose weights are read again."""
        if x.dtype != torch.float32 or not is_map_of(NAME, x):
            return None
        first, second = self.depthwise.conv, self.pointwise.conv
        if before is None:
            weights = SeparableWeights.pack(first.weight, first.bias, second.weight, second.bias)
        else:
            weights = before.weights
        stride = first.stride[0], first.stride[1]
        made = SeparableForward.of(weights, x, stride, self.depthwise.pads(x), self.ceiling)
        if made is not None and private.TELLS:
            self.ready = made
        return made
