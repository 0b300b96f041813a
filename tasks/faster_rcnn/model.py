"""Faster-RCNN with MobileNet (Ren et al. 2015; Sec. 4.6 and Table 13, after Huang et al. 2017)."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn

from backbone import Backbone
from tasks.faster_rcnn.anchors import anchor_sizes, make_anchors
from tasks.faster_rcnn.crop import crop_and_resize
from tasks.faster_rcnn.detect import detect
from tasks.faster_rcnn.evaluate import ProposalEvaluator
from tasks.faster_rcnn.loss import make_sampling, roi_targets, rows, rpn_targets, two_losses
from tasks.faster_rcnn.rpn import ProposalHead, propose
from tasks.shared.contract import Task
from tasks.shared.detection.boxes import clip
from tasks.shared.detection.data import CocoData
from tasks.shared.detection.dataset import DetectionInfo, DetectionTarget
from tasks.shared.detection.draw import describe_detections, draw_detections, scale_target
from tasks.shared.detection.evaluate import check_resize_agrees
from tasks.shared.detection.postprocess import Detections, check_postprocess
from tasks.shared.images.decode import check_resize, fit, fit_scale, fitted_size

CROP = 14  # side of a crop of the map: 14x14, and no max-pool


class FasterRCNNOutputs(NamedTuple):
    """features (B, C, H, W), the shared map; objectness (B, A, 2) and offsets (B, A, 4) of the anchors (A, 4), xyxy in
    pixels of the resized image; proposals (B, P, 4) xyxy, of which found (B,) are real. Of the second stage, for the
    proposals: class_logits (B, P, C + 1), background first, and box_offsets (B, P, C, 4); None in training, where the
    loss asks for the proposals that it samples."""

    features: Tensor
    objectness: Tensor
    offsets: Tensor
    anchors: Tensor
    proposals: Tensor
    found: Tensor
    class_logits: Tensor | None
    box_offsets: Tensor | None


class Found(NamedTuple):
    """Detections, as `Detections`, and the proposals (P, 4) that they came from; in pixels of the original image."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    proposals: Tensor


