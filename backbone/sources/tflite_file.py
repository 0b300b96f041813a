"""Parsing of TensorFlow Lite's .tflite files (FlatBuffers). Nothing in them is executed."""

from pathlib import Path
from typing import Any

import torch

from backbone.sources.published import optional_library
from backbone.sources.tflite_graph import CONVOLUTIONS, SAME_VALUES, Graph, GraphTensor, Operator

ACTIVATIONS = {0: "NONE", 1: "RELU", 2: "RELU_N1_TO_1", 3: "RELU6"}
ITEMS = 1 << 18  # tensors, operators, sides, scales together: of the largest MobileNets a third
OPTIONS = 1 << 12  # bytes of an operator's own options
POSTPROCESS = "TFLite_Detection_PostProcess"  # the custom operator of detectors, whose options are a FlexBuffers map
# How many inputs the operators have that are followed here.
INPUTS = dict.fromkeys((*CONVOLUTIONS, "PAD", "MEAN"), 2) | {POSTPROCESS: 3}
INPUTS |= dict.fromkeys(
    (*SAME_VALUES, "RESHAPE", "SQUEEZE", "SOFTMAX", "LOGISTIC", "AVERAGE_POOL_2D", "CONCATENATION"), 1
)


def read_graph(path: Path) -> Graph:
    """Parse a .tflite file. Raises ValueError naming the file if it is damaged or of several graphs."""
    with optional_library(path, "tflite"):
        import tflite  # noqa: F401
        from flatbuffers import flexbuffers  # noqa: F401
    data = path.read_bytes()
    try:
        return _parse(path, data)
    # There is no verifier in Python: an offset out of a damaged file fails wherever it happens to lead.
    except (Exception, MemoryError) as error:
        raise ValueError(f"{path}: damaged or truncated TensorFlow Lite file ({_reason_of(error)})") from error


def _parse(path: Path, data: bytes) -> Graph:
    import tflite

    model = tflite.Model.GetRootAs(data, 0)
    if model.SubgraphsLength() != 1:
        raise ValueError(f"{model.SubgraphsLength()} graphs; expected 1")
    graph = model.Subgraphs(0)
    budget = _Budget(len(data))
    budget.take(model.OperatorCodesLength() + graph.TensorsLength() + graph.OperatorsLength())
    budget.take(graph.InputsLength() + graph.OutputsLength())
    op_types = []
    for number in range(model.OperatorCodesLength()):
        code = model.OperatorCodes(number)
        value = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())  # files before 2020 have the second only
        custom = value == tflite.BuiltinOperator.CUSTOM
        op_types.append(code.CustomCode().decode() if custom else tflite.opcode2name(value))
    parsed = Graph(
        path=path,
        tensors=tuple(_tensor(model, graph.Tensors(i), budget) for i in range(graph.TensorsLength())),
        operators=tuple(_operator(graph.Operators(i), i, op_types, budget) for i in range(graph.OperatorsLength())),
        inputs=tuple(graph.Inputs(i) for i in range(graph.InputsLength())),
        outputs=tuple(graph.Outputs(i) for i in range(graph.OutputsLength())),
    )
    named = [*parsed.inputs, *parsed.outputs, *(t for o in parsed.operators for t in o.outputs)]
    named += [tensor for operator in parsed.operators for tensor in operator.inputs if tensor != -1]
    if not all(0 <= tensor < len(parsed.tensors) for tensor in named):
        raise ValueError(f"an operator of a tensor that is none of the {len(parsed.tensors)}")
    for operator in parsed.operators:
        inputs = operator.inputs[: INPUTS.get(operator.op_type, 0)]
        if len(inputs) < INPUTS.get(operator.op_type, 0) or -1 in inputs or not operator.outputs:
            raise ValueError(f"{operator} without an input or output that it needs")
    filters = [parsed.origin(o.inputs[1]) for o in parsed.operators if o.op_type in CONVOLUTIONS]
    if len(set(filters)) < len(filters):
        raise ValueError("two convolutions with one filter")
    return parsed


class _Budget:
    """How much may be read out of a file: its offsets may lead to the same place a thousand times."""

    def __init__(self, size: int):
        self.items, self.bytes = ITEMS, 2 * size

    def take(self, items: int, size: int = 0) -> None:
        self.items, self.bytes = self.items - items, self.bytes - size
        if self.items < 0 or self.bytes < 0:
            raise ValueError("more tensors, operators or numbers than fit into such a file")


