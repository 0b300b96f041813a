"""From what the second stage says of each proposal to detections."""

from typing import Any

from torch import Tensor

from tasks.shared.detection.boxes import clip, decode
from tasks.shared.detection.postprocess import Detections, postprocess


def detect(logits: Tensor, offsets: Tensor, proposals: Tensor, height: int, width: int, **options: Any) -> Detections:
    """Detections of one image, in pixels of the square, of which height x width is image: boxes end there.

    logits (P, C + 1), background first; offsets (P, C, 4), a row for each class, against the proposals (P, 4) xyxy.
    options: of `postprocess` (thresholds and counts).
    """

    def boxes_of(indices: Tensor, labels: Tensor) -> Tensor:
        return clip(decode(offsets[indices, labels].float(), proposals[indices]), height, width)

    return postprocess(boxes_of, logits.float().softmax(-1)[:, 1:], **options)
