"""A TensorFlow Lite graph as plain data, and the convolutions in it in torch's layout.

Numbers that were quantised are given as the real numbers that they stand for.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from backbone.padding import same_padding

CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
SAME_VALUES = ("QUANTIZE", "DEQUANTIZE")  # other numbers for the same values
RELU6_TOLERANCE = 0.05  # files have 5.9995 to 6.0 for the end of the quantised range


@dataclass(frozen=True)
class GraphTensor:
    """A tensor of the file. scales, zeros: how integers stand for real numbers, (q - zero) * scale; one of each, or
    one for each step along `axis`; empty where numbers stand for themselves. data: None for what is computed."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype | None
    scales: tuple[float, ...]
    zeros: tuple[int, ...]
    axis: int
    data: bytes | None

    @property
    def real_range(self) -> tuple[float, float] | None:
        """The least and the greatest real number that the tensor can hold; None for floating point."""
        if self.dtype not in (torch.uint8, torch.int8) or len(self.scales) != 1:
            return None
        limits = torch.iinfo(self.dtype)
        return (limits.min - self.zeros[0]) * self.scales[0], (limits.max - self.zeros[0]) * self.scales[0]


@dataclass(frozen=True)
class Operator:
    """A step of the graph. kind: TensorFlow Lite's name, of a custom operator its own. inputs: tensors, -1 for one that
    is left out. options: by name, those of the kinds that are read here."""

    index: int
    op_type: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, Any]

    def __str__(self) -> str:
        return f"operator {self.index} ({self.op_type})"


@dataclass(frozen=True)
class Layer:
    """A convolution or fully connected layer.

    weight: (outputs, inputs, height, width), (channels, 1, height, width) or (outputs, inputs), fp32; bias: (outputs,).
    padding: "same" or "valid". activation: None, "relu", "relu6", or what else the file calls it, be it fused or by
    the range that the quantised output is cut to. source, output: tensors.
    """

    operator: Operator
    weight: Tensor
    bias: Tensor
    stride: tuple[int, int]
    padding: str
    activation: str | None
    source: int
    output: int


@dataclass(frozen=True)
class Graph:
    """The one graph of a file."""

    path: Path
    tensors: tuple[GraphTensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @cached_property
    def producers(self) -> dict[int, Operator]:
        return {tensor: operator for operator in self.operators for tensor in operator.outputs}

    @cached_property
    def _origins(self) -> tuple[int, ...]:
        found = list(range(len(self.tensors)))
        for operator in self.operators:  # in the order of computing, so each looks one step back
            if operator.op_type in SAME_VALUES:
                for tensor in operator.outputs:
                    found[tensor] = found[operator.inputs[0]]
        return tuple(found)

    @cached_property
    def _readers(self) -> dict[int, list[Operator]]:
        found: dict[int, list[Operator]] = {}
        for operator in self.operators:
            if operator.op_type not in SAME_VALUES:
                for tensor in dict.fromkeys(self.origin(i) for i in operator.inputs if i >= 0):
                    found.setdefault(tensor, []).append(operator)
        return found

    def origin(self, tensor: int) -> int:
        """The tensor that first had these values, before they were only written as other numbers."""
        return self._origins[tensor]

    def readers(self, tensor: int) -> list[Operator]:
        """The operators that compute something from a tensor's values, in the order of the graph."""
        return self._readers.get(self.origin(tensor), [])

    def constant(self, tensor: int) -> Tensor:
        """Real numbers of a stored tensor, fp32."""
        stored = self.tensors[self.origin(tensor)]
        if stored.data is None or stored.dtype is None:
            raise ValueError(f"{self.path}: tensor {stored.name!r} holds no numbers; expected a constant")
        expected = math.prod(stored.shape) * stored.dtype.itemsize
        if len(stored.data) != expected:
            raise ValueError(
                f"{self.path}: tensor {stored.name!r} of shape {stored.shape} holds {len(stored.data)} bytes; "
                f"expected {expected}"
            )
        numbers = torch.frombuffer(bytearray(stored.data), dtype=stored.dtype).view(stored.shape)
        if not stored.scales:
            return numbers.float()
        around = [1] * numbers.dim()
        if len(stored.scales) > 1:
            around[stored.axis] = -1
        scale = torch.tensor(stored.scales, dtype=torch.float64).view(around)
        zero = torch.tensor(stored.zeros, dtype=torch.float64).view(around)
        return ((numbers.double() - zero) * scale).float()

    def layer(self, operator: Operator) -> Layer:
        """A convolution or fully connected layer. Zeros that an operator before it puts around its input are padding.

        Raises ValueError naming the file and the operator if its filter is not stored, or of a wrong shape.
        """
        weight = self.constant(operator.inputs[1])
        if weight.dim() != (2 if operator.op_type == "FULLY_CONNECTED" else 4):
            raise ValueError(f"{self.path}: {operator} has a filter of the shape {tuple(weight.shape)}")
        if operator.op_type == "CONV_2D":
            weight = weight.permute(0, 3, 1, 2).contiguous()
        elif operator.op_type == "DEPTHWISE_CONV_2D":
            weight = weight.permute(3, 0, 1, 2).contiguous()
        has_bias = len(operator.inputs) > 2 and operator.inputs[2] >= 0
        source, padding = self._padding(operator, weight)
        return Layer(
            operator=operator,
            weight=weight,
            bias=self.constant(operator.inputs[2]) if has_bias else torch.zeros(len(weight)),
            stride=operator.options.get("stride", (1, 1)),
            padding=padding,
            activation=self._activation(operator),
            source=source,
            output=operator.outputs[0],
        )

    def _padding(self, operator: Operator, weight: Tensor) -> tuple[int, str]:
        source = self.origin(operator.inputs[0])
        if operator.options.get("padding") == "SAME" or operator.op_type == "FULLY_CONNECTED":
            return source, "same"
        padder = self.producers.get(source)
        around = torch.zeros(4, 2)
        if padder is not None and padder.op_type == "PAD":
            source, around = self.origin(padder.inputs[0]), self.constant(padder.inputs[1])
        shape = self.tensors[source].shape
        if len(shape) != 4:
            raise ValueError(f"{self.path}: {operator} reads a tensor of shape {shape}; expected a map")
        sides = zip(shape[1:3], weight.shape[2:], operator.options["stride"], strict=True)
        same = [(0, 0), *(same_padding(*side) for side in sides), (0, 0)]
        return source, "same" if around.tolist() == [list(pair) for pair in same] else "valid"

    def _activation(self, operator: Operator) -> str | None:
        fused = operator.options["activation"]
        limits = self.tensors[operator.outputs[0]].real_range
        zero_to_six = limits is not None and limits[0] == 0 and abs(limits[1] - 6) < RELU6_TOLERANCE
        if zero_to_six and fused in ("NONE", "RELU"):
            return "relu6"  # left out as having no effect, since the output cannot hold anything else
        return None if fused == "NONE" else fused.lower()
