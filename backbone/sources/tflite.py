"""MobileNet in TensorFlow Lite's files: classifiers, and detectors on top of it; float, uint8 and int8."""

from pathlib import Path

import torch
from torch import Tensor

from backbone.mobilenet import TABLE_1
from backbone.sources.published import Published, identity_norm, implied_structure
from backbone.sources.tflite_file import read_graph
from backbone.sources.tflite_graph import Graph, GraphTensor, Layer, Operator

EPS = 1e-3  # TF-slim's. The files do not tell: batch norm is folded in, and written here as the identity for this eps
RESHAPES = ("RESHAPE", "SQUEEZE")
ANSWERS = (*RESHAPES, "SOFTMAX", "LOGISTIC")


def read_tflite(path: Path) -> Published:
    """Read a MobileNet V1, with a classifier, another head or none.

    Raises ValueError naming the file, and the first operator or tensor that MobileNet does not have there.
    """
    graph = read_graph(path)
    body = trace_body(graph)
    backbone: dict[str, Tensor] = {}
    for name, layer in body.items():
        backbone[f"{name}.conv.weight"] = layer.weight
        backbone |= {f"{name}.norm.{key}": tensor for key, tensor in identity_norm(layer.bias, EPS).items()}
    top = _find_classifier(graph, body["conv_13.pointwise"].output)
    classifier = {} if top is None else {"weight": top.weight.flatten(1), "bias": top.bias}
    image = graph.tensors[graph.inputs[0]]
    mean, std = _normalisation(path, image)
    sides = set(image.shape[1:3])
    return Published(
        source=str(path),
        format="tflite",
        backbone=backbone,
        classifier=classifier,
        implied={
            **implied_structure(str(path), backbone),
            "padding": "same",
            "activation": _one_activation(path, body),
            "bn_eps": EPS,
            "input_mean": mean,
            "input_std": std,
        },
        resolution=sides.pop() if len(sides) == 1 and min(sides) > 1 else None,
        background=bool(classifier) and len(classifier["bias"]) == 1001,
        folded=True,
        left_over=_unused(graph, [*body.values(), *([top] if top else [])]),
    )


def trace_body(graph: Graph) -> dict[str, Layer]:
    """The layers of Table 1 by name (`conv_0`, `conv_1.depthwise`, `conv_1.pointwise` ...), as the graph joins them.

    Raises ValueError naming the first operator that is another one.
    """
    if len(graph.inputs) != 1:
        raise ValueError(f"{graph.path}: has {len(graph.inputs)} inputs; expected one, the image")
    steps = [("conv_0", "CONV_2D", 3, TABLE_1[0][1])]
    for number, (_, stride) in enumerate(TABLE_1[1:], 1):
        steps.append((f"conv_{number}.depthwise", "DEPTHWISE_CONV_2D", 3, stride))
        steps.append((f"conv_{number}.pointwise", "CONV_2D", 1, 1))
    body: dict[str, Layer] = {}
    current = graph.inputs[0]
    for name, op_type, kernel, stride in steps:
        expected = f"{kernel}x{kernel} {op_type} of stride {stride} with SAME padding ({name} of MobileNet V1)"
        readers = _readers_beyond_padding(graph, current)
        operator = next((reader for reader in readers if reader.op_type == op_type), None)
        if operator is None:
            there = f"{readers[0]} is what reads" if readers else "nothing reads"
            raise ValueError(f"{graph.path}: {there} {graph.tensors[current].name!r}; expected a {expected}")
        layer = graph.layer(operator)
        found = (tuple(layer.weight.shape[2:]), layer.stride, operator.options["dilation"], layer.padding)
        if found != ((kernel, kernel), (stride, stride), (1, 1), "same") or layer.source != graph.origin(current):
            padding = operator.options["padding"] + (
                "" if graph.origin(operator.inputs[0]) == graph.origin(current) else " after PAD"
            )
            raise ValueError(
                f"{graph.path}: {operator} has the filter {found[0]}, stride {found[1]}, dilation {found[2]} and "
                f"padding {padding}; expected a {expected}"
            )
        body[name] = layer
        current = layer.output
    return body


