"""Crops of a feature map around boxes."""

import torch
import torch.nn.functional as F
from torch import Tensor


def crop_and_resize(features: Tensor, boxes: Tensor, stride: int, side: int = 14) -> Tensor:
    """Bilinear samples of each box on a side x side grid whose corners are the box's (as tf.image.crop_and_resize).

    features (B, C, H, W); boxes (B, P, 4) xyxy in pixels of the image, they get no gradient. Pixel x lies at
    x / stride on the map, as for the anchors' centres. Outside the map its border goes on.
    Returns (B * P, C, side, side), channels last in memory.

    A crop is a weighted sum of four places for each sample, which is what an embedding bag computes: one fused call
    over all images, boxes and samples, that writes channels last. roi_align does it box by box, and has no bf16 on
    the CPU.
    """
    boxes = boxes.detach()
    batch, channels, height, width = features.shape
    count = boxes.shape[1]
    steps = torch.linspace(0, 1, side, device=boxes.device)
    low, high = boxes[..., :2] / stride, boxes[..., 2:] / stride
    x, y = (low[..., None] + (high - low)[..., None] * steps).unbind(2)  # (B, P, side) each, in steps of the map
    x_low, x_weight = _neighbours(x, width)
    y_low, y_weight = _neighbours(y, height)
    rows = torch.stack([y_low, (y_low + 1).clamp(max=height - 1)], dim=-1)  # (B, P, side, 2)
    columns = torch.stack([x_low, (x_low + 1).clamp(max=width - 1)], dim=-1)
    image = torch.arange(batch, device=boxes.device).view(-1, 1, 1, 1, 1, 1) * (height * width)
    index = image + rows[:, :, :, None, :, None] * width + columns[:, :, None, :, None, :]
    weight = y_weight[:, :, :, None, :, None] * x_weight[:, :, None, :, None, :]  # (B, P, side, side, 2, 2)
    table = features.permute(0, 2, 3, 1).reshape(-1, channels)
    crops = F.embedding_bag(
        index.reshape(-1, 4), table, per_sample_weights=weight.reshape(-1, 4).to(table.dtype), mode="sum"
    )
    return crops.view(batch * count, side, side, channels).permute(0, 3, 1, 2)


def _neighbours(position: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The step before each position (...,) int64, and the weights (..., 2) of it and the step behind."""
    position = position.clamp(0, size - 1)
    before = position.floor()
    share = position - before
    return before.long(), torch.stack([1 - share, share], dim=-1)
