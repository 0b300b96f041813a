"""What is computed in C++ against torch, in double precision."""

import platform
import shutil
from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from backbone import MobileNetV1, kernels, norm_act
from backbone.depthwise import has_kernel
from backbone.gradients import ReLU6
from backbone.kernels import checked
from backbone.layers import BatchNorm2d, Conv2d, ConvNormAct

compiled = pytest.mark.skipif(not kernels.kernels(), reason="the kernels were not compiled when this was installed")
KINDS = [pytest.param(torch.float32, id="fp32"), pytest.param(torch.bfloat16, id="bf16")]
ROUNDED = {torch.float32: 1e-5, torch.bfloat16: 2**-8}  # relative


def last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def assert_near(ours: Tensor, exact: Tensor, dtype: torch.dtype) -> None:
    """Each number to what rounding leaves of it and of the numbers beside it."""
    torch.testing.assert_close(
        ours.double(), exact, rtol=ROUNDED[dtype], atol=ROUNDED[dtype] * exact.abs().mean().item()
    )


def test_where_there_is_a_compiler_they_were_compiled() -> None:
    if platform.system() != "Linux" or shutil.which("g++") is None:
        pytest.skip("no g++, or it may lack OpenMP")
    expected = 6 if torch.backends.cpu.get_cpu_capability() == "DEFAULT" else 7  # the last is for CPUs with AVX2
    assert len(kernels.kernels()) == expected


