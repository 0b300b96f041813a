"""The head of a published detector: what TensorFlow Lite's ssd_mobilenet_v1 files hold beyond the backbone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from backbone.sources.tflite import RESHAPES, trace_body
from backbone.sources.tflite_file import POSTPROCESS, read_graph
from backbone.sources.tflite_graph import Graph, Layer, Operator

SCORES = {"LOGISTIC": "sigmoid", "SOFTMAX": "softmax"}
# TFLite_Detection_PostProcess: what divides its box offsets, in our order (theirs is y, x, height, width).
SCALES = ("x_scale", "y_scale", "w_scale", "h_scale")


@dataclass(frozen=True)
class TFLiteHead:
    """An SSD head, its layers in the order of the network.

    taps: the backbone's layers that are read. extras: the 1x1 and the 3x3 convolution of each further map.
    boxes, classes: the predictors of every map; rows by anchor, then (y, x, height, width) or class, background first.
    map_sizes: rows and columns of every map. resolution: the input's side in pixels.
    anchors: (A, 4), (y, x, height, width) of centre and size, as shares of the image's side, to within `rounding`.
    scales: what x, y, width and height offsets are multiplied by. scores: "sigmoid" or "softmax".
    num_classes: without background. options: all of the postprocessing's. weights: the names of all tensors read.
    """

    taps: tuple[str, ...]
    extras: list[tuple[Layer, Layer]]
    boxes: list[Layer]
    classes: list[Layer]
    map_sizes: tuple[tuple[int, int], ...]
    resolution: int
    anchors: Tensor
    rounding: float
    scales: tuple[float, ...]
    scores: str
    num_classes: int
    options: dict[str, Any]
    weights: set[str]


def read_head(path: Path) -> TFLiteHead:
    """Follow a detector's graph from its answer back to the backbone.

    Raises ValueError naming the file, and the first operator that SSD does not have there.
    """
    graph = read_graph(path)
    end = next((operator for operator in graph.operators if operator.op_type == POSTPROCESS), None)
    numbers = [] if end is None else [end.options.get(key) for key in (*SCALES, "num_classes")]
    if end is None or not all(isinstance(number, int | float) and number > 0 for number in numbers):
        raise ValueError(f"{path}: no detector; expected one that ends in {POSTPROCESS} of boxes, scores and anchors")
    squash = _producer(graph, end.inputs[1], tuple(SCORES))
    boxes, classes = (_predictors(graph, tensor) for tensor in (end.inputs[0], squash.inputs[0]))
    maps = [layer.source for layer in boxes]
    if maps != [layer.source for layer in classes]:
        raise ValueError(f"{path}: boxes and classes are predicted from different maps")
    classes_per_anchor = int(end.options["num_classes"]) + 1
    for box, label in zip(boxes, classes, strict=True):
        if len(box.bias) % 4 or len(box.bias) // 4 * classes_per_anchor != len(label.bias):
            raise ValueError(
                f"{path}: {box.operator} gives {len(box.bias)} numbers a location, {label.operator} gives "
                f"{len(label.bias)}; expected 4 and {classes_per_anchor} an anchor"
            )
    names = {layer.output: name.removesuffix(".pointwise") for name, layer in trace_body(graph).items()}
    taps = tuple(names[tensor] for tensor in maps if tensor in names)
    extras = [_extra(graph, *pair) for pair in zip(maps[len(taps) - 1 :], maps[len(taps) :], strict=False)]
    stored = graph.tensors[graph.origin(end.inputs[2])]
    used = {t for layer in (*boxes, *classes, *sum(extras, ())) for t in layer.operator.inputs if t >= 0}
    return TFLiteHead(
        taps=taps,
        extras=extras,
        boxes=boxes,
        classes=classes,
        map_sizes=tuple(_size(graph, tensor) for tensor in maps),
        resolution=_size(graph, graph.inputs[0])[0],
        anchors=graph.constant(end.inputs[2]),
        rounding=max(stored.scales, default=0.0) / 2,
        scales=tuple(float(end.options[key]) for key in SCALES),
        scores=SCORES[squash.op_type],
        num_classes=classes_per_anchor - 1,
        options=end.options,
        weights={graph.tensors[graph.origin(tensor)].name for tensor in used} | {stored.name},
    )


def _producer(graph: Graph, tensor: int, op_types: tuple[str, ...]) -> Operator:
    """The operator of one of these kinds that a tensor comes from, whatever has reshaped it."""
    for _ in graph.operators:
        operator = graph.producers.get(graph.origin(tensor))
        if operator is None or operator.op_type not in RESHAPES or operator.op_type in op_types:
            break
        tensor = operator.inputs[0]
    if operator is None or operator.op_type not in op_types:
        there = operator or f"nothing that is computed gives {graph.tensors[tensor].name!r}"
        raise ValueError(f"{graph.path}: {there}; expected {' or '.join(op_types)} there, as in SSD's head")
    return operator


def _predictors(graph: Graph, tensor: int) -> list[Layer]:
    """The 1x1 convolutions, one a map, whose outputs are put together to a tensor."""
    joined = _producer(graph, tensor, ("CONCATENATION",))
    layers = [graph.layer(_producer(graph, part, ("CONV_2D",))) for part in joined.inputs]
    for layer in layers:
        found = tuple(layer.weight.shape[2:]), layer.stride, layer.activation
        if found != ((1, 1), (1, 1), None):
            raise ValueError(
                f"{graph.path}: {layer.operator} has the filter {found[0]}, stride {found[1]} and activation "
                f"{found[2]}; expected a 1x1 predictor of stride 1 without activation"
            )
    return layers


def _extra(graph: Graph, before: int, after: int) -> tuple[Layer, Layer]:
    """The two convolutions that make a map of the one before it."""
    second = graph.layer(_producer(graph, after, ("CONV_2D",)))
    first = graph.layer(_producer(graph, second.source, ("CONV_2D",)))
    if first.source != before:
        raise ValueError(f"{graph.path}: {first.operator} does not read the map before it; expected SSD's extra maps")
    return first, second


def _size(graph: Graph, tensor: int) -> tuple[int, int]:
    shape = graph.tensors[tensor].shape
    if len(shape) != 4:
        raise ValueError(f"{graph.path}: tensor {graph.tensors[tensor].name!r} has the shape {shape}; expected a map")
    return shape[1], shape[2]
