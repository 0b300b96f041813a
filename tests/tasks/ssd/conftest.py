"""A small detector, and what to feed it."""

from typing import Any

import torch
from torch import Tensor

from backbone import MobileNetV1
from tasks.ssd import SSD


def make_task(
    num_classes: int = 3,
    resolution: int = 96,
    alpha: float = 0.25,
    taps: tuple[str | int, ...] = (16, 32),
    body: dict[str, Any] | None = None,
    **options: Any,
) -> SSD:
    torch.manual_seed(0)
    backbone = MobileNetV1(alpha, taps, **(body or {}))
    return SSD(backbone, num_classes, resolution, **{"width": alpha} | options)


def random_images(count: int, side: int, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, 3, side, side), generator=draw, dtype=torch.uint8)


def target(*boxes: list[float], labels: tuple[int, ...] = ()) -> Any:
    return {"boxes": torch.tensor(boxes).reshape(-1, 4), "labels": torch.tensor(labels, dtype=torch.int64)}
