"""The layers against slow loops and torch's own operators."""

from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from backbone.layers import BatchNorm2d, Conv2d, ConvNormAct
from backbone.padding import same_padding


def tensorflow_pads(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """SAME padding as TensorFlow's documentation of tf.nn words it."""
    total = max(kernel - stride, 0) if size % stride == 0 else max(kernel - size % stride, 0)
    return total // 2, total - total // 2


def slow_same_convolution(x: np.ndarray, weight: np.ndarray, stride: int, groups: int) -> np.ndarray:
    """(C, H, W) and (O, C / groups, k, k) to (O, ceil(H / stride), ceil(W / stride)), one output at a time."""
    (_, height, width), (outputs, per_group, kernel, _) = x.shape, weight.shape
    top, left = tensorflow_pads(height, kernel, stride)[0], tensorflow_pads(width, kernel, stride)[0]
    out = np.zeros((outputs, -(-height // stride), -(-width // stride)))
    for o, row, col in np.ndindex(*out.shape):
        first = o // (outputs // groups) * per_group
        for i, j in product(range(kernel), repeat=2):
            y, z = row * stride + i - top, col * stride + j - left
            if 0 <= y < height and 0 <= z < width:
                out[o, row, col] += x[first : first + per_group, y, z] @ weight[o, :, i, j]
    return out


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pads"),
    [
        *[(4, 3, 2, (0, 1)), (224, 3, 2, (0, 1)), (5, 3, 2, (1, 1)), (75, 3, 2, (1, 1)), (19, 3, 2, (1, 1))],
        *[
            (1, 3, 2, (1, 1)),
            (2, 3, 2, (0, 1)),
            (4, 3, 1, (1, 1)),
            (5, 3, 1, (1, 1)),
            (6, 1, 2, (0, 0)),
            (7, 1, 2, (0, 0)),
        ],
    ],
)
def test_same_padding_worked_by_hand(size, kernel, stride, pads):
    assert same_padding(size, kernel, stride) == pads


@pytest.mark.parametrize("size", range(1, 13))
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("groups", [1, 2])
def test_same_convolution_equals_a_slow_loop(size, stride, kernel, groups):
    width = size % 12 + 1  # the other parity, and 1 beside 12
    conv = Conv2d(2, 4, kernel, stride, groups).double()
    x = torch.randn(1, 2, size, width, dtype=torch.float64)
    expected = slow_same_convolution(x[0].numpy(), conv.weight.detach().numpy(), stride, groups)
    torch.testing.assert_close(conv(x)[0].detach(), torch.from_numpy(expected))


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("size", [(8, 8), (7, 8), (1, 1)])
def test_symmetric_convolution_is_torchs_own(groups, size):
    conv = Conv2d(4, 8, 3, 2, groups, padding="symmetric")
    x = torch.randn(2, 4, *size)
    assert torch.equal(conv(x), F.conv2d(x, conv.weight, stride=2, padding=1, groups=groups))


def test_symmetric_and_same_differ_on_even_sizes_only():
    same, symmetric = Conv2d(3, 4, 3, 2), Conv2d(3, 4, 3, 2, padding="symmetric")
    symmetric.load_state_dict(same.state_dict())
    even, odd = torch.randn(1, 3, 8, 8), torch.randn(1, 3, 9, 9)
    assert not torch.allclose(same(even), symmetric(even), atol=1e-2)
    torch.testing.assert_close(same(odd), symmetric(odd))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("size", [(4, 5), (5, 4), (1, 2)])
def test_gradcheck_of_same_convolution(groups, size):
    conv = Conv2d(2, 4, 3, 2, groups).double()
    x = torch.randn(2, 2, *size, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, weight: torch.func.functional_call(conv, {"weight": weight}, (x,)), (x, conv.weight)
    )


def test_batch_norm_trains_on_a_single_value_a_channel():
    norm = BatchNorm2d(3)
    mean, variance, _ = norm.buffers()
    mean.normal_()
    variance.uniform_(0.5, 2)
    before = {name: tensor.clone() for name, tensor in norm.state_dict().items()}
    x = torch.randn(1, 3, 1, 1, requires_grad=True)
    out = norm(x)
    expected = (x.flatten() - before["running_mean"]) / (before["running_var"] + norm.eps).sqrt()
    torch.testing.assert_close(out.flatten(), expected)
    gradients = torch.autograd.grad(out.square().sum(), [x, norm.weight, norm.bias])
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert all(torch.equal(tensor, before[name]) for name, tensor in norm.state_dict().items())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(2, 3, 1, 1), (1, 3, 1, 2), (4, 3, 5, 5)])
def test_batch_norm_is_torchs_own_otherwise(shape, training):
    ours, theirs = BatchNorm2d(3, momentum=0.2).train(training), nn.BatchNorm2d(3, momentum=0.2).train(training)
    x = torch.randn(shape) * 3 + 1
    assert torch.equal(ours(x), theirs(x))
    assert all(torch.equal(a, b) for a, b in zip(ours.buffers(), theirs.buffers(), strict=True))


def test_relu6_is_relu_cut_at_six():
    relu, relu6 = ConvNormAct(3, 8, 3, activation="relu"), ConvNormAct(3, 8, 3, activation="relu6")
    relu6.load_state_dict(relu.state_dict())
    x = torch.randn(2, 3, 8, 8) * 50
    high, cut = relu.eval()(x), relu6.eval()(x)
    assert high.max() > 6
    assert high.min() == 0
    assert torch.equal(cut, high.clamp(max=6))


@pytest.mark.parametrize("groups", [1, 64])
def test_filters_start_as_a_normal_of_std_009_cut_at_two_deviations(groups):
    torch.manual_seed(0)
    weight = torch.cat([ConvNormAct(64, 64, 3, groups=groups).conv.weight.flatten() for _ in range(40)])
    assert weight.abs().max() <= 0.18
    assert weight.abs().max() > 0.17
    assert weight.mean().item() == pytest.approx(0, abs=0.002)
    assert weight.std().item() == pytest.approx(0.0792, rel=0.02)  # 0.09 * 0.8796, what the cut leaves of it


@pytest.mark.parametrize(("key", "value"), [("padding", "valid"), ("activation", "gelu")])
def test_unknown_padding_or_activation_is_refused_by_name(key, value):
    with pytest.raises(ValueError, match=f"backbone.{key}='{value}'.*expected"):
        ConvNormAct(3, 4, 3, **{key: value})
