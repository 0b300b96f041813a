"""A depthwise separable convolution in one kernel, against torch in double precision."""

import copy
import math
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from backbone import MobileNetV1, fold_batch_norm, fuse_activations, kernels, separable
from backbone.fused_conv import FusedConv2d
from backbone.gradients import ReLU6
from backbone.kernels import checked
from backbone.layers import Conv2d
from backbone.separable import FusedSeparableConv

compiled = pytest.mark.skipif(
    (separable.NAME, torch.float32) not in kernels.kernels(), reason="the kernel was not compiled, or not for this CPU"
)


def pair(
    channels: int, outputs: int, stride: int, padding: str = "same", act: type[nn.Module] = ReLU6
) -> nn.Sequential:
    torch.manual_seed(0)
    layers = Conv2d(channels, channels, 3, stride, channels, padding), act(), Conv2d(channels, outputs, 1), act()
    for conv in layers[::2]:
        assert isinstance(conv, Conv2d)
        nn.init.normal_(conv.weight)
        conv.bias = nn.Parameter(torch.randn(conv.out_channels))
    return nn.Sequential(*layers).eval().requires_grad_(False)


def last(*shape: int) -> Tensor:
    return torch.randn(shape).contiguous(memory_format=torch.channels_last)


def fused(net: nn.Sequential) -> nn.Sequential:
    net = copy.deepcopy(net)
    fuse_activations(net)
    return net


