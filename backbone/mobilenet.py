"""MobileNet (Howard et al. 2017, arXiv:1704.04861), the body of Table 1."""

import math
from collections.abc import Sequence
from typing import Any

from torch import nn

from backbone.features import Backbone, FeatureInfo, select_taps
from backbone.layers import ConvNormAct

# Table 1: output channels and stride of conv_0 (the full convolution) and of the 13 depthwise separable layers.
# The paper prints stride 2 for the last one; its own sizes (7x7 in, 7x7 out) say 1.
TABLE_1 = (
    (32, 2),
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
)
SHALLOW_DROPS = range(7, 12)  # Table 5: the five 512 -> 512 layers of stride 1
ROUNDINGS = ("int", "divisible")
MOST_CHANNELS = 1 << 16  # whose pointwise weights alone take 16 GB
BLOCKS = ("separable", "conv")


def scale_channels(channels: int, alpha: float, rounding: str = "int") -> int:
    """Channels under the width multiplier alpha (Sec. 3.3), never below 8.

    `"int"` truncates, as TF-slim does; `"divisible"` rounds to the nearest multiple of 8, at least 0.9 of
    the exact width. At the paper's alphas (1, 0.75, 0.5, 0.25) both give the same network.
    """
    if not 0 < alpha < math.inf:
        raise ValueError(f"backbone.alpha={alpha}; expected a width multiplier above 0 (the paper uses 0.25 to 1)")
    if rounding not in ROUNDINGS:
        raise ValueError(f"backbone.rounding={rounding!r}; expected one of {', '.join(ROUNDINGS)}")
    exact = channels * alpha
    if exact > MOST_CHANNELS:
        raise ValueError(
            f"backbone.alpha={alpha} makes a layer of {exact:.0f} channels; expected {MOST_CHANNELS} at most"
        )
    if rounding == "int":
        return max(int(exact), 8)
    nearest = max(int(exact + 4) // 8 * 8, 8)
    return nearest if nearest >= 0.9 * exact else nearest + 8


class SeparableConv(nn.Sequential):
    """A depthwise separable convolution (Sec. 3.1): one 3x3 filter a channel, then 1x1 across the channels."""

    def __init__(self, inputs: int, outputs: int, stride: int, depth_multiplier: int = 1, **unit):
        super().__init__()
        wide = inputs * depth_multiplier
        self.depthwise = ConvNormAct(inputs, wide, 3, stride, groups=inputs, **unit)
        self.pointwise = ConvNormAct(wide, outputs, 1, **unit)


class MobileNetV1(Backbone):
    """MobileNet without its classifier: `conv_0` to `conv_13`, handing out the maps named by `taps`.

    It takes images (B, 3, H, W) float, normalised by `input_mean` and `input_std`, so in [-1, 1].

    Args:
        alpha: width multiplier (Sec. 3.3), above 0; the paper uses 1, 0.75, 0.5, 0.25.
        taps: which maps to return: layer names (`"conv_11"`) or strides (`16` is the last layer of stride 16).
            Layers beyond the deepest tap are not built.
        block: `"separable"`, or `"conv"` for one full 3x3 convolution in place of each pair (Table 4).
        shallow: leave out conv_7 to conv_11 (Table 5).
        padding: `"same"` as TensorFlow pads, or `"symmetric"` as timm's weights expect.
        activation: `"relu6"` as published, or `"relu"` as the paper writes.
        bn_eps, bn_momentum: of batch norm; the defaults are TF-slim's (decay 0.9997 is momentum 3e-4).
        rounding: of scaled channels, see `scale_channels`.
        depth_multiplier: depthwise outputs per input channel (Keras' argument of that name), 1 in the paper.
        in_channels: of the input image.
        input_mean, input_std: the normalisation that it expects of pixels scaled to [0, 1], one number or one a
            channel. 0.5 is TF-slim's [-1, 1]; weights from elsewhere say what they were trained with.

    Attributes:
        feature_info: a FeatureInfo (name, channels, stride) for each tap, in the order of the network.
        input_mean, input_std: as given, a number a channel.
        arguments: those that weights depend on, by name; `load_weights` holds a file against them.

    Raises ValueError, naming the key, the value and what was expected, for arguments out of range.
    """

    def __init__(
        self,
        alpha: float = 1.0,
        taps: Sequence[str | int] = ("conv_13",),
        *,
        block: str = "separable",
        shallow: bool = False,
        padding: str = "same",
        activation: str = "relu6",
        bn_eps: float = 1e-3,
        bn_momentum: float = 3e-4,
        rounding: str = "int",
        depth_multiplier: int = 1,
        in_channels: int = 3,
        input_mean: float | Sequence[float] = 0.5,
        input_std: float | Sequence[float] = 0.5,
    ):
        super().__init__()
        if block not in BLOCKS:
            raise ValueError(f"backbone.block={block!r}; expected one of {', '.join(BLOCKS)}")
        if depth_multiplier < 1:
            raise ValueError(f"backbone.depth_multiplier={depth_multiplier}; expected a whole number from 1")
        self.input_mean = _per_channel("input_mean", input_mean, in_channels)
        self.input_std = _per_channel("input_std", input_std, in_channels)
        if min(self.input_std) <= 0:
            raise ValueError(f"backbone.input_std={input_std}; expected numbers above 0")
        self.arguments: dict[str, Any] = {
            "alpha": alpha,
            "block": block,
            "shallow": shallow,
            "padding": padding,
            "activation": activation,
            "bn_eps": bn_eps,
            "rounding": rounding,
            "depth_multiplier": depth_multiplier,
            "input_mean": self.input_mean,
            "input_std": self.input_std,
        }
        unit: dict[str, Any] = {
            "padding": padding,
            "activation": activation,
            "bn_eps": bn_eps,
            "bn_momentum": bn_momentum,
        }
        layers: list[FeatureInfo] = []
        strides: list[int] = []
        for index, (channels, stride) in enumerate(TABLE_1):
            if not (shallow and index in SHALLOW_DROPS):
                strides.append(stride)
                width = scale_channels(channels, alpha, rounding)
                layers.append(FeatureInfo(f"conv_{index}", width, math.prod(strides)))
        self.feature_info = select_taps(layers, taps)

        inputs = in_channels
        for info, stride in zip(layers, strides, strict=True):
            if info.name == "conv_0" or block == "conv":
                layer: nn.Module = ConvNormAct(inputs, info.channels, 3, stride, **unit)
            else:
                layer = SeparableConv(inputs, info.channels, stride, depth_multiplier, **unit)
            self.add_module(info.name, layer)
            inputs = info.channels
            if info == self.feature_info[-1]:
                break  # nothing reads what lies beyond the deepest tap


def _per_channel(key: str, value: float | Sequence[float], channels: int) -> tuple[float, ...]:
    numbers = (value,) * channels if isinstance(value, int | float) else tuple(value)
    if len(numbers) != channels or not all(isinstance(n, int | float) and math.isfinite(n) for n in numbers):
        raise ValueError(f"backbone.{key}={value}; expected a number, or one for each of the {channels} channels")
    return tuple(float(n) for n in numbers)