def _readers_beyond_padding(graph: Graph, tensor: int) -> list[Operator]:
    readers: list[Operator] = []
    for reader in graph.readers(tensor):
        readers += graph.readers(reader.outputs[0]) if reader.op_type == "PAD" else [reader]
    return readers


def _one_activation(path: Path, body: dict[str, Layer]) -> str:
    found = {name: layer.activation for name, layer in body.items()}
    first = found["conv_0"]
    odd = next((name for name, activation in found.items() if activation != first), "conv_0")
    if first not in ("relu", "relu6") or found[odd] != first:
        raise ValueError(
            f"{path}: {body[odd].operator} ({odd}) has the activation {found[odd] or 'none'}, fused or by the range of "
            "its output; expected relu6 in every layer, or relu in every layer"
        )
    return first


def _normalisation(path: Path, image: GraphTensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation, of pixels scaled to [0, 1], that make of pixels what the first layer reads."""
    if image.dtype == torch.float32:
        return (0.5,) * 3, (0.5,) * 3  # TF-slim and Keras: x / 127.5 - 1
    # The input is (pixel - zero) * scale. int8 files are fed pixel - 128.
    shift = {torch.uint8: 0, torch.int8: 128}.get(image.dtype) if image.dtype else None
    if shift is None or len(image.scales) != 1:
        raise ValueError(f"{path}: its input is {image.dtype}; expected float32, or uint8 or int8 with one scale")
    return ((image.zeros[0] + shift) / 255,) * 3, (1 / (255 * image.scales[0]),) * 3


def _find_classifier(graph: Graph, features: int) -> Layer | None:
    """The one linear layer between the mean over all locations and the answer, if that is all there is."""
    pool = _only_reader(graph, features, ("AVERAGE_POOL_2D", "MEAN"))
    if pool is None or not _is_global(graph, pool):
        return None
    linear = _only_reader(graph, _skip(graph, pool.outputs[0], RESHAPES), ("CONV_2D", "FULLY_CONNECTED"))
    if linear is None:
        return None
    layer = graph.layer(linear)
    if layer.activation is not None or any(side != 1 for side in layer.weight.shape[2:]):
        return None
    return layer if not graph.readers(_skip(graph, layer.output, ANSWERS)) else None


def _only_reader(graph: Graph, tensor: int, op_types: tuple[str, ...]) -> Operator | None:
    readers = graph.readers(tensor)
    return readers[0] if len(readers) == 1 and readers[0].op_type in op_types else None


def _skip(graph: Graph, tensor: int, op_types: tuple[str, ...]) -> int:
    for _ in graph.operators:  # no more often, as a damaged file may lead in a circle
        if (operator := _only_reader(graph, tensor, op_types)) is None:
            break
        tensor = operator.outputs[0]
    return tensor


def _is_global(graph: Graph, pool: Operator) -> bool:
    if pool.op_type == "MEAN":
        return sorted(graph.constant(pool.inputs[1]).flatten().tolist()) == [1, 2]
    before, after = (graph.tensors[tensor].shape[1:3] for tensor in (pool.inputs[0], pool.outputs[0]))
    return pool.options["window"] == before and after == (1, 1)


def _unused(graph: Graph, layers: list[Layer]) -> dict[str, Tensor]:
    """Stored weights that no layer of these reads. Plain integers are sizes and axes, arguments of operators."""
    used = {graph.origin(i) for layer in layers for i in layer.operator.inputs if i >= 0}
    left: dict[str, Tensor] = {}
    for index, tensor in enumerate(graph.tensors):
        is_weight = bool(tensor.scales) or (tensor.dtype is not None and tensor.dtype.is_floating_point)
        if tensor.data is not None and is_weight and index not in used:
            left[tensor.name if tensor.name not in left else f"{tensor.name}#{index}"] = graph.constant(index)
    return left
