"""Counts of the rows' networks: each is built on the meta device, from its preset or by torchvision."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import NamedTuple

import torch
from torchvision.models import get_model

from backbone import Cost, LayerCost, MobileNetV1, count_cost
from backbone.layers import ConvNormAct
from backbone.mobilenet import SeparableConv
from tasks.shared.config.compose import compose_config, network_config
from tasks.shared.config.nodes import NetworkConfig
from tasks.shared.network.meta import meta_network, network_cost
from tasks.shared.paper.rows import Network, Preset
from tasks.shared.paper.verdict import Number

KINDS = ("1x1 conv", "3x3 depthwise conv", "3x3 conv", "linear")  # of Table 2
AUXILIARY = ("googlenet", "inception_v3")  # those of torchvision with side heads, which are of use in training alone


class Count(NamedTuple):
    mult_adds: Number
    parameters: Number


class Counter:
    """Counts networks, and remembers what it has counted."""

    def __init__(self) -> None:
        self._configs: dict[tuple[str, ...], NetworkConfig] = {}
        self._costs: dict[Network, Cost] = {}

    def config(self, preset: Preset) -> NetworkConfig:
        """What makes its network."""
        overrides = (f"experiment={preset.experiment}", *preset.settings)
        if overrides not in self._configs:
            self._configs[overrides] = network_config(compose_config("train", list(overrides)))
        return self._configs[overrides]

    def cost(self, network: Network) -> Cost:
        """Of the whole network, whatever part of it its row counts."""
        whole = replace(network, part="") if isinstance(network, Preset) else network
        if whole not in self._costs:
            self._costs[whole] = self._count(whole)
        return self._costs[whole]

    def _count(self, network: Network) -> Cost:
        if isinstance(network, Preset):
            return network_cost(self.config(network), network.num_classes)
        options = {"aux_logits": False, "init_weights": False} if network.name in AUXILIARY else {}
        with torch.device("meta"):
            return count_cost(get_model(network.name, num_classes=network.num_classes, **options), network.size)


def as_built(counter: Counter, network: Network) -> Count:
    """All of it, or the layers that the preset names."""
    part = network.part if isinstance(network, Preset) else ""
    return _sum(layer for layer in counter.cost(network).layers if layer.name.startswith(part))


def all_learnable(counter: Counter, network: Network) -> Count:
    cost = counter.cost(network)
    return Count(cost.mult_adds, cost.parameters)


def body(counter: Counter, network: Network) -> Count:
    return _sum(layer for layer in counter.cost(network).layers if layer.name.startswith("backbone."))


def last_layer(counter: Counter, network: Network) -> Count:
    return _sum(counter.cost(network).layers[-1:])


def without_fc(counter: Counter, network: Network) -> Count:
    return _sum(layer for layer in counter.cost(network).layers if layer.type != "linear")


def with_1000_classes(counter: Counter, network: Network) -> Count:
    cost = counter.cost(replace(network, num_classes=1000))
    return Count(cost.mult_adds, cost.weights)


def counted_twice(counter: Counter, network: Network) -> Count:
    count = as_built(counter, network)
    return Count(2 * count.mult_adds, count.parameters)


def wide_start(counter: Counter, network: Network) -> Count:
    """The body with 16 channels after its first layer, at whatever alpha."""
    assert isinstance(network, Preset)
    with torch.device("meta"):
        net = meta_network(counter.config(network), network.num_classes).backbone
        assert isinstance(net, MobileNetV1)
        second = net.get_submodule("conv_1")
        assert isinstance(second, SeparableConv)
        net.add_module("conv_0", ConvNormAct(3, 16, 3, 2))
        net.add_module("conv_1", SeparableConv(16, second.pointwise.conv.out_channels, 1))
    cost = count_cost(net, counter.config(network).resolution)
    return Count(cost.mult_adds, cost.weights)


def share_of(type: str, counter: Counter, network: Network) -> Count:
    """Of all mult-adds and parameters, those in layers of a kind."""
    every = counter.cost(network)
    chosen = _sum(layer for layer in every.layers if layer.type == type)
    return Count(Fraction(chosen.mult_adds, every.mult_adds), Fraction(chosen.parameters, every.weights))


READINGS: dict[str, Callable[[Counter, Network], Count]] = {
    "": as_built,
    "all learnable": all_learnable,
    "body": body,
    "last layer": last_layer,
    "without FC": without_fc,
    "with 1000 classes": with_1000_classes,
    "counted twice": counted_twice,
    "with a 16-channel first layer": wide_start,
    **{f"share of {type}": partial(share_of, type) for type in KINDS},
}


def _sum(layers: Iterable[LayerCost]) -> Count:
    listed = list(layers)
    weights = {layer.name: layer.weights for layer in listed}
    return Count(sum(layer.mult_adds for layer in listed), sum(weights.values()))
