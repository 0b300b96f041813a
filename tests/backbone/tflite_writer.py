"""Writes MobileNet V1 as published TensorFlow Lite files hold it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.backbone.tflite_builder import Writer

NONE, RELU, RELU6 = 0, 1, 3  # fused activations
LOWEST = {"uint8": 0, "int8": -128}  # the zero point of a range that starts at 0
STRIDES = (2, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)


class MobileNetWriter(Writer):
    """MobileNet V1 at alpha 0.25, its weights drawn by `seed`, in one of the ways that published files store them.

    form: "float", "uint8" (one scale a tensor), "int8" (one a channel) or "float16" (behind DEQUANTIZE).
    fused: the activation in the operators; of quantised outputs the range says 0 to `top` besides.
    real: the weights and biases as the real numbers that the file holds, in TensorFlow's layout, in order.
    """

    def __init__(self, form: str = "uint8", side: int = 32, fused: int = NONE, top: float = 6.0, seed: int = 0):
        super().__init__()
        self.form, self.fused, self.top = form, fused, top
        self.rng = np.random.default_rng(seed)
        self.real: list[tuple[np.ndarray, np.ndarray]] = []
        self.type = form if form in LOWEST else "float32"
        scale, zero = {"uint8": (1 / 128, 128), "int8": (1 / 127.5, -1)}.get(form, (None, 0))
        self.image = self.tensor("input", [1, side, side, 3], self.type, None, scale, zero)
        self.maps: dict[str, int] = {}

    def body(self, widths: Sequence[int], skip_from: int = 14) -> int:
        """conv_0 to conv_13; returns the last map."""
        x = self.conv("conv_0", self.image, widths[0], 3, STRIDES[0])
        self.maps["conv_0"] = x
        for number in range(1, min(len(widths), skip_from)):
            x = self.conv(f"conv_{number}/dw", x, None, 3, STRIDES[number])
            self.maps[f"conv_{number}"] = x = self.conv(f"conv_{number}/pw", x, widths[number], 1)
        return x

    def classifier(
        self,
        x: int,
        classes: int,
        *,
        mean: bool = False,
        dense: bool = False,
        window: int | None = None,
        fused: int = NONE,
        kernel: int = 1,
    ) -> int:
        """The mean over the map (or over windows of it), a linear layer, softmax."""
        _, side, _, channels = self.tensors[x]["shape"]
        after = 1 if window is None else side - window + 1
        pooled = self.tensor("pool", [1, after, after, channels], self.type, None, *self._out(6.0))
        if mean:
            self.operator("MEAN", [x, self.tensor("axes", [2], "int32", np.array([1, 2]))], pooled)
        else:
            sizes = {"FilterWidth": window or side, "FilterHeight": window or side, "StrideW": 1, "StrideH": 1}
            self.operator("AVERAGE_POOL_2D", [x], pooled, Padding=1, **sizes)
        logits = self.conv("logits", pooled, classes, kernel, fused=fused, top=50.0, dense=dense)
        flat = self.tensor("flat", [1, classes], self.type)
        self.operator("RESHAPE", [logits, self.tensor("shape", [2], "int32", np.array([-1, classes]))], flat)
        return self.operator("SOFTMAX", [flat], self.tensor("answer", [1, classes], self.type))

    def conv(
        self,
        name: str,
        x: int,
        outputs: int | None,
        kernel: int,
        stride: int = 1,
        *,
        fused: int | None = None,
        top: float | None = None,
        padding: int = 0,
        dense: bool = False,
        pad: bool = False,
        gain: float = 1.5,
    ) -> int:
        """A convolution with bias; depthwise where `outputs` is None. pad: by an operator, as Keras does; gain: of its
        weights."""
        _, height, width, inputs = self.tensors[x]["shape"]
        depthwise = outputs is None
        outputs = inputs if outputs is None else outputs
        shape: tuple[int, ...] = (1, kernel, kernel, outputs) if depthwise else (outputs, kernel, kernel, inputs)
        shape = (outputs, inputs) if dense else shape
        fan = kernel * kernel * (1 if depthwise else inputs)
        weight = self.rng.normal(0, gain / np.sqrt(fan), shape).astype(np.float32)
        bias = self.rng.normal(0.3, 0.5, outputs).astype(np.float32)
        w, weight = self._store(f"{name}/weight", weight, axis=3 if depthwise else 0)
        b, bias = self._store_bias(f"{name}/bias", bias)
        self.real.append((weight, bias))
        steps = (-(-height // stride), -(-width // stride))
        out_shape = [1, outputs] if dense else [1, *steps, outputs]
        out = self.tensor(f"{name}/out", out_shape, self.type, None, *self._out(self.top if top is None else top))
        activation = self.fused if fused is None else fused
        if dense:
            return self.operator("FULLY_CONNECTED", [x, w, b], out, FusedActivationFunction=activation)
        if pad:
            paddings = self.tensor("paddings", [4, 2], "int32", np.array([[0, 0], [0, 1], [0, 1], [0, 0]]))
            padded = self.tensor("padded", [1, height + 1, width + 1, inputs], self.type)
            x, padding = self.operator("PAD", [x, paddings], padded), 1
        kind = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
        options = {"Padding": padding, "StrideW": stride, "StrideH": stride, "FusedActivationFunction": activation}
        return self.operator(kind, [x, w, b], out, **options, **({"DepthMultiplier": 1} if depthwise else {}))

    def _out(self, top: float) -> tuple[Any, int]:
        return (top / 255, LOWEST[self.form]) if self.form in LOWEST else (None, 0)

    def _store(self, name: str, values: np.ndarray, axis: int) -> tuple[int, np.ndarray]:
        """Index of the stored tensor, and the real numbers that it stands for."""
        if self.form == "float16":
            stored = self.tensor(name, values.shape, "float16", values)
            real = values.astype(np.float16).astype(np.float32)
            return self.operator("DEQUANTIZE", [stored], self.tensor(f"{name}/32", values.shape)), real
        if self.form == "uint8":
            scale = np.float32(np.ptp(values) / 255)
            zero = int(np.round(-values.min() / scale))
            q = np.clip(np.round(values / scale) + zero, 0, 255)
            return self.tensor(name, values.shape, "uint8", q, scale, zero), ((q - zero) * scale).astype(np.float32)
        if self.form == "int8":
            others = tuple(i for i in range(values.ndim) if i != axis)
            scales = np.float32(np.abs(values).max(others) / 127)
            along = np.expand_dims(scales, others)
            q = np.clip(np.round(values / along), -127, 127)
            return self.tensor(name, values.shape, "int8", q, scales, 0, axis), (q * along).astype(np.float32)
        return self.tensor(name, values.shape, "float32", values), values

    def _store_bias(self, name: str, values: np.ndarray) -> tuple[int, np.ndarray]:
        if self.form not in LOWEST:
            return self._store(name, values, 0)
        scale = np.float32(1e-4)
        q = np.round(values / scale)
        return self.tensor(name, values.shape, "int32", q, scale), (q * scale).astype(np.float32)
