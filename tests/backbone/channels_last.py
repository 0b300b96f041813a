"""MobileNet's layers in TensorFlow's layout (B, H, W, C), by plain sums over windows: an oracle that shares no code."""

import numpy as np


def windows(x: np.ndarray, kernel: int, stride: int) -> np.ndarray:
    """(B, H, W, C) -> (B, rows, columns, kernel, kernel, C) under SAME padding, the odd pixel behind."""
    before_after = []
    for size in x.shape[1:3]:
        total = max((int(np.ceil(size / stride)) - 1) * stride + kernel - size, 0)
        before_after.append((total // 2, total - total // 2))
    x = np.pad(x, [(0, 0), *before_after, (0, 0)])
    view = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), (1, 2))[:, ::stride, ::stride]
    return view.transpose(0, 1, 2, 4, 5, 3)


def conv(x: np.ndarray, weight: np.ndarray, stride: int = 1) -> np.ndarray:
    """weight: Keras' (height, width, inputs, outputs)."""
    return np.einsum("bhwijc,ijco->bhwo", windows(x, weight.shape[0], stride), weight, optimize=True)


def depthwise(x: np.ndarray, weight: np.ndarray, stride: int = 1) -> np.ndarray:
    """weight: Keras' (height, width, inputs, outputs an input)."""
    y = np.einsum("bhwijc,ijcm->bhwcm", windows(x, weight.shape[0], stride), weight, optimize=True)
    return y.reshape(*y.shape[:3], -1)


def relu6(x: np.ndarray) -> np.ndarray:
    return np.clip(x, 0, 6)
