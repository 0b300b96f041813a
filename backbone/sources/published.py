"""What a file of published weights holds, and what it says about the network that it belongs to."""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from backbone.mobilenet import ROUNDINGS, SHALLOW_DROPS, TABLE_1, MobileNetV1, scale_channels

LAYER = re.compile(r"conv_(\d+)\.")
SHOWN = 5  # names in a message


@dataclass(frozen=True)
class Published:
    """Weights from elsewhere, in the terms of this toolkit.

    source: the file, or timm:name.
    format: "keras", "tflite", "timm", "torch" or "safetensors" (this toolkit's own).
    backbone: under the names of MobileNetV1.state_dict().
    classifier: {} or {"weight": (classes, C), "bias": (classes,)}, fp32; C are conv_13's channels.
    implied: arguments of MobileNetV1, those that the source says anything about.
    resolution: side of the input in pixels, where the source tells it.
    background: class 0 of the classifier is background (TensorFlow's 1001 classes).
    folded: batch norm was folded into the convolutions, and is the identity here (plus a shift). It gives the
        published network in evaluation only: see `unfold_batch_norm` before training.
    left_over: the file's other tensors by their name in it: a detector's head, an optimizer's state.
    """

    source: str
    format: str
    backbone: dict[str, Tensor]
    classifier: dict[str, Tensor]
    implied: dict[str, Any]
    resolution: int | None
    background: bool
    folded: bool
    left_over: dict[str, Tensor]


@contextmanager
def optional_library(source: object, library: str) -> Iterator[None]:
    """Around the import of a library that only some weight files need."""
    try:
        yield
    except ImportError as error:
        raise ValueError(
            f"{source}: reading or writing it needs {library}, which cannot be imported ({error}); "
            "pip install 'mobilenet-toolkit[weights]'"
        ) from error


def listed(names: list[str]) -> str:
    """The first of some names, and how many there are."""
    return ", ".join(names[:SHOWN]) + (f" ... ({len(names)} in all)" if len(names) > SHOWN else "")


def identity_norm(bias: Tensor, eps: float) -> dict[str, Tensor]:
    """The batch norm that adds `bias` (C,) and does nothing else in evaluation: sqrt(running_var + eps) is 1."""
    return {
        "weight": torch.ones_like(bias),
        "bias": bias,
        "running_mean": torch.zeros_like(bias),
        "running_var": torch.full_like(bias, 1 - eps),
        "num_batches_tracked": torch.zeros((), dtype=torch.int64),
    }


def implied_structure(source: str, backbone: dict[str, Tensor]) -> dict[str, Any]:
    """The arguments of the one MobileNetV1 whose tensors have these names and shapes.

    Widths tell alpha (the shortest decimal that gives them), and the rounding where the other one gives other widths.
    Raises ValueError naming the first tensors that are missing, too many or of another shape.
    """
    numbers = {int(found[1]) for name in backbone if (found := LAYER.match(name))}
    last = max(numbers, default=0)
    if last >= len(TABLE_1):
        raise ValueError(f"{source}: holds a layer conv_{last}; expected conv_0 to conv_{len(TABLE_1) - 1}")
    arguments: dict[str, Any] = {}
    if last > 0:
        arguments["block"] = "conv" if "conv_1.conv.weight" in backbone else "separable"
    if last >= SHALLOW_DROPS.start:
        arguments["shallow"] = numbers.isdisjoint(SHALLOW_DROPS)
    _check_names(source, backbone, _network(arguments, last).state_dict())

    separable = arguments.get("block") == "separable"
    pointwise = {n: f"conv_{n}.pointwise" if separable and n > 0 else f"conv_{n}" for n in sorted(numbers)}
    widths = {n: len(backbone[f"{name}.conv.weight"]) for n, name in pointwise.items()}
    arguments |= _alpha(source, widths)
    if separable:
        arguments["depth_multiplier"] = max(len(backbone["conv_1.depthwise.conv.weight"]) // widths[0], 1)
    check_shapes(source, backbone, arguments)
    return arguments


def check_shapes(source: str, backbone: dict[str, Tensor], arguments: dict[str, Any]) -> None:
    """Raise ValueError, naming the tensors, if MobileNetV1(**arguments) has other tensors than these."""
    last = max((int(found[1]) for name in backbone if (found := LAYER.match(name))), default=0)
    channels = backbone["conv_0.conv.weight"].shape[1:2] if "conv_0.conv.weight" in backbone else []
    expected = _network({**arguments, "in_channels": channels[0] if len(channels) else 3}, last).state_dict()
    _check_names(source, backbone, expected)
    for name, tensor in expected.items():
        if backbone[name].shape != tensor.shape:
            wanted = ", ".join(f"{key}={value}" for key, value in arguments.items() if key in ("alpha", "block"))
            raise ValueError(
                f"{source}: {name} has the shape {tuple(backbone[name].shape)}; expected {tuple(tensor.shape)}, as in "
                f"MobileNet V1 with {wanted}"
            )


def _network(arguments: dict[str, Any], last: int) -> MobileNetV1:
    with torch.device("meta"):
        return MobileNetV1(**{**arguments, "taps": (f"conv_{last}",)})


def _check_names(source: str, backbone: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    lacking = [name for name in expected if name not in backbone]
    foreign = [name for name in backbone if name not in expected]
    if lacking:
        raise ValueError(f"{source}: lacks {listed(lacking)} of MobileNet V1")
    if foreign:
        raise ValueError(f"{source}: holds {listed(foreign)}, which MobileNet V1 does not have")


def _alpha(source: str, widths: dict[int, int]) -> dict[str, Any]:
    last = max(widths)
    exact = max(widths[last], 1) / TABLE_1[last][0]
    for rounding in ROUNDINGS:
        for scale in (10, 100, 1_000, 10_000):
            # No rounding moves a width by more than 8.
            low, high = (exact + step / TABLE_1[last][0] for step in (-8, 8))
            tries = range(max(math.ceil(low * scale), 1), math.floor(high * scale) + 1)
            for alpha in sorted((n / scale for n in tries), key=lambda a: abs(a - exact)):
                if all(scale_channels(TABLE_1[n][0], alpha, rounding) == width for n, width in widths.items()):
                    either = all(len({scale_channels(c, alpha, r) for r in ROUNDINGS}) == 1 for c, _ in TABLE_1)
                    return {"alpha": alpha} if either else {"alpha": alpha, "rounding": rounding}
    odd = next((n for n in widths if scale_channels(TABLE_1[n][0], exact) != widths[n]), last)
    raise ValueError(
        f"{source}: conv_{odd} has {widths[odd]} channels; expected {scale_channels(TABLE_1[odd][0], exact)}, as "
        f"alpha={exact:g} gives, which conv_{last} with its {widths[last]} channels has"
    )
