"""Batch norms folded into the convolutions before them: fewer layers for a network that only answers."""

from itertools import pairwise
from typing import TypeGuard

import torch
from torch import nn

from backbone.layers import BatchNorm2d, Conv2d, ConvNormAct

# Exactly these: others, such as timm's, may normalise their weights or activate besides.
CONVOLUTIONS = (nn.Conv2d, Conv2d)
NORMS = (nn.BatchNorm2d, BatchNorm2d)


@torch.no_grad()
def fold_batch_norm(network: nn.Module) -> list[str]:
    """Fold each batch norm that directly follows a convolution in an nn.Sequential into it; returns their names.

    In place. In evaluation the network stays the same function, to float precision (the folding itself is computed in
    float64); it has no statistics left to train with, and its state dict is another one: load weights before. What is
    laid out otherwise, such as most timm models, is left as it is.

    Raises ValueError for a network in training mode.
    """
    folded = []
    for name, chain in chains(network):
        layers = list(chain.named_children())
        for (_, conv), (key, norm) in pairwise(layers):
            if not isinstance(conv, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d):
                continue
            if type(conv) in CONVOLUTIONS and type(norm) in NORMS and norm.running_var is not None:
                _fold(conv, norm)
                setattr(chain, key, nn.Identity())
                folded.append(f"{name}.{key}" if name else key)
    return folded


def chains(network: nn.Module) -> list[tuple[str, nn.Sequential]]:
    """The modules that call their layers in order, by name.

    A class of its own may call them in another order, or hand out what is between them.
    """
    return [(name, module) for name, module in network.named_modules() if is_chain(module)]


def is_chain(module: nn.Module) -> TypeGuard[nn.Sequential]:
    """Whether a module calls its layers in order and does nothing besides."""
    in_order = (nn.Sequential.forward, ConvNormAct.forward)
    return isinstance(module, nn.Sequential) and type(module).forward in in_order


def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    if norm.training:
        raise ValueError("the network is in training mode, where batch norm is another function; call eval() first")
    assert norm.running_mean is not None and norm.running_var is not None
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale *= norm.weight.double()
    shift = -norm.running_mean.double() * scale
    if conv.bias is not None:
        shift += conv.bias.double() * scale
    if norm.bias is not None:
        shift += norm.bias.double()
    conv.weight.copy_(conv.weight.double() * scale.view(-1, 1, 1, 1))
    conv.bias = nn.Parameter(shift.to(conv.weight.dtype), requires_grad=conv.weight.requires_grad)
