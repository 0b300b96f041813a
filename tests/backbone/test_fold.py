"""Batch norm folded into the convolutions: the same function, and no batch norm left."""

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from backbone import MobileNetV1, fold_batch_norm
from backbone.layers import BatchNorm2d, Conv2d, ConvNormAct
from tests.backbone.random_weights import randomize

BODIES: dict[str, dict[str, Any]] = {
    "same": {"alpha": 0.25},
    "symmetric": {"alpha": 0.25, "padding": "symmetric"},
    "full convolutions": {"alpha": 0.25, "block": "conv", "activation": "relu"},
    "shallow": {"alpha": 0.5, "shallow": True, "depth_multiplier": 2, "bn_eps": 1e-5},
}


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * theirs.abs().max().item())


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_every_map_of_a_folded_network_is_the_same(body: str, layout: torch.memory_format) -> None:
    net = randomize(MobileNetV1(taps=("conv_0", "conv_5", "conv_13"), **BODIES[body])).to(memory_format=layout)
    images = torch.randn(2, 3, 65, 96)
    with torch.no_grad():
        expected = net(images)
        norms = [name for name, module in net.named_modules() if isinstance(module, nn.BatchNorm2d)]
        assert fold_batch_norm(net) == norms
        assert not any(isinstance(module, nn.BatchNorm2d) for module in net.modules())
        maps = net(images)
    for name, features in expected.items():
        assert features.std() > 0.01
        assert_close(maps[name], features)
        assert maps[name].isfinite().all()
    assert all(conv.weight.is_contiguous(memory_format=layout) for conv in net.modules() if isinstance(conv, nn.Conv2d))


def test_in_bf16_a_folded_network_points_the_same_way() -> None:
    net = randomize(MobileNetV1(0.25))
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = net(images)["conv_13"].flatten(1)
        fold_batch_norm(net)
        with torch.autocast("cpu", torch.bfloat16):
            rough = net(images)["conv_13"].flatten(1).float()
    assert (nn.functional.cosine_similarity(rough, expected) > 0.99).all()


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_by_the_definition_of_batch_norm(affine: bool, bias: bool) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, bias=bias), nn.BatchNorm2d(4, affine=affine)).eval()
    norm = net[1]
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.1, 3)
    if affine:
        norm.weight.data.normal_()
        norm.bias.data.normal_()
    x = torch.randn(2, 3, 9, 9)
    with torch.no_grad():
        y = net[0](x)
        mean, variance = (t.view(1, -1, 1, 1) for t in (norm.running_mean, norm.running_var))
        expected = (y - mean) / (variance + norm.eps).sqrt()
        if affine:
            expected = expected * norm.weight.view(1, -1, 1, 1) + norm.bias.view(1, -1, 1, 1)
        assert fold_batch_norm(net) == ["1"]
        assert_close(net(x), expected)


class Weird(nn.Sequential):
    """Its layers in another order."""

    def forward(self, input: Tensor) -> Tensor:
        return self[0](self[1](input))


@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.BatchNorm2d(3)),
        nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)),
        nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False)),
        nn.Sequential(nn.Conv2d(3, 3, 1), nn.GroupNorm(1, 3)),
        nn.Sequential(nn.ConvTranspose2d(3, 3, 1), nn.BatchNorm2d(3)),
        nn.Sequential(timm.layers.StdConv2d(3, 3, 1), nn.BatchNorm2d(3)),  # it normalises its weights
        nn.Sequential(nn.Conv2d(3, 3, 1), timm.layers.BatchNormAct2d(3)),  # it has a ReLU in it
        Weird(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)),
    ],
    ids=lambda net: f"{type(net).__name__}-{'-'.join(type(layer).__name__ for layer in net)}",
)
def test_what_cannot_be_folded_is_left_alone(net: nn.Module) -> None:
    net.eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    assert fold_batch_norm(net) == []
    after = net.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(after[name], before[name]) for name in before)


def test_other_networks_stay_the_same_function() -> None:
    net = timm.create_model("resnet18", num_classes=5).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = net(x)
        assert fold_batch_norm(net) == [f"layer{stage}.0.downsample.1" for stage in (2, 3, 4)]
        assert_close(net(x), expected)


def test_a_network_in_training_mode_is_refused() -> None:
    with pytest.raises(ValueError, match=r"training mode.*eval\(\)"):
        fold_batch_norm(MobileNetV1(0.25))


def test_a_folded_strided_depthwise_layer_still_has_its_gradients() -> None:
    """It leaves the fast path of training, whose gradients know of no bias."""
    layer = ConvNormAct(8, 8, 3, 2, groups=8).eval()
    norm = layer.norm
    assert isinstance(norm, BatchNorm2d) and norm.running_mean is not None
    norm.running_mean.normal_()
    fold_batch_norm(layer)
    assert isinstance(layer.conv, Conv2d) and layer.conv.bias is not None
    with torch.autocast("cpu", torch.bfloat16):
        layer(torch.randn(2, 8, 16, 16)).float().sum().backward()
    assert layer.conv.bias.grad is not None and layer.conv.bias.grad.abs().sum() > 0