def _tensor(model: Any, tensor: Any, budget: _Budget) -> GraphTensor:
    import tflite

    dtypes = {
        getattr(tflite.TensorType, name.upper()): getattr(torch, name)
        for name in ("float32", "float16", "float64", "int8", "int16", "int32", "int64", "uint8")
    }
    quantised = tensor.Quantization()
    scales = 0 if quantised is None else quantised.ScaleLength()
    zeros = quantised.ZeroPointLength() if scales else 0
    buffer = model.Buffers(tensor.Buffer())
    budget.take(tensor.ShapeLength() + scales + zeros, buffer.DataLength())
    parsed = GraphTensor(
        name=(tensor.Name() or b"").decode(),
        shape=tuple(tensor.Shape(i) for i in range(tensor.ShapeLength())),
        dtype=dtypes.get(tensor.Type()) if tensor.Sparsity() is None else None,
        scales=tuple(quantised.Scale(i) for i in range(scales)),
        zeros=tuple(quantised.ZeroPoint(i) for i in range(zeros)) or (0,) if scales else (),
        axis=quantised.QuantizedDimension() if scales else 0,
        data=buffer.DataAsNumpy().tobytes() if buffer.DataLength() else None,
    )
    if parsed.data is not None:
        steps = parsed.shape[parsed.axis] if len(parsed.scales) > 1 else 1
        if min(parsed.shape, default=0) < 0 or (scales and {scales, len(parsed.zeros)} - {steps, 1}):
            raise ValueError(f"{parsed.name!r} of shape {parsed.shape} has {scales} scales, {len(parsed.zeros)} zeros")
    return parsed


def _operator(operator: Any, index: int, op_types: list[str], budget: _Budget) -> Operator:
    budget.take(operator.InputsLength() + operator.OutputsLength())
    op_type = op_types[operator.OpcodeIndex()]
    return Operator(
        index=index,
        op_type=op_type,
        inputs=tuple(operator.Inputs(i) for i in range(operator.InputsLength())),
        outputs=tuple(operator.Outputs(i) for i in range(operator.OutputsLength())),
        options=_options(operator, op_type),
    )


def _options(operator: Any, op_type: str) -> dict[str, Any]:
    import tflite
    from flatbuffers import flexbuffers

    if op_type == POSTPROCESS:
        return _numbers(flexbuffers.GetRoot(operator.CustomOptionsAsNumpy()[:OPTIONS].tobytes()))
    classes = {
        "CONV_2D": tflite.Conv2DOptions,
        "DEPTHWISE_CONV_2D": tflite.DepthwiseConv2DOptions,
        "FULLY_CONNECTED": tflite.FullyConnectedOptions,
        "AVERAGE_POOL_2D": tflite.Pool2DOptions,
    }
    if op_type not in classes:
        return {}
    options = classes[op_type]()
    table = operator.BuiltinOptions()
    options.Init(table.Bytes, table.Pos)
    read: dict[str, Any] = {"activation": ACTIVATIONS.get(options.FusedActivationFunction(), "unknown")}
    if op_type != "FULLY_CONNECTED":
        read["padding"] = "SAME" if options.Padding() == tflite.Padding.SAME else "VALID"
        read["stride"] = options.StrideH(), options.StrideW()
    if op_type in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        read["dilation"] = options.DilationHFactor(), options.DilationWFactor()
        if min(read["stride"] + read["dilation"]) < 1:
            raise ValueError(f"a convolution of stride {read['stride']} and dilation {read['dilation']}")
    if op_type == "AVERAGE_POOL_2D":
        read["window"] = options.FilterHeight(), options.FilterWidth()
    return read


def _numbers(root: Any) -> dict[str, Any]:
    """The numbers of a FlexBuffers map by name. What lies deeper is not followed, as it may lead in circles."""
    content = root.AsMap
    if len(content) > OPTIONS:
        raise ValueError("options that are longer than they are")
    keys, values, found = content.Keys, content.Values, {}
    for index in range(len(content)):
        value = values[index]
        if value.IsBool or value.IsInt or value.IsFloat:
            found[keys[index].AsKey] = value.Value
    return found


def _reason_of(error: BaseException) -> str:
    return " ".join(repr(error).split())[:200]
