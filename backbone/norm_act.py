"""Batch norm in training and the activation behind it as one operator (kernels/norm_act.cpp).

A step on a CPU waits for memory. Torch takes seven passes over a map for the two layers, forward and backward, which
read or write it fourteen times; here it is four passes and eight times. On two cores with AVX-512, on 32 pictures of
224 pixels, that takes about half of torch's time.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backbone.gradients import ReLU6, is_exported
from backbone.kernels import call, fit

CEILINGS: dict[type[nn.Module], float] = {nn.ReLU: math.inf, nn.ReLU6: 6.0, ReLU6: 6.0}


def applies(norm: nn.BatchNorm2d, act: nn.Module, x: Tensor) -> bool:
    """Whether `norm_act(norm, act, x)` can take the place of `act(norm(x))`."""
    if not norm.training or type(act) not in CEILINGS or _is_watched(norm) or _is_watched(act):
        return False
    if not torch.is_grad_enabled() or is_exported() or not fit(x) or x.numel() == x.shape[1]:
        return False
    usual = norm.affine and norm.track_running_stats and norm.momentum is not None
    return usual and norm.weight.dtype == torch.float32


def _is_watched(module: nn.Module) -> bool:
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(hooks)


def norm_act(norm: nn.BatchNorm2d, act: nn.Module, x: Tensor) -> Tensor:
    """act(norm(x)) in training, where it `applies`: x is (B, C, H, W) in channels last; updates the running statistics.

    Sums are of fp32 and fp64, also for maps in bf16, whose output alone is rounded.
    """
    y, statistics = _NormAct.apply(x, norm.weight, norm.bias, norm.eps, CEILINGS[type(act)])
    assert norm.running_mean is not None and norm.running_var is not None and norm.momentum is not None
    assert norm.num_batches_tracked is not None
    count = x.numel() // x.shape[1]
    with torch.no_grad():
        norm.running_mean.lerp_(statistics[0], norm.momentum)
        norm.running_var.lerp_(statistics[1] * (count / (count - 1)), norm.momentum)
        norm.num_batches_tracked.add_(1)
    return y


class _NormAct(torch.autograd.Function):
    """apply(x, weight, bias, eps, ceiling): y, and mean, biased variance, scale and shift by channel (4, C)."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor, eps: float, ceiling: float) -> tuple[Tensor, Tensor]:
        y, statistics = torch.empty_like(x), torch.empty(4, x.shape[1])
        size = x.numel() // x.shape[1], x.shape[1]
        call("norm_act_forward", x.dtype, x, y, *size, weight.contiguous(), bias.contiguous(), eps, ceiling, statistics)
        return y, statistics

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, float, float], output: tuple[Tensor, Tensor]
    ) -> None:
        x, weight, bias, ctx.eps, ctx.ceiling = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(x, weight, bias, output[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, statistics = ctx.saved_tensors
        if torch.is_grad_enabled():  # gradients of these gradients will be asked for
            return _differentiable(grads[0], x, weight, bias, ctx)
        grad = grads[0].contiguous(memory_format=torch.channels_last)
        grad_x, grad_weight, grad_bias = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(bias)
        size, limits = (x.numel() // x.shape[1], x.shape[1]), (ctx.eps, ctx.ceiling)
        call("norm_act_backward", x.dtype, x, grad, grad_x, *size, *limits, statistics, grad_weight, grad_bias)
        return grad_x, grad_weight, grad_bias, None, None


def _differentiable(grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, ctx: Any) -> tuple[Tensor | None, ...]:
    """The three gradients by operators that have gradients themselves."""
    y = F.batch_norm(x, None, None, weight, bias, training=True, eps=ctx.eps).clamp(0, ctx.ceiling)
    asked = [t for t, needed in zip((x, weight, bias), ctx.needs_input_grad, strict=False) if needed]
    found = iter(torch.autograd.grad(y, asked, grad, create_graph=True))
    return (*(next(found) if needed else None for needed in ctx.needs_input_grad[:3]), None, None)
