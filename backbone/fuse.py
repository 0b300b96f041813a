"""Convolutions that activate what they give before they write it: for networks that only answer, on a CPU."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from backbone.fold import CONVOLUTIONS, chains
from backbone.gradients import ReLU6
from backbone.layers import Conv2d
from backbone.padding import Pads, pad_in_front

# oneDNN's names, which torch.compile asks for too.
ACTIVATIONS: dict[type[nn.Module], tuple[str, list[float]]] = {
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
    ReLU6: ("hardtanh", [0.0, 6.0]),
}


class FusedConv2d(nn.Module):
    """A convolution and its activation as one operator of oneDNN: the same function to float precision, no gradients.

    The weights are kept a second time, in oneDNN's own layout for the shape that was asked for last.
    """

    def __init__(self, conv: nn.Conv2d, act: nn.Module):
        super().__init__()
        self.conv, self.act = conv, act
        self.kind, self.limits = ACTIVATIONS[type(act)]
        self.packed: tuple[torch.Size, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        if x.numel() == 0 or x.device.type != "cpu":  # no picture, or what it costs is counted
            return self.act(self.conv(x))
        conv, x = self.conv, x.to(self.conv.weight.dtype)
        pads = _pads(conv, x)
        how: tuple[Any, ...] = ((pads[0][1], pads[1][1]), conv.stride, conv.dilation, conv.groups)
        if self.packed is None or self.packed[0] != x.shape:
            weight = pad_in_front(conv.weight.detach(), pads).to_mkldnn()
            self.packed = x.shape, torch.ops.aten.mkldnn_reorder_conv2d_weight(weight, *how, x.shape)
        return torch.ops.mkldnn._convolution_pointwise(x, self.packed[1], conv.bias, *how, self.kind, self.limits, "")

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"packed": None}  # such tensors cannot be copied


def _pads(conv: nn.Conv2d, x: Tensor) -> Pads:
    if isinstance(conv, Conv2d):
        return conv.pads(x)
    assert not isinstance(conv.padding, str), "left alone by fuse_activations"
    rows, columns = conv.padding
    return (rows, rows), (columns, columns)


def fuse_activations(network: nn.Module) -> list[str]:
    """Fuse each ReLU or ReLU6 that directly follows a convolution in an nn.Sequential into it; returns their names.

    In place, and last of all: the network is to be where, and of the kind of numbers, that it will answer in. Where
    there is no oneDNN (on a GPU, an Apple CPU, or in bf16 on a CPU that emulates it) nothing is done. What
    `fold_batch_norm` leaves between the two does not count.
    """
    fused = []
    for name, chain in chains(network):
        layers = [(key, layer) for key, layer in chain.named_children() if type(layer) is not nn.Identity]
        for (first, conv), (second, act) in pairwise(layers):
            if not isinstance(conv, nn.Conv2d) or type(conv) not in CONVOLUTIONS or type(act) not in ACTIVATIONS:
                continue
            if _has_onednn(conv):
                setattr(chain, first, FusedConv2d(conv, act))
                setattr(chain, second, nn.Identity())
                fused.append(f"{name}.{second}" if name else second)
    return fused


def _has_onednn(conv: nn.Conv2d) -> bool:
    weight = conv.weight
    if weight.device.type != "cpu" or conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        return False
    if not torch.backends.mkldnn.is_available():
        return False
    if weight.dtype == torch.bfloat16:
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return weight.dtype == torch.float32
