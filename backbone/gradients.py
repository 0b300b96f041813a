"""Gradients that torch computes slowly, or keeps too much for, in other ways to the same numbers.

Each takes the place of one operator in training, and its forward pass is that operator's. What they bring was measured
on two cores with AVX-512 and AMX, torch 2.15, on 32 images of 224 pixels.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def is_exported() -> bool:
    """Whether this call is recorded for another program to run: then operators are the plain ones."""
    return torch.compiler.is_exporting() or torch.jit.is_tracing()


class ReLU6(nn.ReLU6):
    """min(max(x, 0), 6) that keeps its output for the gradient, which the next layer keeps anyway.

    Torch's own keeps its input, and in place a copy of it: a third of a network's activations, and 3 to 8 % of the
    time of a step.
    """

    def forward(self, input: Tensor) -> Tensor:
        if torch.is_grad_enabled() and input.requires_grad and not is_exported():
            return _ReLU6.apply(input)
        return super().forward(input)


class _ReLU6(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return F.relu6(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (output,) = ctx.saved_tensors  # 0 or 6 where the input is outside, and there nothing passes
        return torch.ops.aten.hardtanh_backward(grads[0], output, 0.0, 6.0)


class Pointwise(torch.autograd.Function):
    """A 1x1 convolution in bf16 on a CPU, channels last, whose gradients are the two matrix products that they are.

    From 128 channels on they take a half to nine tenths of the time of oneDNN's gradients of convolutions.

    apply(x (B, C, H, W), weight (O, C, 1, 1))
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(x, weight)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        grad, kernel = grads[0].permute(0, 2, 3, 1), weight.flatten(1)  # (B, H, W, O), (O, C)
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_x = (grad @ kernel).permute(0, 3, 1, 2)
        if ctx.needs_input_grad[1]:
            inputs = x.permute(0, 2, 3, 1).flatten(0, 2)
            grad_weight = (grad.flatten(0, 2).t() @ inputs).view_as(weight)
        return grad_x, grad_weight
