"""What a backbone tells the heads that read it."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn


class FeatureInfo(NamedTuple):
    """One feature map that a backbone hands out.

    `name` is the key in the dict of maps, `channels` its channel count and `stride` the number of input
    pixels that one step on the map spans. Every stride-2 layer rounds up, so a map of an H x W image
    has the size ceil(H / stride) x ceil(W / stride), for odd H and W too.
    """

    name: str
    channels: int
    stride: int


class Backbone(nn.Module):
    """Layers in a row, and what a head asks of them.

    A subclass registers its layers as children in the order in which they run, each with the name that it has in
    `feature_info` if it is a tap; `forward` and `run` come with that. One whose layers form no row overrides `forward`,
    and `layers` to say so. Any module with these three attributes that returns a dict of maps fits every head but
    Faster-RCNN's, which needs `run`.

    feature_info: the maps that `forward` returns, in the order of the network (finest first).
    input_mean, input_std: the normalisation it expects, a channel each, of pixels scaled to [0, 1].
    """

    feature_info: list[FeatureInfo]
    input_mean: tuple[float, ...]
    input_std: tuple[float, ...]

    def layers(self) -> dict[str, nn.Module]:
        """By name, in the order in which they run, each on what the one before returns.

        Raises ValueError, naming the config key, where the backbone's layers form no such row.
        """
        return dict(self.named_children())

    def run(self, x: Tensor, *, after: str | None = None, until: str) -> Tensor:
        """The map of the layer `until` from that of the layer `after`, or from normalised images where that is None.

        For heads that run some layers elsewhere than on whole images, as Faster-RCNN does on crops.
        """
        layers = self.layers()
        names = list(layers)
        start = 0 if after is None else names.index(after) + 1
        for name in names[start : names.index(until) + 1]:
            x = layers[name](x)
        return x

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Normalised images (B, 3, H, W) float -> maps by name, (B, channels, ceil(H/stride), ceil(W/stride))."""
        wanted = {info.name for info in self.feature_info}
        maps: dict[str, Tensor] = {}
        x = images
        for name, layer in self.layers().items():
            x = layer(x)
            if name in wanted:
                maps[name] = x
        return maps


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
