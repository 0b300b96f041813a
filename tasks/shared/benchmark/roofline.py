"""The most that a device computes, to hold a network's speed against."""

import time

import torch
import torch.nn.functional as F
from torch import Tensor

CHANNELS = 1024
PIXELS = {"cpu": 4096, "cuda": 1 << 17}  # of the map, by device: half a second of either is many calls
SECONDS = 0.3


def most_operations(device: torch.device, dtype: torch.dtype) -> float:
    """Multiply-accumulates a second in a large matrix product, the fastest call of SECONDS.

    As a pointwise convolution, which is the product that MobileNet spends most on, and on CPUs faster than torch's own
    for fp32. On a GPU fp32 is what torch makes of it by default in convolutions, TF32.
    """
    side = PIXELS.get(device.type, PIXELS["cpu"])
    x = torch.randn(1, CHANNELS, side // 64, 64, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    weight = torch.randn(CHANNELS, CHANNELS, 1, 1, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        _seconds(x, weight)
        start = time.perf_counter()
        times: list[float] = []
        while len(times) < 3 or time.perf_counter() - start < SECONDS:
            times.append(_seconds(x, weight))
    return side * CHANNELS**2 / min(times)


def _seconds(x: Tensor, weight: Tensor) -> float:
    start = time.perf_counter()
    F.conv2d(x, weight)
    wait_for(x.device)
    return time.perf_counter() - start


def wait_for(device: torch.device) -> None:
    """Until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize()
