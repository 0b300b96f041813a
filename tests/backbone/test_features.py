"""Backbones whose layers run in a row: what `Backbone` gives them for nothing."""

import pytest
import torch
from torch import nn

from backbone import Backbone, MobileNetV1, select_taps
from backbone.features import FeatureInfo


class Three(Backbone):
    """Three layers, of which the first two can be told apart by what they add."""

    input_mean = input_std = (0.5, 0.5, 0.5)

    def __init__(self, taps: tuple[str | int, ...] = ("one", "three")):
        super().__init__()
        layers = [FeatureInfo("one", 3, 2), FeatureInfo("two", 3, 4), FeatureInfo("three", 3, 8)]
        self.feature_info = select_taps(layers, taps)
        for info in layers:
            self.add_module(info.name, nn.Conv2d(3, 3, 3, stride=2, padding=1))


@pytest.mark.parametrize("backbone", [Three(), MobileNetV1(0.25, ("conv_3", "conv_11", "conv_13"))], ids=["own", "v1"])
def test_a_run_goes_from_map_to_map(backbone: Backbone) -> None:
    backbone.eval()
    with torch.no_grad():
        x = torch.randn(2, 3, 64, 64)
        maps = backbone(x)
        assert list(maps) == [info.name for info in backbone.feature_info]
        before = None
        for info in backbone.feature_info:
            assert maps[info.name].shape == (2, info.channels, 64 // info.stride, 64 // info.stride)
            assert torch.equal(backbone.run(x, until=info.name), maps[info.name])
            if before is not None:
                assert torch.equal(backbone.run(maps[before], after=before, until=info.name), maps[info.name])
            before = info.name


def test_only_the_layers_asked_for_run() -> None:
    backbone, ran = Three(), []
    for name, layer in backbone.layers().items():
        layer.register_forward_hook(lambda *_, name=name: ran.append(name))
    x = backbone.run(torch.randn(1, 3, 16, 16), until="one")
    assert ran == ["one"]
    backbone.run(x, after="one", until="two")
    assert ran == ["one", "two"]
