"""The initialisation for short runs from scratch."""

import pytest
import torch
from torch import nn

from backbone import MobileNetV1
from tasks.shared.network.isometric import isometric_init


@pytest.fixture
def net() -> MobileNetV1:
    torch.manual_seed(0)
    net = MobileNetV1(alpha=0.25)
    isometric_init(net)
    return net


def weight_of(net: nn.Module, unit: str) -> torch.Tensor:
    return net.get_parameter(f"{unit}.conv.weight").detach()


def test_pointwise_filters_are_orthogonal(net: MobileNetV1) -> None:
    weight = weight_of(net, "conv_13.pointwise").flatten(1)
    assert torch.allclose(weight @ weight.T, torch.eye(len(weight)), atol=1e-5)


def test_depthwise_filters_pass_a_plain_image_on(net: MobileNetV1) -> None:
    """At stride 1 by their centre, at stride 2 by the whole window; both sum up to about one and three."""
    keep = weight_of(net, "conv_3.depthwise")
    assert keep.mean(0)[0, 1, 1] > 0.8 and keep.mean(0)[0].flatten()[[0, 1, 2, 3, 5, 6, 7, 8]].abs().max() < 0.15
    pool = weight_of(net, "conv_4.depthwise")
    assert torch.allclose(pool.mean(0), torch.full((1, 3, 3), 1 / 3), atol=0.15)


def test_layers_with_bias_and_batch_norm_stay(net: MobileNetV1) -> None:
    head = nn.Conv2d(4, 4, 1)
    before = head.weight.clone()
    isometric_init(head)
    assert torch.equal(head.weight, before)
    assert all(m.weight.eq(1).all() for m in net.modules() if isinstance(m, nn.BatchNorm2d))


def test_images_stay_apart_where_the_published_init_loses_them() -> None:
    """Smooth random images: how much of a feature's variance lies between images, after all layers."""

    def told_apart(isometric: bool) -> float:
        torch.manual_seed(1)
        net = MobileNetV1(alpha=0.5)
        if isometric:
            isometric_init(net)
        colors = torch.rand(8, 3, 4, 4) * 2 - 1
        images = nn.functional.interpolate(colors, size=128, mode="bilinear")
        flipped = images.flip(-1) + 0.05 * torch.randn_like(images)  # the same image, another view
        with torch.no_grad():
            maps = net.train()(torch.cat([images, flipped]))["conv_13"].mean((2, 3))
        maps = nn.functional.normalize(maps - maps.mean(0), dim=1)
        likeness = maps[:8] @ maps[8:].T
        same = likeness.diagonal().mean()
        other = (likeness.sum() - likeness.diagonal().sum()) / (8 * 7)
        return float(same - other)

    assert told_apart(isometric=True) > told_apart(isometric=False) + 0.2


def test_linear_layers_start_near_zero():
    head = nn.Linear(1000, 50)
    isometric_init(nn.Sequential(nn.Conv2d(3, 8, 1, bias=False), head))
    assert abs(head.weight.std().item() - 0.01) < 0.0005
