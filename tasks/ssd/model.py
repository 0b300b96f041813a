"""SSD-300 with MobileNet (Liu et al. 2016; Sec. 4.6 and Table 13)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from PIL import Image
from torch import Tensor

from backbone import Backbone, Published
from tasks.shared.contract import Task
from tasks.shared.detection.boxes import clip, decode
from tasks.shared.detection.data import CocoData
from tasks.shared.detection.dataset import DetectionInfo, DetectionTarget
from tasks.shared.detection.draw import describe_detections, draw_detections, scale_target
from tasks.shared.detection.evaluate import CocoEvaluator, check_resize_agrees
from tasks.shared.detection.postprocess import Detections, check_postprocess, postprocess
from tasks.shared.images.decode import square
from tasks.ssd.anchors import anchor_shapes, make_anchors
from tasks.ssd.head import EXTRAS, SSDHead
from tasks.ssd.loss import SSDLoss
from tasks.ssd.weights import coco_info, load_ssd


class SSDOutputs(NamedTuple):
    """class_logits (B, A, C + 1), background first; box_offsets (B, A, 4) against the anchors (A, 4), which are
    xyxy in pixels of the resized image."""

    class_logits: Tensor
    box_offsets: Tensor
    anchors: Tensor


class SSD(Task):
    """A single-shot detector on any backbone with two taps or more.

    Args:
        backbone: a module with `feature_info`, `input_mean`, `input_std`, that returns a dict of maps.
        num_classes: without background.
        resolution: side of the square input image in pixels.
        width: multiplier of the extra maps' channels, the backbone's alpha.
        loss: arguments of SSDLoss.
        postprocess: arguments of postprocess (thresholds and counts).
        anchors: arguments of anchor_shapes (min_scale, max_scale).
        unit: padding, activation, bn_eps and bn_momentum of the extra layers.
        evaluator: "faster" (faster-coco-eval) or "pycocotools".
        min_score: detections below it are neither drawn nor described (evaluation takes them all).

    Raises ValueError if the backbone has fewer than two taps or the resolution is below its deepest stride.
    """

    monitored_metrics = ("AP", "AP50")
    data_type = "detection"
    needs = ("category_ids", "class_names")

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        resolution: int = 300,
        *,
        width: float = 1.0,
        loss: dict[str, Any] | None = None,
        postprocess: dict[str, Any] | None = None,
        anchors: dict[str, Any] | None = None,
        unit: dict[str, Any] | None = None,
        evaluator: str = "faster",
        min_score: float = 0.3,
    ):
        features = backbone.feature_info
        strides = [info.stride for info in features]
        if len(features) < 2:
            raise ValueError(f"backbone.taps gives {len(features)} map; SSD reads two or more, such as [16, 32]")
        if resolution < strides[-1]:
            raise ValueError(
                f"resolution={resolution} is too small for the head: its deepest backbone map has stride "
                f"{strides[-1]}, so at least {strides[-1]} pixels are needed"
            )
        if num_classes < 1:
            raise ValueError(f"num_classes={num_classes}; expected at least 1")
        super().__init__(backbone, resolution)
        self.shapes = anchor_shapes(len(features) + len(EXTRAS), **(anchors or {}))
        self.head = SSDHead(features, [len(s) for s in self.shapes], num_classes + 1, width, **(unit or {}))
        self.criterion = SSDLoss(**(loss or {}))
        self.post = check_postprocess(**(postprocess or {}))
        self.backend = evaluator
        self.min_score = min_score

    def prepare(self, image: Tensor) -> Tensor:
        """Squashed to the square, whatever its sides."""
        return square(image, self.resolution)

    def respond(self, maps: dict[str, Tensor], images: Tensor) -> SSDOutputs:
        """images: (B, 3, resolution, resolution)."""
        if images.shape[-2:] != (self.resolution, self.resolution):
            raise ValueError(f"expected images of {self.resolution}x{self.resolution}, got {tuple(images.shape)}")
        logits, offsets, sizes = self.head([maps[info.name] for info in self.backbone.feature_info])
        return SSDOutputs(logits, offsets, make_anchors(self.shapes, sizes, self.resolution, images.device))

    def loss(self, outputs: SSDOutputs, targets: Sequence[DetectionTarget]) -> dict[str, Tensor]:
        boxes = [t["boxes"] for t in targets]
        labels = [t["labels"] for t in targets]
        logits, offsets = outputs.class_logits.float(), outputs.box_offsets.float()
        return self.criterion(logits, offsets, outputs.anchors, boxes, labels)

    def predict(self, outputs: SSDOutputs, sizes: Tensor) -> list[Detections]:
        """sizes (B, 2): height and width of the original images, whose pixels the boxes come in."""
        logits = outputs.class_logits.float()
        scores = logits.softmax(-1) if self.criterion.classification == "softmax" else logits.sigmoid()
        boxes = clip(decode(outputs.box_offsets.float(), outputs.anchors), self.resolution, self.resolution)
        results = []
        for image_boxes, image_scores, size in zip(boxes, scores[..., 1:], sizes, strict=True):
            found = postprocess(image_boxes, image_scores, **self.post)
            scale = size.flip(0).repeat(2).to(found.boxes) / self.resolution
            results.append(found._replace(boxes=found.boxes * scale))
        return results

    def evaluator(self, data: CocoData, info: DetectionInfo) -> CocoEvaluator:
        check_resize_agrees(data, "square")
        return CocoEvaluator(data.val_annotations, info["category_ids"], info["class_names"], self.backend)

    def draw(
        self, image: Image.Image, result: Detections, info: DetectionInfo, target: DetectionTarget | None = None
    ) -> Image.Image:
        truth = scale_target(target, image.size, self.resolution)
        return draw_detections(image, result, info["class_names"], truth, self.min_score)

    @classmethod
    def published_info(cls, published: Published, classes: list[str] | None) -> DetectionInfo:
        return coco_info(published, classes)

    def load_published(self, published: Published) -> None:
        load_ssd(self, published)

    def describe(self, result: Detections, info: DetectionInfo) -> list[dict[str, Any]]:
        return describe_detections(result, info, self.min_score)
