"""COCO's numbers, and how many objects the first stage finds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torchvision.ops import box_iou

from tasks.shared.detection.dataset import DetectionTarget
from tasks.shared.detection.evaluate import CocoEvaluator
from tasks.shared.images.decode import fit_scale

IOU = 0.5


class ProposalEvaluator(CocoEvaluator):
    """`CocoEvaluator` with one number more, `rpn_recall`: the share of objects that a proposal overlaps with IoU 0.5.

    resolution, resize: of the square that targets' boxes are in pixels of, see `images.decode.fitted_size`.
    """

    def __init__(
        self,
        annotations: Path,
        category_ids: Sequence[int],
        class_names: Sequence[str],
        backend: str = "faster",
        resolution: int = 300,
        resize: str = "square",
    ):
        super().__init__(annotations, category_ids, class_names, backend)
        self.resolution, self.resize = resolution, resize
        self.recalled: dict[int, tuple[int, int]] = {}  # image id -> objects found, objects

    def reset(self) -> None:
        super().reset()
        self.recalled.clear()

    def update(self, results: Sequence[Any], targets: Sequence[DetectionTarget]) -> None:
        """results: `Found`; targets: `boxes`, `size` and `image_id`."""
        super().update([result[:3] for result in results], targets)
        for result, target in zip(results, targets, strict=True):
            height, width = target["size"]
            scale = fit_scale(height, width, self.resolution, self.resize)
            overlap = box_iou(target["boxes"].cpu() / scale, result.proposals.cpu())
            hits = int((overlap.amax(1) >= IOU).sum()) if overlap.numel() else 0
            self.recalled[int(target["image_id"])] = (hits, len(overlap))

    def gather(self) -> None:
        super().gather()
        if dist.is_initialized() and dist.get_world_size() > 1:
            parts: list[Any] = [None] * dist.get_world_size()
            dist.all_gather_object(parts, self.recalled)
            self.recalled = {image: counts for part in parts for image, counts in part.items()}

    def compute(self) -> dict[str, float]:
        figures = super().compute()
        hits, objects = (sum(counts[k] for counts in self.recalled.values()) for k in (0, 1))
        return figures | ({"rpn_recall": hits / objects} if objects else {})