def count_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by one for each call of the kernel from here on."""
    calls: list[str] = []
    call = checked.call

    def note(name: str, *arguments: object) -> None:
        calls.append(name)
        call(name, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(checked, "call", note)
    return calls


SIZES = (1, 1), (2, 3), (5, 4), (16, 17), (29, 7)
WIDTHS = (8, 1), (24, 40), (16, 32), (40, 31), (136, 64)


@compiled
@pytest.mark.parametrize("padding", ["same", "symmetric"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels, outputs", WIDTHS)
def test_it_computes_what_torch_does(
    channels: int, outputs: int, stride: int, padding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = pair(channels, outputs, stride, padding)
    ours, calls = fused(net), count_calls(monkeypatch)
    for (height, width), batch in product(SIZES, (1, 3)):
        x = last(batch, channels, height, width)
        exact, answers = net.double()(x.double()), []
        for threads in (1, 2, 5):  # more than one share out the rows, or where the maps are small the outputs
            torch.set_num_threads(threads)
            answers.append(ours(x))
        y = answers[0]
        assert y.shape == exact.shape and y.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(y.double(), exact, rtol=1e-5, atol=1e-5 * channels)
        assert torch.equal(y, answers[1]) and torch.equal(y, answers[2])
    assert calls == [separable.NAME] * len(SIZES) * 6


@compiled
@pytest.mark.parametrize("outputs", [64, 48, 40])
def test_an_output_that_no_cache_holds(outputs: int) -> None:
    net, x = pair(8, outputs, 1), last(1, 8, 500, 480)
    ours = fused(net)(x)
    assert ours.numel() * 4 > 1 << 25
    torch.testing.assert_close(ours, net(x), rtol=1e-5, atol=1e-4)


@compiled
@pytest.mark.parametrize("act, ceiling", [(nn.ReLU, math.inf), (nn.ReLU6, 6.0), (ReLU6, 6.0)])
def test_activations(act: type[nn.Module], ceiling: float, monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = pair(16, 48, 1, act=act), 9 * last(2, 16, 9, 9)
    calls, y = count_calls(monkeypatch), fused(net)(x)
    assert len(calls) == 1 and y.min() == 0 and 6 <= y.max() <= ceiling
    torch.testing.assert_close(y, net(x), rtol=1e-4, atol=1e-3)


@compiled
def test_what_is_no_number_stays_none() -> None:
    x = last(1, 16, 8, 8)
    x[0, 3, 2, 2] = math.nan
    y = fused(pair(16, 32, 1))(x)
    assert y[0, :, 1:4, 1:4].isnan().all() and y.isnan().any(1).sum() == 9


@compiled
def test_without_biases() -> None:
    net = pair(8, 8, 2)
    for conv in net[::2]:
        conv.bias = None  # type: ignore[assignment]
    x = last(2, 8, 7, 7)
    torch.testing.assert_close(fused(net)(x), net(x), rtol=1e-5, atol=1e-4)


class Residual(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


@compiled
def test_a_chain_that_does_more_than_its_layers_stays_one() -> None:
    first, act, second, last_act = pair(16, 32, 1)
    net = nn.Sequential(Residual(nn.Sequential(first, act)), nn.Sequential(second, last_act))
    x = last(2, 16, 8, 8)
    expected = net(x)
    fuse_activations(net)
    torch.testing.assert_close(net(x), expected, rtol=1e-5, atol=1e-4)


@compiled
def test_each_pair_of_a_network_is_one_and_maps_between_blocks_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    net = MobileNetV1(0.25, taps=("conv_3", "conv_13")).eval().to(memory_format=torch.channels_last)
    fold_batch_norm(net)
    images = last(2, 3, 64, 64)
    with torch.inference_mode():
        expected = net(images)
        fuse_activations(net)
        calls = count_calls(monkeypatch)
        for name, features in net(images).items():
            torch.testing.assert_close(features, expected[name], rtol=1e-4, atol=1e-5)
    assert len(calls) == 13


@compiled
@pytest.mark.parametrize("kind", ["bf16", "channels first", "exported", "empty"])
def test_other_inputs_take_the_two_operators(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = pair(16, 32, 1), last(2, 16, 8, 8)
    ours, calls = fused(net), count_calls(monkeypatch)
    inputs = {"bf16": x.bfloat16(), "channels first": x.contiguous(), "exported": x, "empty": x[:0]}[kind]
    monkeypatch.setattr(separable, "is_exported", lambda: kind == "exported")
    y = ours(inputs)
    assert calls == [] and y.shape[1:] == (32, 8, 8)
    if kind != "empty":
        near = 0.05 if kind == "bf16" else 1e-4
        torch.testing.assert_close(y.float(), net(x), rtol=near, atol=near)


@compiled
@pytest.mark.parametrize("channels", [8, 24])
def test_maps_of_other_channels_never_reach_it(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    net, calls = fused(pair(16, 32, 1)), count_calls(monkeypatch)
    with pytest.raises(RuntimeError):
        net(last(2, channels, 8, 8))
    assert calls == []


@compiled
def test_a_network_that_is_rounded_after_all_still_answers() -> None:
    net, x = pair(16, 32, 1), last(2, 16, 8, 8)
    expected = net.bfloat16().float()(x)
    torch.testing.assert_close(fused(net).bfloat16()(x), expected, rtol=1e-4, atol=1e-4)


def fused_pair(**changes: object) -> tuple[FusedConv2d, FusedConv2d]:
    first = {"in_channels": 16, "out_channels": 16, "kernel_size": 3, "padding": 1, "groups": 16}
    second = {"in_channels": 16, "out_channels": 24, "kernel_size": 1}
    acts = [nn.ReLU6(), nn.ReLU6()]
    for key, value in changes.items():
        which, _, name = key.partition("_")
        if name == "act":
            acts[which == "second"] = value  # type: ignore[call-overload]
        else:
            {"first": first, "second": second}[which][name] = value  # type: ignore[assignment]
    return FusedConv2d(nn.Conv2d(**first), acts[0]), FusedConv2d(nn.Conv2d(**second), acts[1])  # type: ignore[arg-type]


@compiled
@pytest.mark.parametrize(
    "changes",
    [
        {"first_kernel_size": 5, "first_padding": 2},
        {"first_groups": 8},
        {"first_stride": 3},
        {"first_stride": (1, 2)},
        {"first_dilation": 2},
        {"first_padding": 0},
        {"first_dtype": torch.bfloat16},
        {"second_dtype": torch.bfloat16},
        {"second_kernel_size": 3},
        {"second_stride": 2},
        {"second_padding": 1},
        {"second_groups": 2},
        {"second_act": nn.ReLU()},
        {"first_in_channels": 12, "first_out_channels": 12, "first_groups": 12, "second_in_channels": 12},
        {"first_out_channels": 32, "second_in_channels": 32},
    ],
    ids=str,
)
def test_others_are_left(changes: dict[str, object]) -> None:
    assert FusedSeparableConv.takes(*fused_pair()) and not FusedSeparableConv.takes(*fused_pair(**changes))


def test_without_the_kernel_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(separable, "kernels", dict)
    net = fused(pair(16, 32, 1))
    assert not any(isinstance(module, FusedSeparableConv) for module in net.modules())


@compiled
def test_a_copy_packs_its_own_weights() -> None:
    net, x = fused(pair(16, 32, 1)), last(1, 16, 8, 8)
    expected = net(x)
    other = copy.deepcopy(net)
    assert other[0].ready is None and torch.equal(other(x), expected)
