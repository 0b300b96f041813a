"""The one place where tensors go to C++: what a kernel reads is checked here, and what it writes is made here.

A kernel sees addresses and sizes alone. So sizes are those of tensors that were looked at, and what is not exactly as a
kernel reads it (another kind of numbers, device, shape or layout, a tensor of a class of its own, one whose storage was
freed) gives None, whereupon the caller asks torch, which computes it or says what is wrong.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import Parameter

from backbone import private
from backbone.kernels import call, counts, kernels
from backbone.private import is_watched

F32, PLAIN, LAST = torch.float32, torch.contiguous_format, torch.channels_last
LANES = 8  # channels, of which the kernels of convolutions take multiples
COLUMNS = 32  # outputs that separable.cpp computes at once; their weights lie together

Size = tuple[int, ...]
Two = tuple[int, int]


def address(t: Tensor | None, dtype: torch.dtype, shape: Size, layout: torch.memory_format = PLAIN) -> int:
    """Where the numbers of a tensor begin, if all of them lie in memory as a kernel reads them, else 0."""
    if t is None or type(t) not in (Tensor, Parameter) or private.is_wrapped(t):
        return 0
    if not t.is_cpu or t.dtype is not dtype or t.is_nested or t.layout is not torch.strided or t.shape != shape:
        return 0
    if not t.is_contiguous(memory_format=layout) or t.is_neg():  # numbers whose signs are still to be turned
        return 0
    size = dtype.itemsize
    if t.untyped_storage().nbytes() < size * (t.storage_offset() + t.numel()):  # given back, as sharding does
        return 0
    at = t.data_ptr()  # 0 of those that have none
    return 0 if at % size else at


def is_own(t: Tensor | None) -> bool:
    """Whether torch itself holds the numbers of a tensor, any there are, all of them and in any order."""
    if t is None or type(t) not in (Tensor, Parameter) or private.is_wrapped(t):
        return False
    if t.is_nested or t.layout is not torch.strided or not t.is_cpu or t.numel() == 0:
        return False
    reach = sum(stride * (side - 1) for stride, side in zip(t.stride(), t.shape, strict=True))
    return t.untyped_storage().nbytes() >= t.element_size() * (t.storage_offset() + reach + 1)


def _even(t: Tensor | None, dtype: torch.dtype, shape: Size, layout: torch.memory_format = PLAIN) -> tuple[int, Any]:
    """`address` of a tensor, or of a copy where its numbers lie in another order, and whose it is.

    A parameter may be one number, at a stride of 0, and a gradient too.
    """
    at = address(t, dtype, shape, layout)
    if at or t is None or not is_own(t) or t.shape != shape:
        return at, t
    t = t.contiguous(memory_format=layout)
    return address(t, dtype, shape, layout), t


def is_map_of(kernel: str, x: Tensor) -> bool:
    """Whether a kernel takes maps (B, C, H, W) like this one, and nobody would miss torch's operators."""
    if type(x) not in (Tensor, Parameter) or x.is_nested or x.dim() != 4 or (kernel, x.dtype) not in kernels():
        return False
    return not is_watched() and address(x, x.dtype, x.shape, LAST) != 0


def takes_norm(x: Tensor, read: tuple[Tensor | None, ...], written: tuple[Tensor | None, ...]) -> bool:
    """Whether norm_act.cpp takes such maps (B, C, H, W) and numbers by channel, each (C,)."""
    if not is_map_of("norm_act_forward", x):
        return False
    shape = (x.shape[1],)
    return all(_even(t, F32, shape)[0] for t in read) and all(address(t, F32, shape) for t in written)


