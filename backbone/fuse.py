"""Layers that answer in fewer passes over memory: for networks that only answer, on a CPU."""

from itertools import pairwise

from torch import nn

from backbone.fold import CONVOLUTIONS, chains, is_chain
from backbone.fused_conv import ACTIVATIONS, FusedConv2d
from backbone.layers import ConvNormAct
from backbone.private import has_onednn
from backbone.separable import FusedSeparableConv


def fuse_activations(network: nn.Module) -> list[str]:
    """Fuse each ReLU or ReLU6 that directly follows a convolution in an nn.Sequential into it; returns their names.

    In place, and last of all: the network is to be where, and of the kind of numbers, that it will answer in. Where
    there is no oneDNN (on a GPU, an Apple CPU, or in bf16 on a CPU that emulates it) nothing is done. What
    `fold_batch_norm` leaves between the two does not count. Then each depthwise separable convolution becomes one
    operator, where `FusedSeparableConv` has a kernel for it, and a `ConvNormAct` becomes the one layer that is left
    of it: for a single image, calling layers that do nothing takes long too.
    """
    fused = []
    for name, chain in chains(network):
        for (first, conv), (second, act) in pairwise(_layers(chain)):
            if not isinstance(conv, nn.Conv2d) or type(conv) not in CONVOLUTIONS or type(act) not in ACTIVATIONS:
                continue
            if _has_onednn(conv):
                setattr(chain, first, FusedConv2d(conv, act))
                setattr(chain, second, nn.Identity())
                fused.append(f"{name}.{second}" if name else second)
    for _, chain in chains(network):
        for (first, before), (second, behind) in pairwise(_layers(chain)):
            depthwise, pointwise = _alone(before), _alone(behind)
            if depthwise is not None and pointwise is not None and FusedSeparableConv.takes(depthwise, pointwise):
                setattr(chain, first, FusedSeparableConv(depthwise, pointwise))
                setattr(chain, second, nn.Identity())
    for module in list(network.modules()):
        for name, part in module.named_children():
            if isinstance(part, ConvNormAct) and (only := _alone(part)) is not None:
                setattr(module, name, only)
    return fused


def _layers(chain: nn.Sequential) -> list[tuple[str, nn.Module]]:
    return [(name, layer) for name, layer in chain.named_children() if type(layer) is not nn.Identity]


def _alone(module: nn.Module) -> FusedConv2d | None:
    """The convolution that is all there is to a module."""
    while is_chain(module):
        layers = _layers(module)
        if len(layers) != 1:
            return None
        module = layers[0][1]
    return module if isinstance(module, FusedConv2d) else None


def _has_onednn(conv: nn.Conv2d) -> bool:
    weight = conv.weight
    if weight.device.type != "cpu" or conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        return False
    return has_onednn(weight.dtype)
