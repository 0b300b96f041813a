"""Depthwise separable convolutions (Sec. 3.1) as one operator: for networks that only answer, on a CPU in fp32."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from backbone.fused_conv import FusedConv2d
from backbone.gradients import is_exported
from backbone.kernels import call, fit, kernels
from backbone.layers import Conv2d

NAME = "separable_forward"
COLUMNS = 32  # outputs that kernels/separable.cpp computes at once; their weights lie together
LANES = 8  # channels, of which it takes multiples


class Prepared(NamedTuple):
    """For inputs of a shape: the output's, the kernel's sizes, and the weights as it reads them."""

    shape: torch.Size
    out: tuple[int, int, int, int]
    sizes: tuple[int, ...]
    packed: tuple[Tensor, ...]


class FusedSeparableConv(nn.Module):
    """A depthwise convolution of 3x3, the pointwise one behind it, and both activations (kernels/separable.cpp).

    The map between the two is computed in parts that stay in the cache, and never written to memory, which takes less
    time than oneDNN's two operators (docs/performance.md). The same function to float precision, no gradients. The
    weights are kept once more; what becomes of them after the first answer is not seen.
    """

    def __init__(self, depthwise: FusedConv2d, pointwise: FusedConv2d):
        super().__init__()
        self.depthwise, self.pointwise = depthwise, pointwise
        self.ceiling = depthwise.ceiling
        self.ready: Prepared | None = None  # for the shape that came last

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
        if x.dtype != torch.float32 or is_exported() or not fit(x):
            return self.pointwise(self.depthwise(x))
        ready = self.ready
        if ready is None or ready.shape != x.shape:
            if x.dim() != 4 or x.shape[1] != self.depthwise.conv.in_channels:
                return self.pointwise(self.depthwise(x))
            ready = self.ready = self._prepare(x, self._pack() if ready is None else ready.packed)
        y = torch.empty(ready.out, memory_format=torch.channels_last)
        call(NAME, torch.float32, x, *ready.packed, y, ready.sizes, self.ceiling)
        return y

    def _prepare(self, x: Tensor, packed: tuple[Tensor, ...]) -> Prepared:
        batch, channels, height, width = x.shape
        ((top, bottom), (left, right)), stride = self.depthwise.pads(x), self.depthwise.conv.stride[0]
        size = (height + top + bottom - 3) // stride + 1, (width + left + right - 3) // stride + 1
        outputs = self.pointwise.conv.out_channels
        sizes = (batch, height, width, channels, *size, outputs, stride, top, left)
        return Prepared(x.shape, (batch, outputs, *size), sizes, packed)

    def _pack(self) -> tuple[Tensor, ...]:
        """Weights and biases as the kernel reads them."""
        convs = self.depthwise.conv, self.pointwise.conv
        first, second = (conv.weight.detach().to("cpu", torch.float32).flatten(1) for conv in convs)
        outputs, channels = second.shape
        behind = -outputs % COLUMNS
        pointwise = nn.functional.pad(second, (0, 0, 0, behind)).view(-1, COLUMNS, channels).transpose(1, 2)
        biases = [
            torch.zeros(len(weight)) if conv.bias is None else conv.bias.detach().to(weight).contiguous()
            for conv, weight in zip(convs, (first, second), strict=True)
        ]
        return first.t().contiguous(), biases[0], pointwise.contiguous(), nn.functional.pad(biases[1], (0, behind))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"ready": None}
