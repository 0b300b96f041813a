"""Operators whose gradients are computed otherwise than torch does, against torch's own in fp32."""

import io
from collections.abc import Callable
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backbone import MobileNetV1
from backbone.gradients import ReLU6
from backbone.layers import Conv2d


def cosine(a: Tensor, b: Tensor) -> float:
    return F.cosine_similarity(a.double().flatten(), b.double().flatten(), dim=0).item()


def plain(conv: Conv2d, x: Tensor) -> Tensor:
    """Padded and convolved by torch alone; even sizes are padded behind."""
    if conv.pad_by_size:
        top, left = (size % 2 for size in x.shape[2:])
        x = F.pad(x, (left, 1, top, 1))
    return nn.Conv2d.forward(conv, x)


DEPTHWISE = [
    pytest.param(stride, padding, multiplier, size, id=f"stride {stride} {padding} x{multiplier} of {size}")
    for stride, padding, multiplier, size in product((1, 2), ("same", "symmetric"), (1, 2), ((16, 17), (9, 8), (1, 2)))
]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("stride", "padding", "multiplier", "size"), DEPTHWISE)
def test_depthwise_in_bf16_has_the_gradients_of_fp32(stride, padding, multiplier, size, layout):
    torch.manual_seed(0)
    conv = Conv2d(8, 8 * multiplier, 3, stride, groups=8, padding=padding)
    check_gradients(conv, torch.randn(2, 8, *size).contiguous(memory_format=layout))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(5, 4), (1, 1)])
@pytest.mark.parametrize("inputs", [32, 128, 160])
def test_pointwise_in_bf16_has_the_gradients_of_fp32(inputs, size, layout):
    torch.manual_seed(0)
    check_gradients(Conv2d(inputs, 48, 1), torch.randn(3, inputs, *size).contiguous(memory_format=layout))


def check_gradients(conv: Conv2d, x: Tensor) -> None:
    """What comes out under autocast, and both gradients, against fp32."""

    def run(forward: Callable[[Tensor], Tensor], bf16: bool) -> list[Tensor]:
        inputs = x.clone(memory_format=torch.preserve_format).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            out = forward(inputs)
        assert out.dtype == (torch.bfloat16 if bf16 else torch.float32)
        weights_of_loss = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
        return [out, *torch.autograd.grad((out.float() * weights_of_loss).sum(), [inputs, conv.weight])]

    exact, rough = run(lambda inputs: plain(conv, inputs), bf16=False), run(conv, bf16=True)
    assert [t.shape for t in rough] == [t.shape for t in exact]
    assert rough[1].dtype == rough[2].dtype == torch.float32
    assert all(cosine(a, b) >= 0.999 for a, b in zip(exact, rough, strict=True))
    ratios = [(b.float().norm() / a.norm()).item() for a, b in zip(exact, rough, strict=True)]
    assert ratios == pytest.approx([1, 1, 1], rel=0.02)


@pytest.mark.parametrize(
    "make", [lambda: Conv2d(4, 4, 3, 2, 4), lambda: Conv2d(4, 4, 3, 1, 4), lambda: Conv2d(128, 4, 1)]
)
@pytest.mark.parametrize(("needs_x", "needs_weight"), [(True, False), (False, True)])
def test_without_one_of_the_gradients(make, needs_x, needs_weight):
    conv = make()
    conv.weight.requires_grad_(needs_weight)
    x = torch.randn(1, conv.in_channels, 6, 6).contiguous(memory_format=torch.channels_last).requires_grad_(needs_x)
    with torch.autocast("cpu", torch.bfloat16):
        conv(x).float().sum().backward()
    assert (x.grad is not None, conv.weight.grad is not None) == (needs_x, needs_weight)


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("size", [(8, 9), (7, 7), (1, 2)])
def test_training_in_fp32_is_exactly_torchs_own(groups, size):
    conv, x = Conv2d(4, 8, 3, 2, groups), torch.randn(2, 4, *size, requires_grad=True)
    outputs = conv(x), plain(conv, x)
    assert torch.equal(*outputs)
    gradients = [torch.autograd.grad(y.square().sum(), [x, conv.weight]) for y in outputs]
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("size", [(8, 9), (9, 8), (8, 8), (7, 7), (1, 2)])
def test_without_gradients_nothing_is_padded_and_the_answer_is_the_same(size, groups, bias, monkeypatch):
    conv, x = Conv2d(4, 8, 3, 2, groups), torch.randn(2, 4, *size)
    if bias:
        conv.bias = nn.Parameter(torch.randn(8))
    expected = plain(conv, x).detach()
    pad = F.pad

    def pad_kernels_alone(t: Tensor, pads: tuple[int, ...]) -> Tensor:
        assert t.shape == conv.weight.shape
        return pad(t, pads)

    monkeypatch.setattr(F, "pad", pad_kernels_alone)
    with torch.inference_mode():
        torch.testing.assert_close(conv(x), expected)


def test_an_exported_network_has_kernels_of_three() -> None:
    program = torch.export.export(MobileNetV1(0.25).eval(), (torch.zeros(1, 3, 64, 64),))
    with torch.no_grad():
        quiet = torch.export.export(MobileNetV1(0.25).eval(), (torch.zeros(1, 3, 64, 64),))
    for exported in (program, quiet):
        kernels = [n.args[1].meta["val"].shape[2:] for n in exported.graph.nodes if "conv2d" in str(n.target)]
        assert len(kernels) == 27 and set(kernels) == {(3, 3), (1, 1)}


@pytest.mark.filterwarnings("ignore")  # the tracer's, of sizes that become constants
@pytest.mark.parametrize("bf16", [False, True])
def test_a_traced_network_can_be_saved_and_answers_alike(bf16: bool) -> None:
    net, images = MobileNetV1(0.25).eval(), torch.randn(1, 3, 64, 64)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16, cache_enabled=False):
        traced = torch.jit.trace(net, images, strict=False, check_trace=False)
    file = io.BytesIO()
    torch.jit.save(traced, file)
    file.seek(0)
    with torch.no_grad():
        answer = torch.jit.load(file)(images)["conv_13"].float()
        torch.testing.assert_close(
            answer, net(images)["conv_13"], rtol=0.05 if bf16 else 1e-4, atol=0.05 if bf16 else 1e-5
        )


def test_relu6_has_torchs_own_gradients_and_keeps_nothing_but_its_output() -> None:
    x = torch.tensor([-7.0, -0.0, 0.0, 1e-30, 3.0, 5.999, 6.0, 7.0, float("inf"), float("nan")], requires_grad=True)
    weights = torch.arange(1.0, 11)
    kept: list[int] = []

    def keep(t: Tensor) -> Tensor:
        kept.append(t.data_ptr())
        return t

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        ours = ReLU6(inplace=True)(x)
    assert kept == [ours.data_ptr()]
    theirs = F.relu6(x)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)
    gradients = [torch.autograd.grad((y * weights).sum(), x)[0] for y in (ours, theirs)]
    assert torch.equal(gradients[0][:-1], gradients[1][:-1])
    values = torch.linspace(-1, 7, 10, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ReLU6(), values) and torch.autograd.gradgradcheck(ReLU6(), values)


def test_relu6_under_transforms_and_without_gradients() -> None:
    act, x = ReLU6(inplace=True), torch.randn(4, 5) * 5
    per_row = torch.func.vmap(torch.func.grad(lambda row: act(row).square().sum()))(x)
    assert torch.equal(per_row, 2 * x.clamp(0, 6) * ((x > 0) & (x < 6)))
    again = x.clone()
    assert act(again) is again and torch.equal(again, x.clamp(0, 6))
