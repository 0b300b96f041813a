"""SSD's anchors (Liu et al. 2016, as the TF object detection API lays them out for ssd_mobilenet_v1)."""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

Shape = tuple[float, float]  # scale, aspect ratio (width / height)


def anchor_shapes(maps: int, min_scale: float = 0.2, max_scale: float = 0.95) -> list[list[Shape]]:
    """The (scale, ratio) pairs at each location of each map: 3 on the first, 6 on every other.

    Scales run linearly from `min_scale` on the first map to `max_scale` on the last, as shares of the
    image's side; the scale after the last is 1.
    """
    if not 0 < min_scale <= max_scale:
        raise ValueError(
            f"task.anchors.min_scale={min_scale}, task.anchors.max_scale={max_scale}; expected shares of the image's "
            "side above 0, the first no larger"
        )
    step = (max_scale - min_scale) / max(maps - 1, 1)
    scales = [min_scale + step * k for k in range(maps)] + [1.0]
    first: list[Shape] = [(min_scale / 2, 1.0), (min_scale, 2.0), (min_scale, 0.5)]
    others = [
        [*((scales[k], ratio) for ratio in (1.0, 2.0, 0.5, 3.0, 1 / 3)), (math.sqrt(scales[k] * scales[k + 1]), 1.0)]
        for k in range(1, maps)
    ]
    return [first, *others]


def make_anchors(
    shapes: Sequence[Sequence[Shape]],
    map_sizes: Sequence[tuple[int, int]],
    resolution: int,
    device: torch.device | None = None,
) -> Tensor:
    """Anchors (A, 4), xyxy in pixels of the resized image, not clipped.

    shapes: per map the (scale, ratio) pairs; map_sizes: rows and columns of each map; resolution: the image's side.
    Order: map, row, column, shape, the order in which the predictors' outputs are flattened.
    """
    frozen = tuple(tuple(pairs) for pairs in shapes)
    # They are the same every step, but what torch.export or torch.compile traces must not stay in the cache.
    make = _make_anchors if torch.compiler.is_compiling() else _cached_anchors
    return make(frozen, tuple(map_sizes), resolution, device or torch.device("cpu"))


def _make_anchors(
    shapes: tuple[tuple[Shape, ...], ...], map_sizes: tuple[tuple[int, int], ...], resolution: int, device: torch.device
) -> Tensor:
    all_anchors = []
    for pairs, (rows, columns) in zip(shapes, map_sizes, strict=True):
        y, x = torch.meshgrid(_centers(rows, resolution), _centers(columns, resolution), indexing="ij")
        scale, ratio = torch.tensor(pairs, dtype=torch.float64).unbind(1)
        width, height = resolution * scale * ratio.sqrt(), resolution * scale / ratio.sqrt()
        center = torch.stack([x, y], dim=-1)[:, :, None]
        half = torch.stack([width, height], dim=-1) / 2
        all_anchors.append(torch.cat([center - half, center + half], dim=-1).view(-1, 4))
    return torch.cat(all_anchors).float().to(device)


_cached_anchors = lru_cache(maxsize=8)(_make_anchors)


def _centers(steps: int, resolution: int) -> Tensor:
    return (torch.arange(steps, dtype=torch.float64) + 0.5) * resolution / steps
