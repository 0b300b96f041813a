"""The fast path (bf16 autocast, channels_last, backbone/depthwise.py, gradients.py) has the gradients of fp32 in NCHW.

Layer by layer: each gets what went into it in fp32, and the gradient that came back. Of the whole network in bf16 that
cannot be asked: what 27 layers round sets other ReLU6 on and off, and the gradients of a network that has not been
trained yet come out otherwise (cosine 0.3 to 0.9), in torch's own bf16 as in ours; in fp32 they do agree.
"""

import copy
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backbone import MobileNetV1
from backbone.gradients import ReLU6
from backbone.layers import BatchNorm2d, Conv2d

LEAST = 0.999  # cosine
CANCELLED = 2**-8  # the step from 1 to the next number in bf16, of the sum of the magnitudes that a sum is of


class Seen(NamedTuple):
    """What went into a layer in fp32 and NCHW, and the gradient that came back to its output."""

    layer: nn.Module
    x: Tensor
    back: Tensor


def make_network(alpha: float) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    body = MobileNetV1(alpha)
    net = nn.ModuleDict({"body": body, "head": nn.Linear(body.feature_info[-1].channels, 10)})
    return net.train(), 2 * torch.rand(8, 3, 96, 96) - 1, torch.arange(8)


def run(net: nn.Module, images: Tensor, labels: Tensor, bf16: bool) -> dict[str, Tensor]:
    """The gradients of all its parameters."""
    net.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        logits = net["head"](net["body"](images)["conv_13"].mean((2, 3)))  # type: ignore[index]
    F.cross_entropy(logits.float(), labels).backward()
    return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


@pytest.fixture(scope="module")
def seen() -> dict[str, Seen]:
    net, images, labels = make_network(0.5)
    inputs: dict[str, Tensor] = {}
    backs: dict[str, Tensor] = {}
    for name, layer in net.named_modules():
        if not list(layer.children()):

            def note(_: nn.Module, x: tuple[Tensor, ...], y: Tensor, name: str = name) -> None:
                inputs[name] = x[0].detach().clone()
                y.register_hook(lambda gradient: backs.__setitem__(name, gradient.clone()))

            layer.register_forward_hook(note)
    run(net, images, labels, bf16=False)
    net.zero_grad()
    layers = dict(net.named_modules())
    for name in inputs:
        layers[name]._forward_hooks.clear()
    return {name: Seen(layers[name], x, backs[name]) for name, x in inputs.items()}


def gradients(seen: Seen, fast: bool) -> dict[str, Tensor]:
    """Of a layer's input and parameters."""
    layer, x = copy.deepcopy(seen.layer), seen.x.clone()
    if fast:
        layer, x = layer.to(memory_format=torch.channels_last), x.to(torch.bfloat16)  # type: ignore[call-overload]
        x = x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x
    x.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=fast):
        y = layer(x)
    names = ["input", *(name for name, _ in layer.named_parameters())]
    return dict(zip(names, torch.autograd.grad(y, [x, *layer.parameters()], seen.back.to(y.dtype)), strict=True))


def cosine(a: Tensor, b: Tensor) -> float:
    return F.cosine_similarity(a.double().flatten(), b.double().flatten(), dim=0).item()


def test_every_layer_has_the_gradients_of_fp32(seen: dict[str, Seen]) -> None:
    kinds = [type(layer) for layer, _, _ in seen.values()]
    assert [kinds.count(kind) for kind in (Conv2d, BatchNorm2d, ReLU6, nn.Linear)] == [27, 27, 27, 1]
    for name, about in seen.items():
        exact, fast = gradients(about, fast=False), gradients(about, fast=True)
        for what in exact:
            if isinstance(about.layer, BatchNorm2d) and what == "weight":
                continue  # below
            assert exact[what].abs().max() > 0, (name, what)
            assert cosine(exact[what], fast[what]) >= LEAST, (name, what)
            ratio = (fast[what].double().norm() / exact[what].double().norm()).item()
            assert ratio == pytest.approx(1, abs=0.01), (name, what)


def test_the_gains_of_batch_norm_have_those_of_fp32_to_what_their_sums_cancel(seen: dict[str, Seen]) -> None:
    """Each is a sum of terms of both signs that come to almost nothing, as batch norm follows again two layers on."""
    for name, about in seen.items():
        if isinstance(about.layer, BatchNorm2d):
            exact, fast = (gradients(about, fast)["weight"].double() for fast in (False, True))
            x = about.x.double()
            variance, mean = torch.var_mean(x, (0, 2, 3), correction=0, keepdim=True)
            terms = about.back.double() * (x - mean) / (variance + about.layer.eps).sqrt()
            torch.testing.assert_close(terms.sum((0, 2, 3)), exact, rtol=1e-3, atol=1e-5 * terms.abs().sum().item())
            assert ((fast - exact).abs() <= CANCELLED * terms.abs().sum((0, 2, 3))).all(), name


def test_in_fp32_the_whole_network_has_the_gradients_of_nchw() -> None:
    net, images, labels = make_network(0.5)
    exact = run(net, images, labels, bf16=False)
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fast = run(net, images.contiguous(memory_format=torch.channels_last), labels, bf16=False)
    assert exact.keys() == fast.keys() and len(exact) == 3 * 27 + 2
    assert all(cosine(exact[name], fast[name]) >= LEAST for name in exact)


def test_in_bf16_it_is_as_near_to_fp32_as_torchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Distances of the gradients of all weights, as shares of their length."""
    net, images, labels = make_network(0.5)
    exact = run(net, images, labels, bf16=False)

    def distance() -> float:
        rough = run(net, images.contiguous(memory_format=torch.channels_last), labels, bf16=True)
        both = [(exact[name].double().flatten(), rough[name].double().flatten()) for name in exact]
        away = torch.cat([(a - b) / a.norm() for a, b in both])
        return (away.norm() / len(both) ** 0.5).item()

    ours = distance()
    monkeypatch.setattr(Conv2d, "forward", plain_forward)
    torchs = distance()
    assert 0 < ours < 1.2 * torchs


def plain_forward(conv: Conv2d, x: Tensor) -> Tensor:
    """The padded convolution in torch alone."""
    if conv.pad_by_size:
        top, left = (x.shape[axis] % 2 for axis in (-2, -1))
        x = F.pad(x, (left, 1, top, 1))
    return nn.Conv2d.forward(conv, x)
