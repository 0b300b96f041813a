"""Activations fused into convolutions: the same function, and fewer layers."""

import copy

import pytest
import timm
import torch
from torch import nn

from backbone import MobileNetV1, count_cost, fold_batch_norm, fuse_activations
from backbone.fuse import FusedConv2d
from backbone.layers import ConvNormAct
from tests.backbone.random_weights import randomize
from tests.backbone.test_fold import BODIES

ONEDNN = torch.backends.mkldnn.is_available()
BF16 = ONEDNN and torch.ops.mkldnn._is_mkldnn_bf16_supported()
pytestmark = pytest.mark.skipif(not ONEDNN, reason="without oneDNN nothing is fused")
KINDS = [
    torch.float32,
    pytest.param(
        torch.bfloat16,
        marks=pytest.mark.skipif(not BF16, reason="oneDNN has no bf16 here"),
    ),
]


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("body", BODIES)
def test_every_map_is_the_same(body, layout, dtype):
    exact = 1e-5 if dtype == torch.float32 else 2**-6
    net = randomize(MobileNetV1(taps=("conv_0", "conv_5", "conv_13"), **BODIES[body]))
    fold_batch_norm(net)
    net = net.to(dtype=dtype, memory_format=layout)
    sizes = [(2, 64, 96), (2, 65, 96), (1, 65, 97), (3, 65, 97), (2, 64, 96)]  # the packed weights follow
    batches = [torch.randn(b, 3, h, w, dtype=dtype).contiguous(memory_format=layout) for b, h, w in sizes]
    with torch.inference_mode():
        expected = [net(images) for images in batches]
        acts = [name for name, module in net.named_modules() if isinstance(module, nn.ReLU | nn.ReLU6)]
        assert fuse_activations(net) == acts
        assert not any(isinstance(module, ConvNormAct | nn.BatchNorm2d) for module in net.modules())
        for images, maps in zip(batches, expected, strict=True):
            for name, features in net(images).items():
                assert features.std() > 0.01
                largest = maps[name].abs().max().item()
                torch.testing.assert_close(features, maps[name], rtol=0, atol=exact * largest)


@pytest.mark.parametrize("act", [nn.ReLU(), nn.ReLU6(inplace=True)])
@pytest.mark.parametrize("conv", [nn.Conv2d(8, 8, 3, 2, 1), nn.Conv2d(8, 4, (1, 3), padding=(0, 2), dilation=2)])
def test_torchs_own_layers(conv, act):
    chain, x = nn.Sequential(conv, nn.Identity(), act), 9 * torch.randn(2, 8, 9, 12)
    with torch.inference_mode():
        expected = chain(x)
        assert fuse_activations(chain) == ["2"] and expected.max() > 1 and expected.min() == 0
        torch.testing.assert_close(chain(x), expected, rtol=1e-5, atol=1e-5)


def test_a_fused_network_that_has_answered_can_be_copied_and_costs_the_same() -> None:
    net = MobileNetV1(0.25).eval()
    fold_batch_norm(net)
    cost = count_cost(net, 64)
    fuse_activations(net)
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected = net(images)["conv_13"]
        assert torch.equal(copy.deepcopy(net)(images)["conv_13"], expected)
    assert count_cost(net, 64).mult_adds == cost.mult_adds


def test_no_image_at_all() -> None:
    layer = ConvNormAct(4, 6, 3, 2).eval()
    fold_batch_norm(layer)
    fuse_activations(layer)
    with torch.inference_mode():
        assert layer(torch.zeros(0, 4, 8, 8)).shape == (0, 6, 4, 4)


def test_float_images_are_rounded_for_a_network_in_bf16() -> None:
    layer = ConvNormAct(4, 6, 3).eval()
    fold_batch_norm(layer)
    with torch.inference_mode():
        expected = layer(torch.ones(1, 4, 8, 8))
        fuse_activations(layer.bfloat16())
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(layer(torch.ones(1, 4, 8, 8)).float(), expected, rtol=0.02, atol=0.02)


def test_what_is_laid_out_otherwise_is_left() -> None:
    class Backwards(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self[0](self[1](x))

    kept = [
        nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3), nn.ReLU()),
        nn.Sequential(nn.Conv2d(3, 3, 3), nn.Hardswish()),
        nn.Sequential(nn.Conv2d(3, 3, 3, padding="same"), nn.ReLU()),
        nn.Sequential(nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect"), nn.ReLU()),
        nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU()).double(),
        nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU()).to("meta"),
        Backwards(nn.Conv2d(3, 3, 3), nn.ReLU()),
        timm.create_model("mobilenetv3_small_050"),
    ]
    for net in kept:
        assert fuse_activations(net) == [], net
        assert not any(isinstance(module, FusedConv2d) for module in net.modules())