class Layers:
    """Batch norm and an activation with drawn numbers, and what goes in and comes back."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, act: nn.Module, far: float = 0.5):
        torch.manual_seed(0)
        self.norm, self.act = BatchNorm2d(shape[1], eps=1e-3, momentum=0.1), act
        nn.init.uniform_(self.norm.weight, -2, 2)
        nn.init.normal_(self.norm.bias, 2)
        nn.init.normal_(self.norm.running_mean)  # type: ignore[arg-type]
        self.x = last((torch.randn(shape) * torch.rand(1, shape[1], 1, 1) * 3 + far).to(dtype)).requires_grad_()
        self.grad = last(torch.randn(shape).to(dtype))

    def exact(self) -> tuple[Tensor, ...]:
        """y, the gradients of x, weight and bias, the running mean and variance: all in double precision, by torch."""
        norm = nn.BatchNorm2d(self.norm.num_features, eps=self.norm.eps, momentum=self.norm.momentum).double()
        norm.load_state_dict(self.norm.state_dict())
        x = self.x.detach().double().requires_grad_()
        between = norm(x)
        y = between.clamp(0, 6) if isinstance(self.act, nn.ReLU6) else between.clamp(0)
        found = torch.autograd.grad(y, [x, *norm.parameters()], self.grad.double())
        assert norm.running_mean is not None and norm.running_var is not None
        return y.detach(), *found, norm.running_mean, norm.running_var

    def ours(self) -> tuple[Tensor, ...]:
        assert norm_act.applies(self.norm, self.act, self.x)
        y = norm_act.norm_act(self.norm, self.act, self.x)
        found = torch.autograd.grad(y, [self.x, *self.norm.parameters()], self.grad)
        assert self.norm.running_mean is not None and self.norm.running_var is not None
        return y.detach(), *found, self.norm.running_mean, self.norm.running_var


SHAPES = [(2, 8, 5, 7), (1, 3, 1, 2), (3, 1, 4, 4), (4, 70, 33, 31), (2, 2000, 3, 3)]


@compiled
@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("act", [nn.ReLU(), nn.ReLU6(), ReLU6(inplace=True)], ids=["relu", "torch's relu6", "relu6"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_norm_and_activation_in_one(shape: tuple[int, ...], act: nn.Module, dtype: torch.dtype) -> None:
    torch.set_num_threads(3)
    layers = Layers(shape, dtype, act)
    exact, ours = layers.exact(), layers.ours()
    assert [t.dtype for t in ours] == [dtype, dtype] + [torch.float32] * 4
    assert ours[0].is_contiguous(memory_format=torch.channels_last) and layers.norm.num_batches_tracked == 1
    # Sums are rounded as fp32 whatever the maps are; x_hat near the limits of the activation may fall on either side.
    for mine, true, kind in zip(ours, exact, (dtype, dtype, *[torch.float32] * 4), strict=True):
        assert_near(mine, true, kind)


@compiled
@pytest.mark.parametrize("dtype", KINDS)
def test_a_mean_far_from_zero_leaves_the_variance_its_digits(dtype: torch.dtype) -> None:
    layers = Layers((4, 16, 32, 32), dtype, ReLU6(), far=1000.0)
    exact, ours = layers.exact(), layers.ours()
    torch.testing.assert_close(ours[5].double(), exact[5], rtol=1e-4, atol=1e-6)


@compiled
def test_a_constant_channel_and_nan_do_as_in_torch() -> None:
    for value in (3.0, float("nan"), float("inf")):
        norm, x = BatchNorm2d(2, momentum=0.5), last(torch.randn(2, 2, 3, 3))
        x[:, 1] = value
        x.requires_grad_()
        ours = norm_act.norm_act(norm, ReLU6(), x)
        theirs = F.relu6(F.batch_norm(x, None, None, norm.weight, norm.bias, True, 0.0, norm.eps))
        torch.testing.assert_close(ours, theirs, equal_nan=True, rtol=1e-5, atol=1e-4)
        back = [torch.autograd.grad(y.sum(), x)[0][:, 0] for y in (ours, theirs)]
        torch.testing.assert_close(*back, atol=1e-5, rtol=1e-5)


@compiled
def test_the_same_threads_give_the_same_bits() -> None:
    torch.set_num_threads(4)
    runs = [Layers((8, 48, 40, 40), torch.float32, ReLU6()).ours() for _ in range(5)]
    assert all(torch.equal(a, b) for run in runs for a, b in zip(run, runs[0], strict=True))


@compiled
def test_gradients_of_gradients_are_torchs() -> None:
    layers = Layers((2, 16, 5, 5), torch.float32, ReLU6())
    unit = ConvNormAct(16, 16, 3, groups=16).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def penalty(watched: bool) -> list[Tensor]:
        handle = unit.act.register_forward_hook(lambda *_: None) if watched else None  # then the layers are torch's
        (grad,) = torch.autograd.grad(unit(layers.x).square().sum(), layers.x, create_graph=True)
        if handle:
            handle.remove()
        return list(torch.autograd.grad(grad.square().sum(), list(unit.parameters())))

    for ours, theirs in zip(penalty(False), penalty(True), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3 * theirs.abs().max().item())


@compiled
def test_where_it_does_not_apply_the_layers_are_torchs() -> None:
    norm, act, x = BatchNorm2d(16), ReLU6(), last(torch.randn(2, 16, 4, 4))
    assert norm_act.applies(norm, act, x)
    other = [
        (norm.eval(), act, x),
        (BatchNorm2d(16), nn.Hardswish(), x),
        (BatchNorm2d(16), act, x.contiguous()),
        (BatchNorm2d(16), act, x.half()),
        (BatchNorm2d(16), act, x.double()),
        (BatchNorm2d(16), act, x[:1, :, :1, :1]),
        (BatchNorm2d(16), act, x[:0]),
        (BatchNorm2d(16).bfloat16(), act, x.bfloat16()),
        (BatchNorm2d(16, affine=False), act, x),
        (BatchNorm2d(16, momentum=None), act, x),
        (BatchNorm2d(16, track_running_stats=False), act, x),
        (BatchNorm2d(16), act, x.to("meta")),
    ]
    assert not any(norm_act.applies(*layers) for layers in other)
    with torch.no_grad():
        assert not norm_act.applies(BatchNorm2d(16), act, x)


@pytest.mark.parametrize("watch", ["register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook"])
@pytest.mark.parametrize("part", ["norm", "act"])
def test_hooks_of_the_layers_are_called(part: str, watch: str) -> None:
    unit, calls = ConvNormAct(3, 16, 3), []
    getattr(getattr(unit, part), watch)(lambda *_: calls.append(part))
    unit(last(torch.randn(2, 3, 8, 8, requires_grad=True))).sum().backward()
    assert calls == [part]


DEPTHWISE = [
    pytest.param(size, stride, padding, id=f"{size} stride {stride} {padding}")
    for size, stride, padding in product([(9, 12), (8, 7), (1, 1), (2, 1), (3, 40)], [1, 2], ["same", "symmetric"])
]


@compiled
@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize(("channels", "threads"), [(8, 3), (40, 1), (48, 3)])  # 16 of them are computed at once, or 8
@pytest.mark.parametrize(("size", "stride", "padding"), DEPTHWISE)
def test_depthwise_gradients_in_one_pass(
    size: tuple[int, int], stride: int, padding: str, channels: int, threads: int, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    conv = Conv2d(channels, channels, 3, stride, groups=channels, padding=padding)
    x = last(torch.randn(5, channels, *size).to(dtype)).requires_grad_()
    assert has_kernel(x, conv.weight, (stride, stride), conv.pads(x))
    (top, bottom), (left, right) = conv.pads(x)
    exact_x, exact_weight = x.detach().double().requires_grad_(), conv.weight.detach().to(dtype).double()
    exact_weight.requires_grad_()
    exact = F.conv2d(F.pad(exact_x, (left, right, top, bottom)), exact_weight, None, stride, groups=channels)
    grad = last(torch.randn(exact.shape).to(dtype))
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        y = conv(x)
    ours = torch.autograd.grad(y, [x, conv.weight], grad)
    assert_near(y.detach(), exact.detach(), dtype)
    for mine, true in zip(ours, torch.autograd.grad(exact, [exact_x, exact_weight], grad.double()), strict=True):
        assert_near(mine, true, dtype)


@compiled
def test_depthwise_gradients_that_do_not_fit_are_torchs() -> None:
    x, conv = last(torch.randn(2, 16, 4, 4)), Conv2d(16, 16, 3, groups=16)
    others = [(x, Conv2d(16, 32, 3, groups=16)), (x, Conv2d(16, 16, 5, groups=16)), (x, Conv2d(16, 16, 3, 3, 16))]
    others += [(x.contiguous(), conv), (last(torch.randn(2, 12, 4, 4)), Conv2d(12, 12, 3, groups=12))]
    for inputs, other in [(x, conv), *others]:
        fits = has_kernel(inputs, other.weight, (other.stride[0], other.stride[1]), other.pads(inputs))
        assert fits == (inputs is x and other is conv)
        inputs.requires_grad_()
        other(inputs).sum().backward()
        assert other.weight.grad is not None


@compiled
@pytest.mark.parametrize("dtype", KINDS)
def test_a_network_learns_the_same_with_and_without_them(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss after loss; and they are used, by 27 units of which 13 are depthwise."""

    def losses() -> list[float]:
        torch.manual_seed(0)
        net = MobileNetV1(0.5).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        images = last(torch.randn(4, 3, 64, 64))
        optimizer, found = torch.optim.SGD(net.parameters(), 0.01), []
        for _ in range(2):
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
                loss = net(images)["conv_13"].float().square().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            found.append(loss.item())
        return found

    calls: list[str] = []

    def call(name: str, *arguments: Any) -> None:
        calls.append(name)
        kernels.call(name, *arguments)

    monkeypatch.setattr(checked, "call", call)
    ours = losses()
    expected = {"norm_act_forward": 27, "norm_act_backward": 27, "depthwise_backward": 13}
    assert {name: calls.count(name) / 2 for name in set(calls)} == expected
    monkeypatch.setattr(checked, "kernels", dict)
    calls.clear()
    assert ours == pytest.approx(losses(), rel=1e-3 if dtype == torch.float32 else 0.05)
    assert not calls


