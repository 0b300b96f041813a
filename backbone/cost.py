"""Mult-adds and parameters of a network, counted on its real modules by the paper's convention."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call


@dataclass(frozen=True)
class LayerCost:
    """One convolution or linear layer: `mult_adds` for one image, `weights` without its bias."""

    name: str
    type: str
    output_size: tuple[int, ...]
    mult_adds: int
    weights: int


@dataclass(frozen=True)
class Cost:
    """The cost of a network for one image.

    mult_adds: multiply-accumulates of convolutions and linear layers; bias, batch norm, activation and
        pooling are free (Sec. 3.1, and the counting that gives the paper's tables).
    weights: parameters of those layers without biases: what Tables 1 to 11 print.
    parameters: all learnable parameters, batch norm's and biases included: what Table 13 prints.
    layers: the layers that ran, in the order they ran.
    """

    mult_adds: int
    weights: int
    parameters: int
    layers: tuple[LayerCost, ...]

    def __str__(self) -> str:
        width = max([len(layer.name) for layer in self.layers] + [5])
        rows = [f"{'layer':{width}}  {'type':14} {'output':>16} {'mult-adds':>15} {'weights':>12}"]
        for layer in self.layers:
            size = "x".join(map(str, layer.output_size))
            rows.append(f"{layer.name:{width}}  {layer.type:14} {size:>16} {layer.mult_adds:15,} {layer.weights:12,}")
        rows.append(f"{'total':{width}}  {'':14} {'':>16} {self.mult_adds:15,} {self.weights:12,}")
        rows.append(f"learnable parameters, with biases and batch norm: {self.parameters:,}")
        return "\n".join(rows)


def count_cost(module: nn.Module, input_size: int | tuple[int, int], in_channels: int = 3) -> Cost:
    """Count what `module` does for one image of `input_size` (a side, or (height, width)) pixels.

    Runs `module` once on the meta device, so nothing is computed and no memory is taken; the module itself
    is left as it is. Its forward must take a (1, in_channels, height, width) batch and read no pixel values.
    A layer that runs several times costs mult-adds each time and weights once.
    """
    height, width = (input_size, input_size) if isinstance(input_size, int) else input_size
    if height < 1 or width < 1:
        raise ValueError(f"input_size={input_size}; expected a positive number of pixels")
    calls: list[tuple[nn.Module, LayerCost]] = []

    def record(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(layer: nn.Module, _: Any, output: Tensor) -> None:
            calls.append((layer, _layer_cost(name, layer, output)))

        return hook

    hooks = [
        layer.register_forward_hook(record(name))
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    modes = [(part, part.training) for part in module.modules()]
    state = {name: t.to("meta") for name, t in [*module.named_parameters(), *module.named_buffers()]}
    try:
        module.eval()
        with torch.no_grad():
            functional_call(module, state, (torch.empty(1, in_channels, height, width, device="meta"),))
    finally:
        for hook in hooks:
            hook.remove()
        for part, training in modes:
            part.training = training
    distinct = {id(layer): cost.weights for layer, cost in calls}
    return Cost(
        mult_adds=sum(cost.mult_adds for _, cost in calls),
        weights=sum(distinct.values()),
        parameters=sum(p.numel() for p in module.parameters()),
        layers=tuple(cost for _, cost in calls),
    )


def _layer_cost(name: str, layer: nn.Module, output: Tensor) -> LayerCost:
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    weights = layer.weight.numel()
    if isinstance(layer, nn.Linear):
        return LayerCost(name, "linear", tuple(output.shape[1:]), output.numel() * layer.in_features, weights)
    size = layer.kernel_size
    depthwise = layer.groups > 1 and layer.groups == layer.in_channels
    type = f"{size[0]}x{size[1]}" + (" depthwise" if depthwise else "") + " conv"
    return LayerCost(name, type, tuple(output.shape[1:]), output.shape[0] * output[0, 0].numel() * weights, weights)
