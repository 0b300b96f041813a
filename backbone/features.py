"""What a backbone tells the heads that read it."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn


class FeatureInfo(NamedTuple):
    """One feature map that a backbone hands out.

    `name` is the key in the dict of maps, `channels` its channel count and `stride` the number of input
    pixels that one step on the map spans. Every stride-2 layer rounds up, so a map of an H x W picture
    has the size ceil(H / stride) x ceil(W / stride), for odd H and W too.
    """

    name: str
    channels: int
    stride: int


class Backbone(nn.Module):
    """What a head asks of a backbone. Any module that has these works; subclassing is for type checkers.

    feature_info: the maps that `forward` returns, in the order of the network (finest first).
    input_mean, input_std: the normalisation it expects, a channel each, of pixels scaled to [0, 1].
    """

    feature_info: list[FeatureInfo]
    input_mean: tuple[float, ...]
    input_std: tuple[float, ...]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Normalised pictures (B, 3, H, W) float -> maps by name, (B, channels, ceil(H/stride), ceil(W/stride))."""
        raise NotImplementedError


def select_taps(layers: Sequence[FeatureInfo], taps: Sequence[str | int]) -> list[FeatureInfo]:
    """The layers that `taps` names, in the order of the network.

    A tap is a layer's name (`"conv_11"`) or a stride (`16`), which means the last layer of that stride:
    the deepest features at that scale, whatever the layer is called in this backbone.

    Raises ValueError for a name or stride that no layer has, and for taps that name one layer twice.
    """
    if not taps:
        raise ValueError("backbone.taps is empty; expected at least one layer name or stride")
    last_of_stride = {layer.stride: layer for layer in layers}
    by_name = {layer.name: layer for layer in layers}
    chosen = []
    for tap in taps:
        layer = by_name.get(tap) if isinstance(tap, str) else last_of_stride.get(tap)
        if layer is None:
            raise ValueError(
                f"backbone.taps names {tap!r}, which this backbone does not have; expected a layer out of "
                f"{', '.join(by_name)} or a stride out of {', '.join(map(str, last_of_stride))}"
            )
        chosen.append(layer)
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"backbone.taps={list(taps)} names one layer twice")
    return sorted(chosen, key=list(layers).index)
