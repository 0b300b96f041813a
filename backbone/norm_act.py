"""Batch norm in training and the activation behind it as one operator (kernels/norm_act.cpp).

A step on a CPU waits for memory. Torch takes seven passes over a map for the two layers, forward and backward, which
read or write it fourteen times; here it is four passes and eight times. On two cores with AVX-512, on 32 images of
224 pixels, that takes about half of torch's time.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backbone.gradients import ReLU6, is_exported
from backbone.kernels import checked
from backbone.private import has_hooks

CEILINGS: dict[type[nn.Module], float] = {nn.ReLU: math.inf, nn.ReLU6: 6.0, ReLU6: 6.0}


def applies(norm: nn.BatchNorm2d, act: nn.Module, x: Tensor) -> bool:
    """Whether `norm_act(norm, act, x)` can take the place of `act(norm(x))`."""
    if not norm.training or type(act) not in CEILINGS or has_hooks(norm) or has_hooks(act):
        return False
    if not torch.is_grad_enabled() or is_exported() or not norm.track_running_stats or norm.momentum is None:
        return False
    counted = type(norm.num_batches_tracked) is Tensor
    read, written = (norm.weight, norm.bias), (norm.running_mean, norm.running_var)
    return counted and checked.takes_norm(x, read, written) and x.numel() > x.shape[1]


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
        found = checked.norm_act_forward(x, weight, bias, eps, ceiling)
        assert found is not None, "only where it applies"
        return found

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
        found = checked.norm_act_backward(x, grads[0], ctx.eps, ctx.ceiling, statistics)
        if found is None:
            with torch.enable_grad():
                x, weight, bias = (t.detach().requires_grad_() for t in (x, weight, bias))
                return _differentiable(grads[0], x, weight, bias, ctx)
        return *found, None, None


def _differentiable(grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, ctx: Any) -> tuple[Tensor | None, ...]:
    """The three gradients by operators that have gradients themselves."""
    y = F.batch_norm(x, None, None, weight, bias, training=True, eps=ctx.eps).clamp(0, ctx.ceiling)
    asked = [t for t, needed in zip((x, weight, bias), ctx.needs_input_grad, strict=False) if needed]
    found = iter(torch.autograd.grad(y, asked, grad, create_graph=True))
    return (*(next(found) if needed else None for needed in ctx.needs_input_grad[:3]), None, None)
