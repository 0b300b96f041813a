"""A classifier on any backbone (Table 1's last three rows)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from backbone import Backbone, Published
from tasks.shared.classification.data import ClassificationData, ClassInfo
from tasks.shared.classification.draw import draw_prediction
from tasks.shared.classification.evaluate import TopKEvaluator
from tasks.shared.classification.names import imagenet_ids, names_of
from tasks.shared.data.image_set import ClassTarget
from tasks.shared.network.pooled_task import PooledTask

TOP = 5


class Prediction(NamedTuple):
    """The most probable classes of an image, best first: labels (K,) int64, probabilities (K,) float."""

    labels: Tensor
    probabilities: Tensor


class Classifier(PooledTask):
    """Global average pooling, dropout and one linear layer on the backbone's deepest map.

    Args:
        backbone: a module with `feature_info`, `input_mean`, `input_std`, that returns a dict of maps.
        num_classes: outputs; there is no background class.
        resolution: side of the square input image in pixels.
        dropout: share of features that training drops (TF-slim keeps 0.999).
        label_smoothing: share of the target that is spread over all classes; the paper uses none (Sec. 3.2).
        noise_q: for labels that are often wrong: the generalised cross-entropy (1 - p^q) / q of the right class's
            probability p (Zhang and Sabuncu 2018). 0 is cross-entropy, which weighs doubtful labels most; 1 weighs all
            alike, and learns slowly. They take 0.7.
        crop, crop_share: how whole images are cut for it, see `tasks.shared.images.crops.center_crop`.

    Raises ValueError for a resolution below the backbone's deepest stride, and for shares outside their range.
    """

    monitored_metrics = ("top1", "top5")
    data_type = "classification"
    needs = ("class_ids", "class_names")

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        resolution: int = 224,
        *,
        dropout: float = 0.001,
        label_smoothing: float = 0.0,
        noise_q: float = 0.0,
        crop: str = "short_side",
        crop_share: float = 0.875,
    ):
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"task.label_smoothing={label_smoothing}; expected 0 up to below 1")
        if not 0 <= noise_q <= 1:
            raise ValueError(f"task.noise_q={noise_q}; expected 0 to 1")
        if noise_q and label_smoothing:
            raise ValueError(f"task.noise_q={noise_q} takes no task.label_smoothing={label_smoothing}; expected one 0")
        super().__init__(backbone, num_classes, resolution, dropout=dropout, crop=crop, crop_share=crop_share, least=2)
        self.label_smoothing, self.noise_q = label_smoothing, noise_q

    def loss(self, outputs: Tensor, targets: Sequence[ClassTarget]) -> dict[str, Tensor]:
        """outputs: class logits (B, num_classes); targets: `label` (int) each."""
        labels = torch.tensor([target["label"] for target in targets], device=outputs.device)
        if self.noise_q:
            right = outputs.float().log_softmax(-1).gather(1, labels[:, None])  # a logarithm: its gradient stays finite
            return {"generalised_cross_entropy": (1 - (self.noise_q * right).exp()).mean() / self.noise_q}
        return {"cross_entropy": F.cross_entropy(outputs.float(), labels, label_smoothing=self.label_smoothing)}

    def predict(self, outputs: Tensor, sizes: Tensor) -> list[Prediction]:
        probabilities, labels = outputs.float().softmax(-1).topk(min(TOP, outputs.shape[-1]))
        return [Prediction(*pair) for pair in zip(labels.cpu(), probabilities.cpu(), strict=True)]

    def evaluator(self, data: ClassificationData, info: ClassInfo) -> TopKEvaluator:
        return TopKEvaluator(data.info["class_ids"], info["class_ids"], info["class_names"], data.image)

    def draw(
        self, image: Image.Image, result: Prediction, info: ClassInfo, target: ClassTarget | None = None
    ) -> Image.Image:
        names, labels = info["class_names"], result.labels.tolist()
        shown = [(names[k], p) for k, p in zip(labels, result.probabilities.tolist(), strict=True)]
        if target is None:
            return draw_prediction(image, shown)
        truth = info["class_ids"].index(target["class_id"])  # the data's labels may be in another order
        return draw_prediction(image, shown, names[truth], labels.index(truth) if truth in labels else None)

    @classmethod
    def published_info(cls, published: Published, classes: list[str] | None) -> ClassInfo | dict[str, Any]:
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

    def describe(self, result: Prediction, info: ClassInfo) -> list[dict[str, Any]]:
        """One dict a class, best first: its id, name and probability."""
        return [
            {"class_id": info["class_ids"][k], "name": info["class_names"][k], "probability": p}
            for k, p in zip(result.labels.tolist(), result.probabilities.tolist(), strict=True)
        ]
