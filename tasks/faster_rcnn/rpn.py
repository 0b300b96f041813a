"""The first stage: a region proposal network on the shared map (Ren et al. 2015, Sec. 3.1)."""

import math

import torch
from torch import Tensor, nn

from tasks.shared.detection.boxes import clip, decode
from tasks.shared.detection.postprocess import postprocess

WIDTH = 512  # TF object detection: first_stage_box_predictor_depth


class ProposalHead(nn.Module):
    """A 3x3 convolution, then 1x1 ones for two logits (background, object) and four offsets an anchor.

    inputs: channels of the shared map; anchors: a place.
    """

    def __init__(self, inputs: int, anchors: int):
        super().__init__()
        self.conv = nn.Conv2d(inputs, WIDTH, 3, padding=1)
        self.act = nn.ReLU6(inplace=True)
        self.objectness = nn.Conv2d(WIDTH, 2 * anchors, 1)
        self.offsets = nn.Conv2d(WIDTH, 4 * anchors, 1)
        for layer in (self.conv, self.objectness, self.offsets):
            nn.init.trunc_normal_(layer.weight, std=0.01, a=-0.02, b=0.02)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """features (B, C, H, W) -> logits (B, H * W * anchors, 2) and offsets (B, H * W * anchors, 4)."""
        x = self.act(self.conv(features))
        logits, offsets = self.objectness(x), self.offsets(x)
        batch = len(features)
        return (
            logits.permute(0, 2, 3, 1).reshape(batch, -1, 2),
            offsets.permute(0, 2, 3, 1).reshape(batch, -1, 4),
        )


@torch.no_grad()
def propose(
    logits: Tensor, offsets: Tensor, anchors: Tensor, count: int, iou_threshold: float, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """The best `count` boxes of each image after non-maximum suppression.

    logits (B, A, 2), offsets (B, A, 4), anchors (A, 4) xyxy in pixels of the resized image of height x width.
    Boxes are clipped to the image, those wholly outside dropped. Returns boxes (B, count, 4) xyxy, best first, and
    how many of them are real (B,) int64; the rest is zero.
    """
    proposals = logits.new_zeros((len(logits), count, 4), dtype=torch.float32)
    found = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
    if logits.is_meta:  # counting cost: which boxes they are does not matter
        return proposals, found
    # Ranked by the difference of the logits: as the softmax ranks them, but where it rounds to 1 too.
    scores = logits[..., 1:].float() - logits[..., :1].float()
    for image in range(len(logits)):
        kept = _best_boxes(scores[image], offsets[image], anchors, count, iou_threshold, height, width)
        proposals[image, : len(kept)] = kept
        found[image] = len(kept)
    return proposals, found


def _best_boxes(
    scores: Tensor, offsets: Tensor, anchors: Tensor, count: int, iou_threshold: float, height: int, width: int
) -> Tensor:
    """Those of one image (N, 4), best first; scores (A, 1), offsets and anchors (A, 4)."""

    def boxes_of(indices: Tensor, _: Tensor) -> Tensor:
        return clip(decode(offsets[indices].float(), anchors[indices]), height, width)

    return postprocess(
        boxes_of, scores, score_threshold=-math.inf, iou_threshold=iou_threshold, per_class=count, total=count
    ).boxes