class FasterRCNN(Task):
    """A two-stage detector on a backbone that is both stages' network.

    Its layers up to the first tap (stride 16, MobileNet's conv_11) give the shared map; the layers behind it, up to the
    second tap (conv_13), run on 14x14 crops of that map.

    Args:
        backbone: a `backbone.Backbone` whose layers run one after another, with two taps, the first of stride 16.
        num_classes: without background.
        resolution: side of the square input image in pixels; 300 and 600 are published, and one network takes both.
        resize: how images become squares: "square" squashes them, "keep_aspect" leaves grey beside them.
        proposals: boxes an image that the second stage looks at (Sec. 4.6 says 300; they are most of the cost).
        proposal_iou: of two proposals that overlap more, the better stays.
        anchors: arguments of anchor_sizes (scales of 256 pixels, ratios).
        sampling: arguments of Sampling (anchors and proposals an image that the losses count, shares of positives).
        localization_weight: of both box losses.
        postprocess: arguments of postprocess (thresholds and counts).
        evaluator: "faster" (faster-coco-eval) or "pycocotools".
        min_score: detections below it are neither drawn nor described (evaluation takes them all).

    Raises ValueError for a backbone without these taps, a resolution below 16 pixels, and settings out of range.
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
        resize: str = "square",
        proposals: int = 300,
        proposal_iou: float = 0.7,
        anchors: dict[str, Sequence[float]] | None = None,
        sampling: dict[str, float] | None = None,
        localization_weight: float = 2.0,
        postprocess: dict[str, Any] | None = None,
        evaluator: str = "faster",
        min_score: float = 0.3,
    ):
        features = backbone.feature_info
        if not isinstance(backbone, Backbone):
            raise ValueError(
                f"backbone: Faster-RCNN runs its last layers on crops, and a {type(backbone).__name__} has no `run`; "
                "expected a subclass of backbone.Backbone"
            )
        backbone.layers()  # raises where they cannot run on their own
        if len(features) != 2 or features[0].stride != 16:
            given = ", ".join(f"{info.name} (stride {info.stride})" for info in features)
            raise ValueError(
                f"backbone.taps gives {given}; Faster-RCNN needs two maps, the first of stride 16: [16, 32]"
            )
        if resolution < features[0].stride:
            raise ValueError(f"resolution={resolution}; the shared map has stride 16, so at least 16 pixels are needed")
        if num_classes < 1:
            raise ValueError(f"num_classes={num_classes}; expected at least 1")
        if not isinstance(proposals, int) or proposals < 1:
            raise ValueError(f"task.proposals={proposals}; expected a whole number from 1")
        if not 0 < proposal_iou <= 1:
            raise ValueError(f"task.proposal_iou={proposal_iou}; expected a number above 0, up to 1")
        if localization_weight < 0:
            raise ValueError(f"task.localization_weight={localization_weight}; expected a number from 0")
        check_resize(resize, "task.resize")
        super().__init__(backbone, resolution)
        self.resize, self.num_classes = resize, num_classes
        self.proposals, self.proposal_iou = proposals, proposal_iou
        self.shared, self.last = features
        self.sampling = make_sampling(sampling or {})
        self.localization_weight = localization_weight
        sizes = anchor_sizes(**({"scales": (0.25, 0.5, 1.0, 2.0), "ratios": (0.5, 1.0, 2.0)} | (anchors or {})))
        self.register_buffer("anchor_sizes", sizes, persistent=False)
        self.rpn = ProposalHead(self.shared.channels, len(sizes))
        self.classes = nn.Linear(self.last.channels, num_classes + 1)
        self.boxes = nn.Linear(self.last.channels, num_classes * 4)
        for layer in (self.classes, self.boxes):  # TF object detection: variance scaling, of the mean of both sides
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.post = check_postprocess(**(postprocess or {}))
        self.backend = evaluator
        self.min_score = min_score

    anchor_sizes: Tensor

    def prepare(self, image: Tensor) -> Tensor:
        return fit(image, self.resolution, self.resize)

    def maps(self, images: Tensor) -> dict[str, Tensor]:
        """The shared map alone: the layers behind it run on crops."""
        name = self.shared.name
        return {name: self.backbone.run(self.normalize(images), until=name)}

    def respond(self, maps: dict[str, Tensor], images: Tensor) -> FasterRCNNOutputs:
        """images: (B, 3, resolution, resolution)."""
        height, width = images.shape[-2:]
        if (height, width) != (self.resolution, self.resolution):
            raise ValueError(f"expected images of {self.resolution}x{self.resolution}, got {tuple(images.shape)}")
        features = maps[self.shared.name]
        objectness, offsets = self.rpn(features)
        anchors = make_anchors(self.anchor_sizes, features.shape[-2], features.shape[-1], self.shared.stride)
        proposals, found = propose(objectness, offsets, anchors, self.proposals, self.proposal_iou, height, width)
        second = (None, None) if self.training else self.second_stage(features, proposals)
        return FasterRCNNOutputs(features, objectness, offsets, anchors, proposals, found, *second)

    def second_stage(self, features: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """What is in boxes (B, P, 4) of the shared map: class logits (B, P, C + 1) and offsets (B, P, C, 4)."""
        batch, count = boxes.shape[:2]
        # The loss runs it outside autocast: the type of the map says what was computed in.
        half = features.dtype in (torch.bfloat16, torch.float16)
        with torch.autocast(features.device.type, features.dtype) if half else nullcontext():
            crops = crop_and_resize(features, boxes, self.shared.stride, CROP)
            x = self.backbone.run(crops, after=self.shared.name, until=self.last.name).mean((2, 3))
            logits, offsets = self.classes(x), self.boxes(x)
        return logits.view(batch, count, -1), offsets.view(batch, count, self.num_classes, 4)

    def loss(self, outputs: FasterRCNNOutputs, targets: Sequence[DetectionTarget]) -> dict[str, Tensor]:
        boxes, labels = [t["boxes"] for t in targets], [t["labels"] for t in targets]
        first = rpn_targets(outputs.anchors, boxes, self.sampling)
        objectness, rpn_localization = two_losses(
            rows(outputs.objectness, first.chosen).float(),
            rows(outputs.offsets, first.chosen).float(),
            first.classes,
            first.offsets,
            first.counted,
        )
        second = roi_targets(outputs.proposals, outputs.found, boxes, labels, self.sampling)
        logits, offsets = self.second_stage(outputs.features, second.boxes)
        own_class = (second.classes - 1).clamp(min=0)[..., None, None].expand(-1, -1, 1, 4)
        offsets = offsets.gather(2, own_class).squeeze(2)
        classification, localization = two_losses(
            logits.float(), offsets.float(), second.classes, second.offsets, second.counted
        )
        return {
            "rpn_objectness": objectness,
            "rpn_localization": self.localization_weight * rpn_localization,
            "classification": classification,
            "localization": self.localization_weight * localization,
        }

    def predict(self, outputs: FasterRCNNOutputs, sizes: Tensor) -> list[Found]:
        """sizes (B, 2): height and width of the original images, whose pixels the boxes come in."""
        assert outputs.class_logits is not None and outputs.box_offsets is not None, "predict needs eval mode"
        results = []
        for image, (height, width) in enumerate(sizes.tolist()):
            limits = fitted_size(height, width, self.resolution, self.resize)
            scale = fit_scale(height, width, self.resolution, self.resize).to(outputs.proposals)
            count = int(outputs.found[image])
            proposals = outputs.proposals[image, :count]
            logits, offsets = outputs.class_logits[image, :count], outputs.box_offsets[image, :count]
            kept = detect(logits, offsets, proposals, *limits, **self.post)
            results.append(Found(kept.boxes / scale, kept.scores, kept.labels, clip(proposals, *limits) / scale))
        return results

    def evaluator(self, data: CocoData, info: DetectionInfo) -> ProposalEvaluator:
        check_resize_agrees(data, self.resize)
        annotations = (data.val_annotations, info["category_ids"], info["class_names"], self.backend)
        return ProposalEvaluator(*annotations, self.resolution, self.resize)

    def draw(
        self, image: Image.Image, result: Found, info: DetectionInfo, target: DetectionTarget | None = None
    ) -> Image.Image:
        truth = scale_target(target, image.size, self.resolution, self.resize)
        return draw_detections(image, Detections(*result[:3]), info["class_names"], truth, self.min_score)

    def describe(self, result: Found, info: DetectionInfo) -> list[dict[str, Any]]:
        return describe_detections(Detections(*result[:3]), info, self.min_score)
