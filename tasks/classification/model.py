"""A classifier on any backbone (Table 1's last three rows)."""

from dataclasses import replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from backbone import Backbone, Published
from tasks.classification.draw import draw_answer
from tasks.classification.evaluate import TopKEvaluator
from tasks.classification.names import imagenet_ids, names_of
from tasks.shared.contract import Normalize, Targets, Task
from tasks.shared.crops import center_crop, check_crop

TOP = 5


class Answer(NamedTuple):
    """The most probable classes of a picture, best first: labels (K,) int64, probabilities (K,) float."""

    labels: Tensor
    probabilities: Tensor


class Classifier(Task):
    """Global average pooling, dropout and one linear layer on the backbone's deepest map.

    Args:
        backbone: a module with `feature_info`, `input_mean`, `input_std`, that returns a dict of maps.
        num_classes: outputs; there is no background class.
        resolution: side of the square input picture in pixels.
        dropout: share of features that training drops (TF-slim keeps 0.999).
        label_smoothing: share of the target that is spread over all classes; the paper uses none (Sec. 3.2).
        crop, crop_share: how whole pictures are cut for it, see `tasks.shared.crops.center_crop`.

    Raises ValueError for a resolution below the backbone's deepest stride, and for shares outside their range.
    """

    curves = ("top1", "top5")
    data_kind = "classification"

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        resolution: int = 224,
        *,
        dropout: float = 0.001,
        label_smoothing: float = 0.0,
        crop: str = "short_side",
        crop_share: float = 0.875,
    ):
        super().__init__()
        last = backbone.feature_info[-1]
        if resolution < last.stride:
            raise ValueError(f"resolution={resolution} is below the backbone's stride; expected at least {last.stride}")
        if num_classes < 2:
            raise ValueError(f"num_classes={num_classes}; a classifier needs at least 2 classes")
        for key, value in (("dropout", dropout), ("label_smoothing", label_smoothing)):
            if not 0 <= value < 1:
                raise ValueError(f"task.{key}={value}; expected 0 up to below 1")
        check_crop(crop, crop_share)
        self.resolution, self.crop, self.crop_share = resolution, crop, crop_share
        self.label_smoothing = label_smoothing
        self.normalize = Normalize(backbone.input_mean, backbone.input_std)
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(last.channels, num_classes)
        nn.init.trunc_normal_(self.head.weight, std=0.09, a=-0.18, b=0.18)  # TF-slim's, as the backbone's
        nn.init.zeros_(self.head.bias)

    def prepare(self, image: Tensor) -> Tensor:
        return center_crop(image, self.resolution, self.crop, self.crop_share)

    def forward(self, images: Tensor) -> Tensor:
        """images (B, 3, H, W), uint8 or float in 0 to 255 -> class logits (B, num_classes)."""
        maps = self.backbone(self.normalize(images))
        features = maps[self.backbone.feature_info[-1].name].mean((2, 3))
        return self.head(self.dropout(features))

    def loss(self, outputs: Tensor, targets: Targets) -> dict[str, Tensor]:
        """targets: `label` (int) each."""
        labels = torch.tensor([target["label"] for target in targets], device=outputs.device)
        return {"cross_entropy": F.cross_entropy(outputs.float(), labels, label_smoothing=self.label_smoothing)}

    def predict(self, outputs: Tensor, sizes: Tensor) -> list[Answer]:
        probabilities, labels = outputs.float().softmax(-1).topk(min(TOP, outputs.shape[-1]))
        return [Answer(*pair) for pair in zip(labels.cpu(), probabilities.cpu(), strict=True)]

    def evaluator(self, data: Any, info: dict[str, Any]) -> TopKEvaluator:
        return TopKEvaluator(data.info["class_ids"], info["class_ids"], info["class_names"])

    def draw(self, image: Image.Image, result: Answer, info: dict[str, Any], target: Any = None) -> Image.Image:
        names = info["class_names"]
        shown = [(names[k], p) for k, p in zip(result.labels.tolist(), result.probabilities.tolist(), strict=True)]
        return draw_answer(image, shown, None if target is None else target.get("class_name"))

    @classmethod
    def published_info(cls, published: Published, classes: list[str] | None) -> dict[str, Any]:
        if not published.classifier:
            return {}
        count = len(published.classifier["weight"]) - published.background
        if classes is None:
            classes = imagenet_ids() if count == 1000 else [str(index) for index in range(count)]
        if len(classes) != count:
            whole = f"{count} classes" + (" and background" if published.background else "")
            raise ValueError(f"{published.source} has {whole}, but classes names {len(classes)}")
        return {"class_ids": classes, "class_names": names_of(classes)}

    def load_published(self, published: Published) -> None:
        super().load_published(replace(published, classifier={}))
        if published.classifier:
            first = int(published.background)  # there is no background class here
            self.head.load_state_dict({name: t[first:] for name, t in published.classifier.items()})

    def describe(self, result: Answer, info: dict[str, Any]) -> list[dict[str, Any]]:
        """One dict a class, best first: its id, name and probability."""
        return [
            {"class_id": info["class_ids"][k], "name": info["class_names"][k], "probability": p}
            for k, p in zip(result.labels.tolist(), result.probabilities.tolist(), strict=True)
        ]
