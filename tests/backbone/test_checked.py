"""What must never reach C++: each layer then answers as torch does, or raises as torch does."""

import ast
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.autograd import forward_ad

from backbone import fuse_activations, kernels, norm_act
from backbone.depthwise import has_kernel
from backbone.kernels import checked
from backbone.layers import BatchNorm2d, Conv2d, ConvNormAct

ROOT = Path(__file__).parents[2]
compiled = pytest.mark.skipif(len(kernels.kernels()) < 7, reason="the kernels were not compiled, or not for this CPU")
pytestmark = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")


def last(*shape: int) -> Tensor:
    return torch.randn(shape).contiguous(memory_format=torch.channels_last)


class Named(Tensor):
    """A class of its own, whose numbers may be anywhere."""


def shrunken(t: Tensor) -> Tensor:
    """Its storage holds a half of it."""
    t = t.clone()
    t.untyped_storage().resize_(t.untyped_storage().nbytes() // 2)
    return t


def freed(t: Tensor) -> Tensor:
    t = t.clone()
    t.untyped_storage().resize_(0)
    return t


def crooked(t: Tensor) -> Tensor:
    """At an address that is no multiple of a number's size."""
    raw = bytearray(t.numel() * 4 + 1)
    return torch.frombuffer(raw, dtype=torch.float32, offset=1, count=t.numel()).view(t.shape)


# What a vector of 64 channels may have become.
VECTORS: dict[str, Callable[[Tensor], Any]] = {
    "shorter": lambda t: t[:8].clone(),
    "longer": lambda t: t.repeat(2),
    "one": lambda t: t[:1].clone(),
    "none": lambda t: None,
    "empty": lambda t: t[:0].clone(),
    "two axes": lambda t: t.view(1, -1),
    "no axes": lambda t: t[0],
    "bf16": Tensor.bfloat16,
    "fp16": Tensor.half,
    "fp64": Tensor.double,
    "integers": Tensor.long,
    "complex": lambda t: t.to(torch.complex64),
    "meta": lambda t: t.to("meta"),
    "sparse": Tensor.to_sparse,
    "a class of its own": lambda t: t.as_subclass(Named),
    "every other": lambda t: t.repeat_interleave(2)[::2],
    "expanded": lambda t: t[:1].expand(64),
    "negated later": lambda t: torch._neg_view(t),  # type: ignore[attr-defined]
    "zeros of no memory": lambda t: torch._efficientzerotensor(64),  # type: ignore[attr-defined]
    "functional": lambda t: torch._to_functional_tensor(t),  # type: ignore[attr-defined]
    "nested": lambda t: torch.nested.nested_tensor([t[:30], t[30:]]),
    "crooked": crooked,
}
READ = ("every other", "expanded")  # which are copied, and then read
SHRUNKEN: dict[str, Callable[[Tensor], Tensor]] = {"shrunken": shrunken, "freed": freed}  # torch itself would read on


def outcome(compute: Callable[[], Any]) -> Any:
    """What comes out, or the kind of what is raised."""
    try:
        return compute()
    except (RuntimeError, ValueError, TypeError, NotImplementedError, IndexError) as error:
        return RuntimeError if isinstance(error, RuntimeError) else type(error)


def assert_same(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, Tensor) and theirs.layout is torch.strided and not theirs.is_nested and theirs.is_cpu:
        assert isinstance(ours, Tensor)
        if type(theirs) is Tensor and not torch._is_functional_tensor(theirs):  # type: ignore[attr-defined]
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4, equal_nan=True)
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    else:
        assert isinstance(ours, Tensor) if isinstance(theirs, Tensor) else ours is theirs


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kernels that were called."""
    made: list[str] = []
    call = checked.call

    def note(name: str, *arguments: Any) -> None:
        made.append(name)
        call(name, *arguments)

    monkeypatch.setattr(checked, "call", note)
    return made


def unit_with(name: str, value: Any) -> ConvNormAct:
    torch.manual_seed(0)
    unit = ConvNormAct(64, 64, 1, bn_momentum=0.1).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    registered = unit.norm._buffers if name.startswith("running") else unit.norm._parameters
    registered[name] = value if name.startswith("running") or value is None else as_parameter(value)
    return unit


def as_parameter(value: Tensor) -> Any:
    """A Parameter, where it can be one."""
    if type(value) is not Tensor or not value.is_floating_point() or value.is_nested or value.layout != torch.strided:
        return value
    return nn.Parameter(value)


@compiled
@pytest.mark.parametrize("kind", VECTORS)
@pytest.mark.parametrize("name", ["weight", "bias", "running_mean", "running_var"])
def test_other_numbers_by_channel(name: str, kind: str, calls: list[str]) -> None:
    def train(watched: bool) -> Any:
        unit = unit_with(name, VECTORS[kind](torch.rand(64) + 0.5))
        if watched:
            unit.act.register_forward_hook(lambda *_: None)  # then the layers are torch's
        x = last(2, 64, 3, 3).requires_grad_()
        y = unit(x)
        y.sum().backward()
        return y

    torch.manual_seed(1)
    ours = outcome(lambda: train(False))
    copied = name in ("weight", "bias") and kind in READ
    assert calls == (["norm_act_forward", "norm_act_backward"] if copied else [])
    torch.manual_seed(1)
    assert_same(ours, outcome(lambda: train(True)))


@compiled
@pytest.mark.parametrize("kind", SHRUNKEN)
@pytest.mark.parametrize("name", ["weight", "bias", "running_mean", "running_var"])
def test_numbers_by_channel_that_were_given_back(name: str, kind: str) -> None:
    unit = unit_with(name, SHRUNKEN[kind](torch.ones(64)))
    assert not norm_act.applies(unit.norm, unit.act, last(2, 64, 3, 3))


@compiled
def test_more_channels_than_the_norm_has(calls: list[str]) -> None:
    norm, act, x = BatchNorm2d(8), nn.ReLU(), last(2, 64, 4, 4)
    unit = ConvNormAct(64, 64, 1)
    unit.norm, unit.act = norm, act
    with pytest.raises(RuntimeError, match="running_mean should contain 64 elements not 8"):
        unit(x)
    norm.num_batches_tracked = None
    assert not norm_act.applies(norm, act, last(2, 8, 4, 4)) and calls == []


# What a map (2, 16, 6, 6), channels last, may have become.
MAPS: dict[str, Callable[[Tensor], Tensor]] = {
    "channels first": Tensor.contiguous,
    "bf16": Tensor.bfloat16,
    "fp16": Tensor.half,
    "fp64": Tensor.double,
    "meta": lambda x: x.to("meta"),
    "empty": lambda x: x[:0],
    "no rows": lambda x: x[:, :, :0],
    "a part": lambda x: x[:, :, 1:, 1:],
    "expanded": lambda x: x[:1].expand(2, -1, -1, -1),
    "three axes": lambda x: x[0],
    "five axes": lambda x: x[None],
    "sparse": Tensor.to_sparse,
    "oneDNN's": lambda x: x.contiguous().to_mkldnn(),
    "a class of its own": lambda x: x.as_subclass(Named),
    "negated later": lambda x: torch._neg_view(x),  # type: ignore[attr-defined]
    "functional": lambda x: torch._to_functional_tensor(x),  # type: ignore[attr-defined]
    "nested": lambda x: torch.nested.nested_tensor([x[0], x[1]]),
    "other channels": lambda x: last(2, 24, 6, 6),
    "three dimensions": lambda x: torch.randn(2, 16, 3, 3, 3).to(memory_format=torch.channels_last_3d),
}


@compiled
@pytest.mark.parametrize("kind", MAPS)
def test_other_maps_of_a_fused_convolution(kind: str, calls: list[str]) -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.ReLU(), nn.Conv2d(16, 24, 1), nn.ReLU())
    plain = plain.eval().requires_grad_(False)
    fused, usual = copy.deepcopy(plain), last(2, 16, 6, 6)
    x = MAPS[kind](usual)
    fuse_activations(fused)
    for first in (False, True):  # before it has packed its weights, and after
        if first:
            torch.testing.assert_close(fused(usual), plain(usual), rtol=1e-4, atol=1e-4)
            calls.clear()
        ours, theirs = outcome(lambda: fused(x)), outcome(lambda: plain(x))
        assert calls == []
        if kind not in ("bf16", "fp16", "fp64", "oneDNN's"):  # those are made what the weights are
            assert_same(ours, theirs)


@compiled
@pytest.mark.parametrize("kind", MAPS)
def test_other_maps_in_training(kind: str, calls: list[str]) -> None:
    unit = ConvNormAct(16, 16, 3, groups=16)
    x = MAPS[kind](last(2, 16, 6, 6))
    stride, pads = (1, 1), ((1, 1), (1, 1))
    if kind != "bf16":  # for which there are kernels
        assert not has_kernel(x, unit.conv.weight, stride, pads)
        assert not norm_act.applies(unit.norm, unit.act, x)
    assert checked.depthwise_backward(last(2, 16, 6, 6), x, unit.conv.weight, stride, pads) is None
    if kind not in ("channels first", "a part", "expanded"):  # which are copied
        statistics = torch.ones(4, 16)
        assert checked.norm_act_backward(last(2, 16, 6, 6), x, 1e-3, 6.0, statistics) is None
    assert calls == []


@compiled
@pytest.mark.parametrize("kind", SHRUNKEN)
def test_maps_and_weights_that_were_given_back(kind: str) -> None:
    fewer = SHRUNKEN[kind]
    x, weight = last(2, 16, 6, 6), torch.randn(16, 1, 3, 3)
    stride, pads, statistics = (1, 1), ((1, 1), (1, 1)), torch.ones(4, 16)
    assert checked.depthwise_backward(x, x, weight, stride, pads) is not None
    assert checked.depthwise_backward(fewer(x), x, weight, stride, pads) is None
    assert checked.depthwise_backward(x, fewer(x), weight, stride, pads) is None
    assert checked.depthwise_backward(x, x, fewer(weight), stride, pads) is None
    assert checked.norm_act_backward(x, x, 1e-3, 6.0, statistics) is not None
    assert checked.norm_act_backward(fewer(x), x, 1e-3, 6.0, statistics) is None
    assert checked.norm_act_backward(x, fewer(x), 1e-3, 6.0, statistics) is None
    assert checked.norm_act_backward(x, x, 1e-3, 6.0, fewer(statistics)) is None
    for at in range(4):
        given = [weight, torch.ones(16), torch.randn(24, 16, 1, 1), torch.ones(24)]
        assert checked.SeparableWeights.pack(*given) is not None
        given[at] = fewer(given[at])
        assert checked.SeparableWeights.pack(*given) is None
    weights = checked.SeparableWeights.pack(weight, None, torch.randn(24, 16, 1, 1), None)
    run = checked.SeparableForward.of(weights, x, stride, pads, 6.0)
    assert run is not None and run(x) is not None and run(fewer(x)) is None and run(last(2, 16, 6, 8)) is None


@compiled
@pytest.mark.parametrize("grad", [(2, 16, 5, 6), (2, 16, 6, 7), (1, 16, 6, 6), (2, 8, 6, 6), (2, 16, 7, 7)], ids=str)
def test_a_gradient_of_another_shape(grad: tuple[int, ...], calls: list[str]) -> None:
    x, weight = last(2, 16, 6, 6), torch.randn(16, 1, 3, 3)
    assert checked.depthwise_backward(x, last(*grad), weight, (1, 1), ((1, 1), (1, 1))) is None
    assert checked.norm_act_backward(x, last(*grad), 1e-3, 6.0, torch.ones(4, 16)) is None
    assert checked.norm_act_backward(x, x, 1e-3, 6.0, torch.ones(4, 8)) is None and calls == []


@compiled
@pytest.mark.parametrize("stride", [(3, 3), (1, 2), (0, 0), (-1, -1)])
def test_other_strides_and_pads(stride: tuple[int, int], calls: list[str]) -> None:
    x, weight = last(2, 16, 6, 6), torch.randn(16, 1, 3, 3)
    weights = checked.SeparableWeights.pack(weight, None, torch.randn(24, 16, 1, 1), None)
    for pads in (((1, 1), (1, 1)), ((2, 1), (1, 1)), ((1, 1), (-1, 1)), ((0, -9), (0, -9))):
        for of in {stride, (1, 1)} if pads != ((1, 1), (1, 1)) else {stride}:
            assert checked.depthwise_backward(x, x, weight, of, pads) is None
            assert checked.SeparableForward.of(weights, x, of, pads, 6.0) is None
    assert calls == []


@compiled
@pytest.mark.parametrize("default", [torch.float16, torch.bfloat16, torch.float64, "meta"], ids=str)
def test_torchs_defaults_for_new_tensors_change_nothing(default: Any, calls: list[str]) -> None:
    """Results in numbers of two bytes would be written over."""
    torch.manual_seed(0)
    unit, x = ConvNormAct(16, 16, 3, groups=16).to(memory_format=torch.channels_last), last(2, 16, 6, 6)  # type: ignore[call-overload]
    fused = nn.Sequential(Conv2d(16, 16, 3, groups=16), nn.ReLU(), Conv2d(16, 24, 1), nn.ReLU()).eval()
    expected, answer = copy.deepcopy(unit)(x.requires_grad_()), fused(x).detach()
    calls.clear()
    fuse_activations(fused)
    before = torch.get_default_dtype()
    try:
        torch.set_default_device("meta") if default == "meta" else torch.set_default_dtype(default)
        with torch.inference_mode():
            given = fused(x.detach())
        y = unit(x)
        y.backward(torch.ones_like(y))
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(before)
    assert calls == ["separable_forward", "norm_act_forward", "norm_act_backward", "depthwise_backward"]
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(given, answer, rtol=1e-4, atol=1e-4)


@compiled
def test_weights_that_change_after_the_first_answer(calls: list[str]) -> None:
    def made() -> Any:
        fused = nn.Sequential(Conv2d(16, 16, 3, groups=16), nn.ReLU(), Conv2d(16, 24, 1), nn.ReLU()).eval()
        fuse_activations(fused)
        return fused.requires_grad_(False)

    x, wider = last(1, 16, 6, 6), last(1, 16, 8, 9)
    fused = made()
    fused(x)
    other = copy.deepcopy(fused)
    for parameter in other.parameters():
        parameter.add_(1)
    fused.load_state_dict(other.state_dict())
    torch.testing.assert_close(fused(x), other(x))
    fused(x)
    assert isinstance(outcome(lambda: fused.to("meta")(x)), (Tensor, type)) and fused[0].ready is None
    fused = made()
    fused(x)
    calls.clear()
    fused[0].pointwise.conv = Conv2d(16, 512, 1)  # more than were packed: those that were are read, no others
    assert fused(wider).shape == (1, 24, 8, 9) and calls == ["separable_forward"]
    fused = made()
    fused[0].depthwise.conv.weight.data = torch.randn(8, 1, 3, 3)
    calls.clear()
    with pytest.raises(RuntimeError):
        fused(x)
    assert calls == []


@compiled
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")  # of torch's own, which forward mode loads
def test_who_asks_for_derivatives_by_forward_mode_or_fakes_gets_torchs(calls: list[str]) -> None:
    unit, x = ConvNormAct(16, 16, 3, groups=16).to(memory_format=torch.channels_last), last(2, 16, 6, 6)  # type: ignore[call-overload]
    pads = ((1, 1), (1, 1))
    assert norm_act.applies(unit.norm, unit.act, x) and has_kernel(x, unit.conv.weight, (1, 1), pads)
    with forward_ad.dual_level():
        x = forward_ad.make_dual(x, torch.ones_like(x))
        assert not norm_act.applies(unit.norm, unit.act, x) and not has_kernel(x, unit.conv.weight, (1, 1), pads)
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert unit(last(2, 16, 6, 6).requires_grad_()).shape == x.shape
    assert calls == []


@compiled
def test_a_gradient_that_the_kernel_does_not_take_is_torchs(calls: list[str]) -> None:
    unit = ConvNormAct(16, 16, 1).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x, grad = last(2, 16, 6, 6).requires_grad_(), last(2, 16, 6, 6)
    y = unit(x)
    ours = torch.autograd.grad(y, list(unit.parameters()), grad, retain_graph=True)
    theirs = torch.autograd.grad(y, list(unit.parameters()), torch._neg_view(-grad))  # type: ignore[attr-defined]
    assert calls == ["norm_act_forward", "norm_act_backward"]
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_no_memory_beside_the_tensors_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "kernels", lambda: {("x", torch.float32): lambda *_: 1})
    with pytest.raises(MemoryError, match="x: not enough memory"):
        kernels.call("x", torch.float32)


def test_a_folded_norm_without_statistics_is_torchs() -> None:
    norm, x = BatchNorm2d(16, track_running_stats=False), last(2, 16, 4, 4).requires_grad_()
    assert not norm_act.applies(norm, nn.ReLU(), x)
    torch.testing.assert_close(norm(x), F.batch_norm(x, None, None, norm.weight, norm.bias, True, 0.1, norm.eps))


def test_addresses_are_taken_in_one_place() -> None:
    """And ctypes is used where libraries are loaded; runtime.py asks the C library for its heap."""
    expected = {
        "data_ptr": {"backbone/kernels/checked.py"},
        "ctypes": {
            "backbone/kernels/__init__.py",
            "tasks/shared/images/jpeg_part.py",
            "tasks/shared/network/runtime.py",
        },
        "call": {"backbone/kernels/checked.py"},  # of the kernels
    }
    found: dict[str, set[str]] = {what: set() for what in expected}
    for path in (p for folder in ("backbone", "tasks", "tools") for p in (ROOT / folder).rglob("*.py")):
        text, where = path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()
        if not any(word in text for word in ("data_ptr", "ctypes", "backbone.kernels import")):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Attribute) and node.attr in ("data_ptr", "ctypes"):
                found[node.attr].add(where)
            elif isinstance(node, ast.Import) and any(alias.name == "ctypes" for alias in node.names):
                found["ctypes"].add(where)
            elif isinstance(node, ast.ImportFrom) and node.module == "backbone.kernels":
                found["call"] |= {where for alias in node.names if alias.name == "call"}
    assert found == expected
