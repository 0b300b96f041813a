"""A convolution and its activation as one operator: for networks that only answer, on a CPU."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from backbone import private
from backbone.gradients import ReLU6
from backbone.layers import Conv2d
from backbone.padding import Pads, pad_in_front
from backbone.private import Prepared

# oneDNN's names, which torch.compile asks for too.
ACTIVATIONS: dict[type[nn.Module], tuple[str, list[float]]] = {
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
    ReLU6: ("hardtanh", [0.0, 6.0]),
}
Ready = tuple[torch.Size, torch.dtype, Callable[..., Tensor], tuple[Any, ...]]


class FusedConv2d(Prepared):
    """A convolution and its activation as one operator of oneDNN: the same function to float precision, no gradients.

    The weights are kept a second time, in oneDNN's own layout for the shape that was asked for last; what becomes of
    them after that is seen only where this is moved, made of another kind of numbers, or loaded into.
    """

    def __init__(self, conv: nn.Conv2d, act: nn.Module):
        super().__init__()
        self.conv, self.act = conv, act
        self.activation, self.limits = ACTIVATIONS[type(act)]
        self.ceiling = self.limits[1] if self.limits else math.inf
        self.ready: Ready | None = None

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 4 or x.numel() == 0 or x.device.type != "cpu":  # no images, or what they cost is counted
            return self.act(self.conv(x))
        ready = self.ready
        if ready is None or ready[0] != x.shape:
            ready = self._prepare(x)
            if private.TELLS:
                self.ready = ready
        _, dtype, convolve, arguments = ready
        return convolve(x.to(dtype), *arguments)

    def _prepare(self, x: Tensor) -> Ready:
        """x's shape, the kind of numbers that is computed in, the operator, and what it takes besides x.

        For a single image, asking the convolution for all this again takes a part of the time that shows.
        """
        conv, pads = self.conv, self.pads(x)
        how: tuple[Any, ...] = ((pads[0][1], pads[1][1]), conv.stride, conv.dilation, conv.groups)
        weight = pad_in_front(conv.weight.detach(), pads).to_mkldnn()
        convolve, pack_weight = private.convolve, private.pack_weight
        assert convolve is not None and pack_weight is not None, "fuse_activations asks has_onednn"
        packed = pack_weight(weight, *how, x.shape)
        return x.shape, conv.weight.dtype, convolve, (packed, conv.bias, *how, self.activation, self.limits, "")

    def pads(self, x: Tensor) -> Pads:
        """Zeros around x (B, C, H, W)."""
        if isinstance(self.conv, Conv2d):
            return self.conv.pads(x)
        assert not isinstance(self.conv.padding, str), "left alone by fuse_activations"
        rows, columns = self.conv.padding
        return (rows, rows), (columns, columns)
