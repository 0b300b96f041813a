"""Depthwise convolutions in training on a CPU, whose gradients torch computes slowly.

Measured on two cores with AVX-512 and AMX, torch 2.15, on maps of 32 images of 224 pixels.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from backbone.kernels import checked
from backbone.padding import Pads, convolve


def has_kernel(x: Tensor, weight: Tensor, stride: tuple[int, int], pads: Pads) -> bool:
    """Whether kernels/depthwise.cpp has the gradients of this convolution."""
    return checked.takes_depthwise(x, weight, stride, (pads[0][0], pads[1][0]))


class Depthwise(torch.autograd.Function):
    """A depthwise convolution on a CPU whose gradients are computed in one pass over memory (kernels/depthwise.cpp).

    In bf16 that takes a fifth to a third of the time of the way below at stride 2 and two to four fifths at stride 1,
    in fp32 a tenth less than torch's. Where the kernel is missing or does not fit, the gradient of the input, which
    sums what it gave to the outputs, is the convolution of their gradient, spread by the stride, with the kernel turned
    around. In bf16 at stride 1 that is a little faster than oneDNN's gradient; at stride 2 oneDNN has none, and torch's
    takes 4 to 17 times as long.

    apply(x (B, C, H, W), weight (C * m, 1, k, k), stride of rows and columns, pads)
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, stride: tuple[int, int], pads: Pads) -> Tensor:
        return convolve(x, weight, None, stride, pads, x.shape[1])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, tuple[int, int], Pads], output: Tensor) -> None:
        x, weight, ctx.stride, ctx.pads = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        (grad,), (x, weight) = grads, ctx.saved_tensors
        if not torch.is_grad_enabled():
            both = checked.depthwise_backward(x, grad, weight, ctx.stride, ctx.pads)
            if both is not None:
                return both[0], both[1].t().reshape(weight.shape).to(weight.dtype), None, None
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_x = _spread_and_convolve(grad, weight, x, ctx.stride, ctx.pads)
        if ctx.needs_input_grad[1]:
            (top, bottom), (left, right) = ctx.pads
            if (top, left) != (bottom, right):  # oneDNN is fast where both sides are padded alike
                x, top, left = F.pad(x, (left, right, top, bottom)), 0, 0
            grad_weight = torch.ops.aten.convolution_backward(
                grad, x, weight, None, ctx.stride, (top, left), (1, 1), False, (0, 0), x.shape[1], (False, True, False)
            )[1]
        return grad_x, grad_weight, None, None


def _spread_and_convolve(grad: Tensor, weight: Tensor, x: Tensor, stride: tuple[int, int], pads: Pads) -> Tensor:
    """The gradient of x; see Depthwise."""
    batch, channels, height, width = x.shape
    rows, columns = weight.shape[2:]
    turned = weight.flip(2, 3).reshape(channels, -1, rows, columns)
    (top, bottom), (left, right) = ((rows - 1 - pad for pad in pads[0]), (columns - 1 - pad for pad in pads[1]))
    if stride == (1, 1) and (top, left) == (bottom, right):
        return F.conv2d(grad, turned, None, 1, (top, left), 1, channels)
    channels_last = grad.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    size = (batch, grad.shape[1], height + rows - 1, width + columns - 1)
    spread = torch.empty(size, dtype=grad.dtype, device=grad.device, memory_format=layout).zero_()
    places = spread[:, :, top :: stride[0], left :: stride[1]]
    places[:, :, : grad.shape[2], : grad.shape[3]] = grad
    return F.conv2d(spread, turned, None, 1, 0, 1, channels)