def test_who_watches_operators_sees_torchs() -> None:
    unit = ConvNormAct(16, 16, 3, 2, groups=16).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = last(torch.randn(2, 16, 8, 8))
    plain = nn.Sequential(
        nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(16, 16, 3, 2, groups=16), nn.BatchNorm2d(16), nn.ReLU6()
    )
    counted = []
    for net in (unit, plain):
        with FlopCounterMode(display=False) as counter:
            net(x.requires_grad_()).sum().backward()
        counted.append(counter.get_total_flops())
    assert counted[0] == counted[1] > 0
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fake = mode.from_tensor(x.detach()).requires_grad_()
        (grad,) = torch.autograd.grad(unit.eval()(fake).sum(), fake)
        assert grad.shape == x.shape


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradients_of_each_image_by_vmap(layout: torch.memory_format) -> None:
    unit = ConvNormAct(16, 16, 3, 2, groups=16).eval().to(memory_format=layout)  # type: ignore[call-overload]
    images = torch.randn(3, 16, 8, 8).contiguous(memory_format=layout)
    weights: dict[str, Tensor] = dict(unit.named_parameters())

    def loss(weights: dict[str, Tensor], image: Tensor) -> Tensor:
        return torch.func.functional_call(unit, weights, (image[None],)).square().sum()

    found = torch.func.vmap(torch.func.grad(loss), (None, 0))(weights, images)
    for at, image in enumerate(images):
        alone = torch.autograd.grad(loss(weights, image), list(weights.values()))
        for of_all, one in zip(found.values(), alone, strict=True):
            torch.testing.assert_close(of_all[at], one, rtol=1e-4, atol=1e-4)
