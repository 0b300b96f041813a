"""What torch computes slowly on a CPU, in C++, compiled when this package is installed.

Where no compiler was found, or it lacks OpenMP, there are none, and the layers are torch's.
"""

import ctypes
import importlib.util
import warnings
from collections.abc import Callable
from functools import cache
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

KINDS = {torch.float32: "float", torch.bfloat16: "bfloat16"}

POINTER, COUNT = ctypes.c_void_p, ctypes.c_int64
SIZE, LIMITS = (COUNT, COUNT), (ctypes.c_double, ctypes.c_float)

TAKES = {
    "norm_act_forward": (POINTER, POINTER, *SIZE, POINTER, POINTER, *LIMITS, POINTER),
    "norm_act_backward": (POINTER, POINTER, POINTER, *SIZE, *LIMITS, POINTER, POINTER, POINTER),
    "depthwise_backward": (POINTER, POINTER, POINTER, POINTER, POINTER, POINTER),
    "separable_forward": (POINTER, POINTER, POINTER, POINTER, POINTER, POINTER, POINTER, ctypes.c_float),
}
"""The arguments as in the .cpp files, without the number of threads, which comes last."""


def load_library(module: str, loss: str) -> ctypes.CDLL | None:
    """What was compiled as `module` when this was installed, if it was. loss: what is warned of if it is broken."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return None
    try:
        return ctypes.CDLL(spec.origin)
    except OSError as error:
        warnings.warn(f"{spec.origin}: cannot be loaded ({error}); {loss}", stacklevel=2)
        return None


@cache
def kernels() -> dict[tuple[str, torch.dtype], Callable[..., None]]:
    """What was compiled, by name and kind of numbers."""
    library = load_library("backbone._kernels", "training on the CPU is slower")
    if library is None:
        return {}
    found: dict[tuple[str, torch.dtype], Callable[..., None]] = {}
    for (name, arguments), (dtype, kind) in product(TAKES.items(), KINDS.items()):
        # Not every kernel is for every kind of numbers, or for every CPU.
        function, fits = (getattr(library, f"{name}_{what}", None) for what in (kind, "fits"))
        if function is None or (fits is not None and not fits()):
            continue
        function.argtypes, function.restype = (*arguments, ctypes.c_int), None
        found[name, dtype] = function
    return found


def fit(*maps: Tensor) -> bool:
    """Whether there are kernels for such maps (B, C, H, W), and nobody who watches operators would miss them."""
    if torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0:  # as fake tensors and counters do
        return False
    for x in maps:
        if type(x) not in (Tensor, Parameter) or torch._C._functorch.is_functorch_wrapped_tensor(x):
            return False
        if x.device.type != "cpu" or x.dtype not in KINDS or x.dtype != maps[0].dtype or x.numel() == 0:
            return False
        if not x.is_contiguous(memory_format=torch.channels_last):
            return False
    return bool(kernels())


def call(name: str, dtype: torch.dtype, *arguments: Tensor | tuple[int, ...] | float) -> None:
    """Tensors, which are to be without gaps, and tuples as int64_t[] are handed over by their address."""
    given: list[Any] = []
    for argument in arguments:
        if isinstance(argument, Tensor):
            given.append(argument.data_ptr())
        else:
            given.append((COUNT * len(argument))(*argument) if isinstance(argument, tuple) else argument)
    kernels()[name, dtype](*given, torch.get_num_threads())
