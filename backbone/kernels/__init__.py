"""What torch computes slowly on a CPU, in C++, compiled when this package is installed.

Where no compiler was found, or it lacks OpenMP, there are none, and the layers are torch's.
"""

import ctypes
import importlib.util
import logging
from collections.abc import Callable
from functools import cache
from importlib.machinery import ExtensionFileLoader
from itertools import product
from typing import Any

import torch

log = logging.getLogger(__name__)

VERSION = 1  # of what the functions take and leave, as in library.cpp
KINDS = {torch.float32: "float", torch.bfloat16: "bfloat16"}

POINTER, COUNT, INT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
SIZE, LIMITS = (COUNT, COUNT), (ctypes.c_double, ctypes.c_float)
LETTERS = {POINTER: "P", COUNT: "q", INT: "i", ctypes.c_double: "d", ctypes.c_float: "f"}  # as in maps.h

TAKES = {
    "norm_act_forward": (POINTER, POINTER, *SIZE, POINTER, POINTER, *LIMITS, POINTER),
    "norm_act_backward": (POINTER, POINTER, POINTER, *SIZE, *LIMITS, POINTER, POINTER, POINTER),
    "depthwise_backward": (POINTER, POINTER, POINTER, POINTER, POINTER, POINTER),
    "separable_forward": (POINTER, POINTER, POINTER, POINTER, POINTER, POINTER, POINTER, ctypes.c_float),
}
"""The arguments as in the .cpp files, without the number of threads, which comes last."""


def load_library(module: str, version: tuple[str, int], loss: str) -> ctypes.CDLL | None:
    """What was compiled as `module` when this was installed, if it was.

    version: the library's function that tells its own, and the one expected. One that an earlier installation left
    would take the arguments for others. loss: what is told of if it is of another version, or broken.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None or not isinstance(spec.loader, ExtensionFileLoader):
        return None
    try:
        library = ctypes.CDLL(spec.origin)
    except OSError as error:
        log.warning("%s: cannot be loaded (%s); %s", spec.origin, error, loss)
        return None
    name, expected = version
    if _returned_by(library, name, INT) != expected:
        log.warning("%s: compiled for another version of this, install it again; until then %s", spec.origin, loss)
        return None
    return library


def _returned_by(library: ctypes.CDLL, name: str, type_name: Any) -> Any:
    """What a function without arguments answers, or None where there is none."""
    function = getattr(library, name, None)
    if function is None:
        return None
    function.argtypes, function.restype = (), type_name
    return function()


@cache
def kernels() -> dict[tuple[str, torch.dtype], Callable[..., int]]:
    """What was compiled, by name and kind of numbers."""
    library = load_library("backbone._kernels", ("kernels_version", VERSION), "training on the CPU is slower")
    if library is None:
        return {}
    found: dict[tuple[str, torch.dtype], Callable[..., int]] = {}
    for (name, arguments), (dtype, type_name) in product(TAKES.items(), KINDS.items()):
        # Not every kernel is for every kind of numbers, or for every CPU; one that takes anything else is never called.
        takes = (*arguments, INT)
        letters = "".join(LETTERS[argument] for argument in takes).encode()
        if (
            _returned_by(library, f"{name}_{type_name}_takes", ctypes.c_char_p) == letters
            and _returned_by(library, f"{name}_fits", INT) != 0
        ):
            function = getattr(library, f"{name}_{type_name}")
            function.argtypes, function.restype = takes, INT
            found[name, dtype] = function
    return found


def counts(*numbers: int) -> ctypes.Array[ctypes.c_int64]:
    """As int64_t[], which a kernel takes the address of."""
    return (COUNT * len(numbers))(*numbers)


def call(name: str, dtype: torch.dtype, *arguments: Any) -> None:
    """Call a kernel. Pointers are numbers that `checked.address` gave, which is the only one to look at them.

    Raises MemoryError where there is none for what it computes on the way.
    """
    if kernels()[name, dtype](*arguments, torch.get_num_threads()):
        raise MemoryError(f"{name}: not enough memory beside that of its tensors")
