"""A small detector, and what to feed it."""

from typing import Any

import torch
from torch import Tensor

from backbone import MobileNetV1
from tasks.faster_rcnn import FasterRCNN
from tasks.faster_rcnn.model import FasterRCNNOutputs
from tasks.shared.network.isometric import isometric_init


def make_task(
    num_classes: int = 3,
    resolution: int = 96,
    alpha: float = 0.25,
    taps: tuple[str | int, ...] = (16, 32),
    body: dict[str, Any] | None = None,
    **options: Any,
) -> FasterRCNN:
    torch.manual_seed(0)
    backbone = MobileNetV1(alpha, taps, **(body or {}))
    isometric_init(backbone)  # from the published one its maps would be all but zero, and any two of them alike
    return FasterRCNN(backbone, num_classes, resolution, **{"proposals": 20} | options)


def random_images(count: int, side: int, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, 3, side, side), generator=draw, dtype=torch.uint8)


def target(*boxes: list[float], labels: tuple[int, ...] = ()) -> Any:
    return {"boxes": torch.tensor(boxes).reshape(-1, 4), "labels": torch.tensor(labels, dtype=torch.int64)}


def random_boxes(*shape: int, seed: int = 0, side: float = 96.0, size: float = 50.0) -> Tensor:
    """(*shape, 4) xyxy of 6 pixels a side to `size`, within an image of `side`."""
    draw = torch.Generator().manual_seed(seed)
    corner = torch.rand(*shape, 2, generator=draw) * (side - size)
    return torch.cat([corner, corner + 6 + torch.rand(*shape, 2, generator=draw) * (size - 6)], dim=-1)


def outputs_of(proposals: Tensor, class_logits: Tensor | None, box_offsets: Tensor | None) -> FasterRCNNOutputs:
    """What the network may say of these proposals (B, P, 4), all of them real; the first stage is left out."""
    batch, count = proposals.shape[:2]
    nothing = torch.zeros(batch, 0, 4)
    found = torch.full((batch,), count)
    return FasterRCNNOutputs(
        nothing, nothing[..., :2], nothing, nothing[0], proposals, found, class_logits, box_offsets
    )
