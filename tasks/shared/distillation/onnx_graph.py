"""What an ONNX file holds: its input and output, and what it costs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, ValueInfoProto

from tasks.shared.errors import UserError

DTYPES: dict[int, type] = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16}
IMAGES = "floating-point images (B, 3, height, width), or (B, height, width, 3)"
LARGEST = 1 << 28  # numbers of one map for one image
COUNTED = ("Conv", "Gemm", "MatMul")
# Those that multiply as well, in ways that are not counted here.
UNCOUNTED = (
    "Attention", "ConvInteger", "ConvTranspose", "DeformConv", "Einsum", "GRU", "If", "LSTM", "Loop", "MatMulInteger",
    "QLinearConv", "QLinearMatMul", "RNN", "Scan",
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """The input: its name, how many images it takes (None: any), their height and width (None: any), the type of
    its numbers, and whether channels are the last dimension."""

    name: str
    batch: int | None
    size: tuple[int, int] | None
    dtype: type
    last: bool


def entry_of(model: ModelProto, source: object) -> Entry:
    """Its one input. Raises UserError for several, and for what takes no images."""
    stored = {tensor.name for tensor in model.graph.initializer}
    taken = [each for each in model.graph.input if each.name not in stored]  # old files list weights too
    if len(taken) != 1:
        names = ", ".join(each.name for each in taken)
        raise UserError(f"{source}: takes {len(taken)} inputs ({names}); expected one, {IMAGES}")
    dims, number = _dims(taken[0]), taken[0].type.tensor_type.elem_type
    last = len(dims) == 4 and dims[3] == 3 and dims[1] != 3
    if len(dims) != 4 or number not in DTYPES or (dims[3] if last else dims[1]) not in (3, None):
        shape = ", ".join("any" if side is None else str(side) for side in dims)
        type_name = TensorProto.DataType.Name(number).lower()
        raise UserError(f"{source}: its input {taken[0].name} takes ({shape}) of {type_name}; expected {IMAGES}")
    height, width = dims[1:3] if last else dims[2:]
    size = None if height is None or width is None else (height, width)
    return Entry(taken[0].name, dims[0], size, DTYPES[number], last)


def pick_output(model: ModelProto, name: str | None, source: object) -> str:
    """The output that `teacher.output_name` names, or the only one. Raises UserError, which lists those there are."""
    outputs = [each.name for each in model.graph.output]
    if name is None and len(outputs) == 1:
        return outputs[0]
    if name is None or name not in outputs:
        wrong = "is not set" if name is None else f"{name!r} is none of them"
        raise UserError(f"{source}: has the outputs {', '.join(outputs)}; teacher.output_name {wrong}")
    return name


def resized(model: ModelProto, entry: Entry, batch: int | str, size: tuple[int, int]) -> ModelProto:
    """A copy that takes `batch` images (a text: any number) of that size, with no shapes noted but the input's.

    For any number, reshapes to the number of before keep what comes. The file may fix it elsewhere: try the copy.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    del copy.graph.value_info[:]
    for output in copy.graph.output:
        output.type.tensor_type.ClearField("shape")
    sides = [batch, *size, 3] if entry.last else [batch, 3, *size]
    given = next(each for each in copy.graph.input if each.name == entry.name)
    for dim, side in zip(given.type.tensor_type.shape.dim, sides, strict=True):
        dim.Clear()
        setattr(dim, "dim_param" if isinstance(side, str) else "dim_value", side)
    if isinstance(batch, str):
        _free_reshapes(copy.graph, entry.batch)
    return copy


def _free_reshapes(graph: GraphProto, batch: int | None) -> None:
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in _stored(graph) if t.data_type == TensorProto.INT64}
    for node in graph.node:
        shape = constants.get(node.input[1]) if node.op_type == "Reshape" else None
        if shape is not None and shape.ndim == 1 and len(shape) and shape[0] == batch and 0 not in shape:
            name = f"{node.output[0]}: any number"
            free = np.array([0, *shape[1:]], np.int64)  # 0: as many as the input has
            graph.initializer.append(onnx.numpy_helper.from_array(free, name))
            node.input[1] = name


def check_maps(model: ModelProto, entry: Entry, size: tuple[int, int], source: object) -> None:
    """Raise UserError for a file that says to make more numbers of an image than any network.

    What no shape tells, such as maps of a size that other maps say, is bounded where it is made, by
    `onnx_model.memory_bound`.
    """
    graph = onnx.shape_inference.infer_shapes(resized(model, entry, entry.batch or 1, size), data_prop=True).graph
    for value in (*graph.value_info, *graph.output):
        sides = _dims(value)
        if math.prod(side or 1 for side in sides) > LARGEST * (entry.batch or 1):
            raise UserError(f"{source}: makes {value.name[:60]!r} of {sides} numbers; expected {LARGEST:,} at most")


def cost_of(model: ModelProto, entry: Entry, size: tuple[int, int]) -> tuple[int, int] | None:
    """Mult-adds for one image and parameters, as `backbone.count_cost` has them: of convolutions and linear layers.

    Products of two maps, as in attention, count too; statistics of batch norms are no parameters.
    None where a shape cannot be told, or the file has operators that are not counted here.
    """
    if any(node.op_type in UNCOUNTED for node in model.graph.node):
        return None
    one = resized(model, entry, entry.batch or 1, size)
    graph = onnx.shape_inference.infer_shapes(one, data_prop=True).graph
    weights = {tensor.name: tuple(tensor.dims) for tensor in _stored(graph) if tensor.data_type in DTYPES}
    shapes: dict[str, Any] = {value.name: _dims(value) for value in (*graph.value_info, *graph.output, *graph.input)}
    shapes |= weights
    total = 0
    for node in graph.node:
        if node.op_type in COUNTED:
            made = shapes.get(node.output[0], ())
            factor = _per_number(node, shapes)
            if not made or None in made or factor is None:
                return None
            total += math.prod(made) * factor
    statistics = {name for node in graph.node if node.op_type == "BatchNormalization" for name in node.input[3:5]}
    parameters = sum(math.prod(shape) for name, shape in weights.items() if shape and name not in statistics)
    return total // (entry.batch or 1), parameters


def _per_number(node: onnx.NodeProto, shapes: dict[str, Sequence[int]]) -> int | None:
    """How many mult-adds each number of a node's output takes."""
    first, second = (shapes.get(name) for name in node.input[:2])
    if not first or not second:
        return None
    if node.op_type == "Conv":
        return math.prod(second[1:])
    flipped = any(each.name == "transA" and each.i for each in node.attribute)
    return first[0] if flipped else first[-1]


def _stored(graph: GraphProto) -> list[TensorProto]:
    """Tensors in the file, by the names that nodes have for them."""
    constants = []
    for node in graph.node:
        for each in node.attribute:
            if node.op_type == "Constant" and each.type == AttributeProto.TENSOR:
                constants.append(TensorProto())
                constants[-1].CopyFrom(each.t)
                constants[-1].name = node.output[0]
    return [*graph.initializer, *constants]


def _dims(value: ValueInfoProto) -> list[int | None]:
    """The sides of a tensor; None for those that may be any."""
    return [dim.dim_value if dim.dim_value > 0 else None for dim in value.type.tensor_type.shape.dim]
