"""A program of torch.export, run without running code from its file: a list of operator calls, made one by one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from tasks.shared.distillation.fixed_batches import in_batches
from tasks.shared.errors import UserError

# By the numbers that the format has for them (torch/_export/serde/schema.py).
DTYPES = {
    1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64, 6: torch.float16, 7: torch.float32,
    8: torch.float64, 12: torch.bool, 13: torch.bfloat16,
}  # fmt: skip
MEMORY_FORMATS = {1: torch.contiguous_format, 2: torch.channels_last, 4: torch.preserve_format}
Json = dict[str, Any]


@dataclass(frozen=True)
class Call:
    """An operator, its arguments as the file has them, and the names of its results: one, one a result, or one list.

    done: values that no later call needs.
    """

    operator: Callable[..., Any]
    positional: list[Json]
    by_name: dict[str, Json]
    results: list[Any]
    done: list[str] = field(default_factory=list)


class Program:
    """A network from `program_file.read_program`.

    calls: in their order. weights: by the names that calls have for them. learnable: how many numbers of them are.
    entry, result: names of the pictures and of the answer. dtype: of the pictures.
    batch: how many pictures it takes at once; None is any number. size: their height and width, where they are fixed.
    """

    def __init__(
        self,
        source: str,
        calls: list[Call],
        weights: dict[str, Tensor],
        learnable: int,
        entry: str,
        result: str,
        dtype: torch.dtype,
        batch: int | None,
        size: tuple[int, int] | None,
    ):
        self.source, self.calls, self.weights, self.learnable = source, calls, weights, learnable
        self.entry, self.result, self.dtype, self.batch, self.size = entry, result, dtype, batch, size

    def to(self, device: torch.device) -> None:
        self.weights = {name: tensor.to(device) for name, tensor in self.weights.items()}

    def __call__(self, images: Tensor) -> Tensor:
        """Raises UserError for a program that changes its weights."""
        before = [tensor._version for tensor in self.weights.values()]
        images = images.to(self.dtype)
        if self.batch is None:
            answers = self._run(images, self.weights)
        else:
            answers = in_batches(lambda part: self._run(part, self.weights), images, self.batch)
        if before != [tensor._version for tensor in self.weights.values()]:
            raise UserError(f"{self.source}: changes its own weights when it runs; expected a network in eval mode")
        return answers

    def cost(self) -> tuple[int, int] | None:
        """Multiplications of matrices, attention's too, and convolutions, as torch counts them, on the meta device."""
        if self.size is None:
            return None
        weights = {name: tensor.to("meta") for name, tensor in self.weights.items()}
        count = self.batch or 1
        images = torch.empty(count, 3, *self.size, dtype=self.dtype, device="meta")
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            try:
                self._run(images, weights)
            except NotImplementedError:  # an operator that computes values alone, not shapes
                return None
        return counter.get_total_flops() // 2 // count, self.learnable

    def _run(self, images: Tensor, weights: Mapping[str, Tensor]) -> Any:
        values: dict[str, Any] = {**weights, self.entry: images}
        for call in self.calls:
            positional = [value_of(argument, values, images.device) for argument in call.positional]
            by_name = {name: value_of(argument, values, images.device) for name, argument in call.by_name.items()}
            made = call.operator(*positional, **by_name)
            _keep(call.results[0] if len(call.results) == 1 else call.results, made, values)
            for name in call.done:
                values.pop(name, None)
        return values[self.result]


def value_of(argument: Json, values: Mapping[str, Any], device: torch.device) -> Any:
    """What an argument of the file stands for, {"as_int": 2} for 2. Raises ValueError for kinds that are not run."""
    ((kind, content),) = argument.items()
    match kind:
        case "as_tensor":
            return values[content["name"]]
        case "as_tensors":
            return [values[each["name"]] for each in content]
        case "as_optional_tensor" | "as_sym_int" | "as_sym_float" | "as_sym_bool":
            return value_of(content, values, device)
        case "as_optional_tensors" | "as_sym_ints" | "as_sym_floats" | "as_sym_bools":
            return [value_of(each, values, device) for each in content]
        case "as_name":  # a size that an earlier call has found
            return values[content]
        case "as_int" | "as_bool" | "as_string" | "as_ints" | "as_bools":
            return content
        case "as_float":
            return float(content)  # infinity is a text
        case "as_floats":
            return [float(each) for each in content]
        case "as_none":
            return None
        case "as_scalar_type":
            return DTYPES[content]
        case "as_memory_format":
            return MEMORY_FORMATS[content]
        case "as_layout":
            return torch.strided
        case "as_device":  # of the machine that it was exported on
            return device
    raise ValueError(f"it holds an argument of the kind {kind}, which is not run from files")


def names_in(argument: Json) -> list[str]:
    """The values that an argument reads."""
    ((kind, content),) = argument.items()
    if kind == "as_name":
        return [content]
    parts = content if isinstance(content, list) else [content]
    inner = [part for part in parts if isinstance(part, dict)]
    if kind in ("as_tensor", "as_tensors"):
        return [part["name"] for part in inner]
    return [name for part in inner if len(part) == 1 for name in names_in(part)]


def _keep(names: Any, made: Any, values: dict[str, Any]) -> None:
    if isinstance(names, list):
        for name, each in zip(names, made, strict=True):
            _keep(name, each, values)
    elif names is not None:
        values[names] = made
