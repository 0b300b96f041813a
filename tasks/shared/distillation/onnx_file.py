"""Reading an ONNX file: bounded, with weights from nowhere but its own folder, and no loops."""

from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, TensorProto

from tasks.shared.errors import UserError

LARGEST = 2 << 30  # bytes: what protobuf holds
NODES = 100_000
DOMAINS = ("", "ai.onnx", "com.microsoft")  # of operators that onnxruntime itself has
# What runs other graphs: how often, only running it tells.
FLOW = ("If", "Loop", "Scan", "SequenceMap")


def read_model(path: Path) -> tuple[ModelProto, list[Path]]:
    """The model with all its weights, and the files that hold them: `path`, and those that it refers to.

    Those lie in the folder of `path` or below it, links out of it included in what is refused.
    Raises UserError naming the file that is missing, damaged, or no ONNX.
    """
    if path.stat().st_size > LARGEST:
        raise UserError(f"{path}: has more than {LARGEST:,} bytes; expected an ONNX file, weights may lie beside it")
    try:
        model = onnx.load(path, load_external_data=False)
        if not model.graph.node:
            raise UserError(f"{path}: holds no network; expected an ONNX file")
        _check_nodes(path, model)
        tensors = [*_tensors(model.graph)]
        outside = [tensor for tensor in tensors if tensor.data_location == TensorProto.EXTERNAL]
        files = [path, *sorted({_target(path, tensor) for tensor in outside})]
        left = sum(file.stat().st_size for file in files[1:])
        for tensor in outside:
            left -= _take(path, tensor, left)
        for tensor in tensors:
            _check_size(path, tensor)
    except (DecodeError, ValueError, OSError, MemoryError, RecursionError, onnx.checker.ValidationError) as error:
        if isinstance(error, UserError):
            raise
        message = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{path}: not an ONNX file, or damaged ({message})") from error
    return model, files


def _check_nodes(path: Path, model: ModelProto) -> None:
    if model.functions:
        raise UserError(f"{path}: has functions of its own; expected plain operators: export it without them")
    if len(model.graph.node) > NODES:
        raise UserError(f"{path}: has {len(model.graph.node):,} operators; expected no more than {NODES:,}")
    for node in model.graph.node:
        if node.op_type in FLOW:
            raise UserError(f"{path}: has the operator {node.op_type}; expected a network without loops and branches")
        if node.domain not in DOMAINS:
            raise UserError(f"{path}: the operator {node.op_type} of {node.domain[:60]!r} needs a library; refused")


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """All that hold numbers, in graphs within graphs too."""
    yield from graph.initializer
    sparse = [*graph.sparse_initializer]
    for node in graph.node:
        for each in node.attribute:
            yield from each.tensors
            if each.HasField("t"):
                yield each.t
            sparse += [*each.sparse_tensors, *([each.sparse_tensor] if each.HasField("sparse_tensor") else [])]
            for inner in [*each.graphs, *([each.g] if each.HasField("g") else [])]:
                yield from _tensors(inner)
    for stored in sparse:
        yield from (stored.values, stored.indices)


def _facts(tensor: TensorProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def _target(path: Path, tensor: TensorProto) -> Path:
    """Of its numbers. Raises UserError for one that is not in the folder."""
    location = _facts(tensor).get("location", "")
    target, folder = path.parent / location, path.parent.resolve()
    if not location or Path(location).is_absolute() or not target.resolve().is_relative_to(folder):
        raise UserError(f"{path}: refers to {location[:200]!r}; expected weights in its own folder")
    if not target.is_file():
        raise UserError(f"{path}: refers to {target}: no such file; expected it where it was exported")
    return target


def _take(path: Path, tensor: TensorProto, left: int) -> int:
    """Put its numbers into a tensor; returns how many bytes, at most `left`."""
    facts, target = _facts(tensor), _target(path, tensor)
    offset, size = int(facts.get("offset", 0)), target.stat().st_size
    length = int(facts.get("length", size - offset))
    if offset < 0 or not 0 <= length <= min(left, size - offset):
        raise UserError(f"{path}: {tensor.name[:60]!r} is longer than what {target} holds of it")
    with target.open("rb") as file:
        file.seek(offset)
        tensor.raw_data = file.read(length)
    tensor.data_location = TensorProto.DEFAULT
    del tensor.external_data[:]
    return length


def _check_size(path: Path, tensor: TensorProto) -> None:
    """That it says no more numbers than it has: half a byte each, where they are smallest."""
    count = 1
    for side in tensor.dims:
        count *= side
    numbers = (tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data, tensor.uint64_data)
    there = 4 * len(tensor.raw_data) + sum(map(len, numbers)) * 8 + len(tensor.string_data)
    if any(side < 0 for side in tensor.dims) or count > there:
        raise UserError(f"{path}: {tensor.name[:60]!r} has {there:,} numbers at most, fewer than its shape")
