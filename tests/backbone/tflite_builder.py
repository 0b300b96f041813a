"""Writes TensorFlow Lite files, operator by operator."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import tflite
from flatbuffers import flexbuffers

TYPES = {"float32": 0, "float16": 1, "int32": 2, "uint8": 3, "int8": 9}


@dataclass
class Writer:
    """A graph that grows: `tensor` and `operator` give indices to build on."""

    tensors: list[dict[str, Any]] = field(default_factory=list)
    operators: list[tuple[str, list[int], list[int], dict[str, Any]]] = field(default_factory=list)

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        type: str = "float32",
        data: np.ndarray | None = None,
        scale: Any = None,
        zero: Any = 0,
        axis: int = 0,
    ) -> int:
        scales = [] if scale is None else np.atleast_1d(scale).tolist()
        zeros = np.broadcast_to(zero, len(scales)).tolist()
        raw = b"" if data is None else np.ascontiguousarray(data).astype(type).tobytes()
        self.tensors.append(
            {"name": name, "shape": shape, "type": type, "raw": raw, "scales": scales, "zeros": zeros, "axis": axis}
        )
        return len(self.tensors) - 1

    def operator(self, kind: str, inputs: Sequence[int], output: int, **options: Any) -> int:
        self.operators.append((kind, list(inputs), [output], options))
        return output

    def save(self, path: Path, inputs: Sequence[int], outputs: Sequence[int]) -> Path:
        b = flatbuffers.Builder(1 << 20)
        kinds = sorted({kind for kind, *_ in self.operators})
        buffers = [_table(b, "Buffer", Data=b.CreateByteVector(t["raw"]) if t["raw"] else None) for t in self.tensors]
        tensors = [self._tensor(b, index) for index in range(len(self.tensors))]
        operators = [self._operator(b, kinds.index(operator[0]), *operator) for operator in self.operators]
        graph = _table(
            b,
            "SubGraph",
            Tensors=_offsets(b, tensors),
            Inputs=b.CreateNumpyVector(np.array(inputs, np.int32)),
            Outputs=b.CreateNumpyVector(np.array(outputs, np.int32)),
            Operators=_offsets(b, operators),
        )
        model = _table(
            b,
            "Model",
            Version=3,
            OperatorCodes=_offsets(b, [_code(b, kind) for kind in kinds]),
            Subgraphs=_offsets(b, [graph]),
            Buffers=_offsets(b, [_table(b, "Buffer"), *buffers]),
        )
        b.Finish(model, b"TFL3")
        path.write_bytes(b.Output())
        return path

    def _tensor(self, b: Any, index: int) -> int:
        t = self.tensors[index]
        quantization = None
        if t["scales"]:
            quantization = _table(
                b,
                "QuantizationParameters",
                Scale=b.CreateNumpyVector(np.array(t["scales"], np.float32)),
                ZeroPoint=b.CreateNumpyVector(np.array(t["zeros"], np.int64)),
                QuantizedDimension=t["axis"],
            )
        return _table(
            b,
            "Tensor",
            Name=b.CreateString(t["name"]),
            Shape=b.CreateNumpyVector(np.array(t["shape"], np.int32)),
            Type=TYPES[t["type"]],
            Buffer=index + 1,  # buffer 0 is the empty one
            Quantization=quantization,
        )

    def _operator(
        self, b: Any, code: int, kind: str, inputs: list[int], outputs: list[int], options: dict[str, Any]
    ) -> int:
        tables = {"CONV_2D": "Conv2DOptions", "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions"}
        tables |= {"AVERAGE_POOL_2D": "Pool2DOptions", "FULLY_CONNECTED": "FullyConnectedOptions"}
        builtin = custom = None
        if kind in tables:
            builtin = _table(b, tables[kind], **options)
        elif options:
            custom = b.CreateByteVector(bytes(flexbuffers.Dumps(options)))
        return _table(
            b,
            "Operator",
            OpcodeIndex=code,
            Inputs=b.CreateNumpyVector(np.array(inputs, np.int32)),
            Outputs=b.CreateNumpyVector(np.array(outputs, np.int32)),
            BuiltinOptionsType=getattr(tflite.BuiltinOptions, tables[kind]) if kind in tables else 0,
            BuiltinOptions=builtin,
            CustomOptions=custom,
        )


def _table(b: Any, name: str, **fields: Any) -> int:
    getattr(tflite, f"{name}Start")(b)
    for key, value in fields.items():
        if value is not None:
            getattr(tflite, f"{name}Add{key}")(b, value)
    return getattr(tflite, f"{name}End")(b)


def _offsets(b: Any, offsets: Sequence[int]) -> int:
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return b.EndVector()


def _code(b: Any, kind: str) -> int:
    known = getattr(tflite.BuiltinOperator, kind, None)
    if known is None:
        name = b.CreateString(kind)
        return _table(b, "OperatorCode", DeprecatedBuiltinCode=32, BuiltinCode=32, CustomCode=name)
    return _table(b, "OperatorCode", DeprecatedBuiltinCode=known)  # as files before 2020, which have this one alone
