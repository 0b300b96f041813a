"""All that this package uses of torch and that torch does not promise, each with what takes its place.

With a version of torch that lacks one of these, the same is computed by operators that torch does promise, which takes
longer. tests/test_private_apis.py allows no such names elsewhere; tests/backbone/test_private.py takes each away.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad


def is_watched() -> bool:
    """Whether somebody would miss torch's operators: compilers, fake tensors, counters, derivatives by forward mode."""
    try:
        if torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0:
            return True
        return forward_ad._current_level >= 0
    except AttributeError:
        return True


def has_hooks(module: nn.Module) -> bool:
    """Whether somebody would miss the calls of a layer."""
    try:
        return any(
            (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
        )
    except AttributeError:
        return True


def _always(_: Any) -> bool:
    return True


# Looked up once, as they are called for every map.
is_wrapped: Callable[[Tensor], bool] = _always  # whether a tensor is functorch's: of torch's class, but without numbers
convolve: Callable[..., Tensor] | None = None  # oneDNN's convolution with an activation behind it
pack_weight: Callable[..., Tensor] | None = None  # weights as `convolve` takes them
with suppress(AttributeError):
    is_wrapped = torch._C._functorch.is_functorch_wrapped_tensor
with suppress(AttributeError):
    convolve, pack_weight = torch.ops.mkldnn._convolution_pointwise.default, torch.ops.aten.mkldnn_reorder_conv2d_weight


def has_onednn(dtype: torch.dtype) -> bool:
    """Whether `convolve` is there and computes in these numbers, on a CPU."""
    if convolve is None or not torch.backends.mkldnn.is_available():
        return False
    try:
        return dtype == torch.float32 or (dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except AttributeError:
        return False


def _forget(module: nn.Module, _: Any) -> None:
    module.ready = None  # type: ignore[assignment]


class Prepared(nn.Module):
    """A layer with something `ready` that is made of its weights, until they are moved, made of another kind of
    numbers, or loaded. Where torch tells it of no moves (TELLS), it keeps nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ready: Any = None
        self.register_load_state_dict_post_hook(_forget)

    def _apply(self, *args: Any, **kwargs: Any) -> Any:
        self.ready = None
        return super()._apply(*args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"ready": None}  # of no use elsewhere; oneDNN's tensors cannot be copied at all


def _tells() -> bool:
    """Whether torch calls `_apply` where a layer is moved."""
    probe = Prepared()
    probe.ready = True
    return probe.to(torch.float32).ready is None


TELLS = _tells()