def norm_act_forward(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float, ceiling: float
) -> tuple[Tensor, Tensor] | None:
    """y, and mean, biased variance, scale and shift by channel (4, C)."""
    if not is_map_of("norm_act_forward", x):
        return None
    channels = x.shape[1]
    (factors, weight), (terms, bias) = _even(weight, F32, (channels,)), _even(bias, F32, (channels,))
    if not factors or not terms:
        return None
    y, statistics = _map_like(x), torch.empty((4, channels), dtype=F32, device="cpu")
    size, maps, limits = (x.numel() // channels, channels), (x.data_ptr(), y.data_ptr()), (float(eps), ceiling)
    call("norm_act_forward", x.dtype, *maps, *size, factors, terms, *limits, statistics.data_ptr())
    return y, statistics


def norm_act_backward(
    x: Tensor, grad: Tensor, eps: float, ceiling: float, statistics: Tensor
) -> tuple[Tensor, Tensor, Tensor] | None:
    """The gradients of x, weight and bias. grad: of y, in any layout. statistics: what the way there gave."""
    if not is_map_of("norm_act_backward", x):
        return None
    channels = x.shape[1]
    (given, grad), statistics_address = _even(grad, x.dtype, x.shape, LAST), address(statistics, F32, (4, channels))
    if not given or not statistics_address:
        return None
    grad_x = _map_like(x)
    grad_weight, grad_bias = (torch.empty(channels, dtype=F32, device="cpu") for _ in range(2))
    size, maps = (x.numel() // channels, channels), (x.data_ptr(), given, grad_x.data_ptr())
    written = grad_weight.data_ptr(), grad_bias.data_ptr()
    call("norm_act_backward", x.dtype, *maps, *size, float(eps), ceiling, statistics_address, *written)
    return grad_x, grad_weight, grad_bias


def takes_depthwise(x: Tensor, weight: Tensor, stride: Two, before: Two) -> bool:
    """Whether depthwise.cpp has the gradients of this convolution. before: zeros above the rows and left of them."""
    if stride not in ((1, 1), (2, 2)) or not all(zeros in (0, 1) for zeros in before):
        return False
    if not is_own(weight) or weight.shape[1:] != (1, 3, 3) or not is_map_of("depthwise_backward", x):
        return False
    return x.shape[1] % LANES == 0 and weight.shape[0] == x.shape[1]


def depthwise_backward(
    x: Tensor, grad: Tensor, weight: Tensor, stride: Two, pads: tuple[Two, Two]
) -> tuple[Tensor, Tensor] | None:
    """The gradients of x (B, C, H, W) and of weight (C, 1, 3, 3), the latter as (9, C) in fp32. grad: channels last."""
    before = pads[0][0], pads[1][0]
    if not takes_depthwise(x, weight, stride, before):
        return None
    batch, channels, *size = x.shape
    out = [(side + sum(zeros) - 3) // stride[0] + 1 for side, zeros in zip(size, pads, strict=True)]
    kernels = weight.float().flatten(1).t().contiguous()  # (9, C)
    given, read = address(grad, x.dtype, (batch, channels, *out), LAST), address(kernels, F32, (9, channels))
    if not given or not read:
        return None
    grad_x, grad_kernels = _map_like(x), torch.empty((9, channels), dtype=F32, device="cpu")
    of = counts(batch, *size, channels, *out, stride[0], *before)
    call("depthwise_backward", x.dtype, x.data_ptr(), given, read, grad_x.data_ptr(), grad_kernels.data_ptr(), of)
    return grad_x, grad_kernels


def _map_like(x: Tensor) -> Tensor:
    """Whatever torch's defaults for new tensors are."""
    return torch.empty(x.shape, dtype=x.dtype, device="cpu", memory_format=LAST)


class SeparableWeights(NamedTuple):
    """What separable.cpp reads: copies that nobody else has. channels: C, outputs: O."""

    channels: int
    outputs: int
    packed: tuple[Tensor, ...]
    addresses: tuple[int, ...]

    @classmethod
    def pack(
        cls, depthwise: Tensor, depthwise_bias: Tensor | None, pointwise: Tensor, pointwise_bias: Tensor | None
    ) -> "SeparableWeights | None":
        """depthwise: (C, 1, 3, 3). pointwise: (O, C, 1, 1). Other kinds of numbers than fp32 are made that."""
        given = [depthwise, pointwise, *(bias for bias in (depthwise_bias, pointwise_bias) if bias is not None)]
        if is_watched() or not all(is_own(t) for t in given):
            return None
        channels, outputs = depthwise.shape[0], pointwise.shape[0]
        if depthwise.shape != (channels, 1, 3, 3) or pointwise.shape != (outputs, channels, 1, 1) or channels % LANES:
            return None
        first, second = (t.detach().to(F32).flatten(1) for t in (depthwise, pointwise))
        biases = [
            torch.zeros(size, dtype=F32, device="cpu") if bias is None else bias.detach().to(F32)
            for bias, size in ((depthwise_bias, channels), (pointwise_bias, outputs))
        ]
        if biases[0].shape != (channels,) or biases[1].shape != (outputs,):
            return None
        behind = -outputs % COLUMNS
        second = torch.nn.functional.pad(second, (0, 0, 0, behind)).view(-1, COLUMNS, channels).transpose(1, 2)
        packed = (
            first.t().contiguous(),
            biases[0].clone(memory_format=PLAIN),
            second.contiguous(),
            torch.nn.functional.pad(biases[1], (0, behind)).clone(memory_format=PLAIN),
        )
        shapes: list[Size] = [(9, channels), (channels,), tuple(second.shape), (outputs + behind,)]
        addresses = tuple(address(t, F32, shape) for t, shape in zip(packed, shapes, strict=True))
        return cls(channels, outputs, packed, addresses) if all(addresses) else None


class SeparableForward:
    """separable.cpp for maps of one shape, (B, C, H, W)."""

    def __init__(
        self, weights: SeparableWeights, shape: torch.Size, stride: int, pads: tuple[Two, Two], ceiling: float
    ):
        batch, _, *size = shape
        (top, _), (left, _) = pads
        height, width = ((side + sum(zeros) - 3) // stride + 1 for side, zeros in zip(size, pads, strict=True))
        self.weights, self.shape, self.ceiling = weights, shape, ceiling
        self.out = batch, weights.outputs, height, width
        self.sizes = counts(batch, *size, weights.channels, height, width, weights.outputs, stride, top, left)

    @classmethod
    def of(
        cls, weights: SeparableWeights | None, x: Tensor, stride: Two, pads: tuple[Two, Two], ceiling: float
    ) -> "SeparableForward | None":
        """None where the kernel does not take such maps."""
        if weights is None or x.dim() != 4 or x.shape[1] != weights.channels or stride not in ((1, 1), (2, 2)):
            return None
        if not all(zeros in (0, 1) for zeros in (pads[0][0], pads[1][0])):
            return None
        made = cls(weights, x.shape, stride[0], pads, ceiling)
        return made if min(made.out) > 0 else None

    def __call__(self, x: Tensor) -> Tensor | None:
        at = address(x, F32, self.shape, LAST)
        if not at:
            return None
        y = torch.empty(self.out, dtype=F32, device="cpu", memory_format=LAST)
        call("separable_forward", F32, at, *self.weights.addresses, y.data_ptr(), self.sizes, self.ceiling)
        return y
