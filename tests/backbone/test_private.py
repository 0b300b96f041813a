"""Where torch lacks what it does not promise, the same is computed: each such thing is taken away."""

import copy
import importlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from backbone import MobileNetV1, fold_batch_norm, fuse_activations, private
from backbone.fuse import FusedConv2d
from backbone.kernels import checked
from backbone.separable import FusedSeparableConv
from tests.backbone.random_weights import randomize

Take = Callable[..., None]


@pytest.fixture
def without() -> Iterator[Take]:
    """`without(owner, name)` takes a name from torch, and looks all up anew."""
    patch = pytest.MonkeyPatch()

    def take(*missing: tuple[Any, str]) -> None:
        for owner, name in missing:
            if isinstance(owner, torch._ops._OpNamespace):
                real = type(owner).__getattr__
                patch.setattr(type(owner), "__getattr__", _lacking(real, owner, name))
                patch.delitem(owner.__dict__, name, raising=False)
            else:
                patch.delattr(owner, name)
        _look_up()

    yield take
    patch.undo()
    _look_up()


def _lacking(real: Any, owner: Any, missing: str) -> Any:
    def found(self: Any, name: str) -> Any:
        if self is owner and name == missing:
            raise AttributeError(name)
        return real(self, name)

    return found


def _look_up() -> None:
    """What `import backbone` finds; the classes stay, as those that are in use."""
    known = private.Prepared, private._forget
    importlib.reload(private)
    private.Prepared, private._forget = known  # type: ignore[misc]


def network() -> MobileNetV1:
    return randomize(MobileNetV1(0.25, taps=("conv_1", "conv_5"))).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def step(net: nn.Module) -> list[Tensor]:
    """What a step of training gives: maps, gradients and statistics."""
    torch.manual_seed(0)
    images = torch.randn(4, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    maps = net.train()(images)
    sum(m.square().mean() for m in maps.values()).backward()
    return [*maps.values(), *(p.grad for p in net.parameters() if p.grad is not None), *net.buffers()]


def answers(net: nn.Module, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    images = torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64).to(dtype)
    with torch.inference_mode():
        return list(net.eval()(images).values())


def assert_same(found: list[Tensor], expected: list[Tensor], exact: float = 1e-4) -> None:
    assert len(found) == len(expected) > 1
    for ours, theirs in zip(found, expected, strict=True):
        largest = theirs.abs().max().item()
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=exact * max(largest, 1e-3))


WATCHED = [
    (torch._C, "_len_torch_dispatch_stack"),
    (forward_ad, "_current_level"),
    (torch._C._functorch, "is_functorch_wrapped_tensor"),
]


@pytest.mark.parametrize("missing", WATCHED, ids=lambda m: m[1])
def test_a_step_and_an_answer_by_torchs_operators(
    missing: tuple[Any, str], without: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = network()
    other, fused = copy.deepcopy(net), copy.deepcopy(net)
    expected = step(net)
    fold_batch_norm(fused)
    plain = answers(fused)
    fuse_activations(fused)
    without(missing)
    monkeypatch.setattr(checked, "is_watched", private.is_watched)
    monkeypatch.setattr("backbone.separable.is_watched", private.is_watched)
    monkeypatch.setattr(checked, "call", None)  # of no kernel
    assert_same(step(other), expected)
    assert_same(answers(fused), plain)


@pytest.mark.parametrize("name", ["_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"])
def test_a_layer_that_does_not_know_its_hooks_may_have_some(name: str) -> None:
    layer = nn.ReLU()
    assert not private.has_hooks(layer)
    del layer.__dict__[name]
    assert private.has_hooks(layer)


@pytest.mark.parametrize("name", ["_convolution_pointwise", "_is_mkldnn_bf16_supported"])
def test_without_onednns_operators_nothing_is_fused(name: str, without: Take) -> None:
    dtype = torch.float32 if name == "_convolution_pointwise" else torch.bfloat16
    net = network()
    fold_batch_norm(net)
    net = net.to(dtype)
    expected = answers(net, dtype)
    without((torch.ops.mkldnn, name))
    assert not private.has_onednn(dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("backbone.fuse.has_onednn", private.has_onednn)
        assert fuse_activations(net) == []
    assert_same(answers(net, dtype), expected, exact=0)


@pytest.mark.skipif(not private.has_onednn(torch.float32), reason="without oneDNN nothing is fused")
def test_where_moves_are_not_told_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    assert private.TELLS
    net = network()
    fold_batch_norm(net)
    fuse_activations(net)
    layers = [m for m in net.modules() if isinstance(m, FusedConv2d | FusedSeparableConv)]
    expected = answers(net)
    assert any(layer.ready is not None for layer in layers)
    net.float()
    assert all(layer.ready is None for layer in layers), "torch tells of moves"
    monkeypatch.setattr(private, "TELLS", False)
    monkeypatch.setattr(private.Prepared, "_apply", nn.Module._apply)
    assert_same(answers(net), expected, exact=0)
    assert all(layer.ready is None for layer in layers)
    assert not private._tells()
    for parameter in net.parameters():
        parameter.data = parameter.data / 2
    assert not torch.equal(answers(net)[-1], expected[-1])


@pytest.mark.skipif(not private.has_onednn(torch.float32), reason="without oneDNN nothing is fused")
def test_loading_is_told() -> None:
    net = network()
    fold_batch_norm(net)
    fuse_activations(net)
    answers(net)
    layers = [m for m in net.modules() if isinstance(m, FusedConv2d | FusedSeparableConv)]
    state = {key: value * 0.5 for key, value in net.state_dict().items()}
    net.load_state_dict(state)
    assert all(layer.ready is None for layer in layers)
