"""A network that tells face attributes, by imitating another (Sec. 4.5), or from labels."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from backbone import Backbone
from tasks.face_attributes.draw import draw_attributes
from tasks.face_attributes.evaluate import AttributeEvaluator
from tasks.shared.contract import TeacherInfo
from tasks.shared.errors import UserError
from tasks.shared.faces.dataset import FaceData, FaceInfo, FaceTarget
from tasks.shared.network.pooled_task import PooledTask


class Attributes(NamedTuple):
    """What a network makes of a face: a logit for each attribute, (A,); above 0 it has it rather than not."""

    logits: Tensor

    @property
    def probabilities(self) -> Tensor:
        return self.logits.sigmoid()


class FaceAttributes(PooledTask):
    """Global average pooling, dropout and one linear layer with an output for each attribute.

    Args:
        backbone: a module with `feature_info`, `input_mean`, `input_std`, that returns a dict of maps.
        num_classes: attributes.
        resolution: side of the square input image in pixels.
        dropout: share of features that training drops.
        crop, crop_share: how whole images are cut for it, see `tasks.shared.images.crops.center_crop`.

    Raises ValueError for what `PooledHead` refuses, and for values outside their range.
    """

    monitored_metrics = ("agreement", "mean_ap", "accuracy")
    data_type = "faces"

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        resolution: int = 224,
        *,
        dropout: float = 0.0,
        crop: str = "short_side",
        crop_share: float = 0.875,
    ):
        if num_classes < 1:
            raise ValueError("there are no attributes: expected data with labels, such as data=celeba, or a teacher")
        super().__init__(backbone, num_classes, resolution, dropout=dropout, crop=crop, crop_share=crop_share)

    @classmethod
    def count_outputs(cls, data: Any, distilled: int | None) -> int:
        """The data's attributes, whatever else it knows; where it has none the teacher's."""
        return len(data.info.get("attributes", ())) or distilled or 0

    def loss(self, outputs: Tensor, targets: Sequence[FaceTarget]) -> dict[str, Tensor]:
        """Cross-entropy of each attribute, a mean over attributes and batch.

        outputs: logits (B, A). targets: `teacher` (A,) each, the teacher's logits; or where there is no teacher
        `attributes` (A,), 0 or 1.
        """
        distilled = "teacher" in targets[0]
        given = torch.stack([target["teacher" if distilled else "attributes"] for target in targets]).to(outputs.device)
        wanted = given.float().sigmoid() if distilled else given.float()
        return {"cross_entropy": F.binary_cross_entropy_with_logits(outputs.float(), wanted)}

    def check_teacher(self, teacher: TeacherInfo, info: FaceInfo) -> None:
        count = self.head.out_features
        if teacher.num_outputs != count:
            raise UserError(
                f"teacher {teacher.name}: tells {teacher.num_outputs} attributes, the student {count}; expected as many"
            )
        if difference := _first_other(info.get("attributes", []), teacher.class_names):
            raise UserError(f"teacher {teacher.name}: its {difference}; expected the same attributes in the same order")

    def info_of_teacher(self, teacher: TeacherInfo) -> FaceInfo:
        return {} if teacher.class_names is None else {"attributes": list(teacher.class_names)}

    def check_info(self, info: dict[str, Any], source: str) -> None:
        names, count = info.get("attributes"), self.head.out_features
        if names and len(names) != count:
            raise UserError(f"{source}: info.attributes has {len(names)} names; expected {count}, as its head")

    def predict(self, outputs: Tensor, sizes: Tensor) -> list[Attributes]:
        return [Attributes(row) for row in outputs.float().cpu()]

    def evaluator(self, data: FaceData, info: FaceInfo) -> AttributeEvaluator:
        theirs = data.info.get("attributes")
        names = info.get("attributes") or theirs or self._names(info)
        if theirs is not None and theirs != names:
            difference = _first_other(names, theirs)
            raise UserError(
                f"the data has other attributes than the network: {len(theirs)} of them, not {len(names)}"
                f"{difference and f', and {difference}'}; expected the same in the same order"
            )
        if len(names) != self.head.out_features:
            raise UserError(f"the data has {len(names)} attributes, but the network tells {self.head.out_features}")
        return AttributeEvaluator(names)

    def draw(
        self, image: Image.Image, result: Attributes, info: FaceInfo, target: FaceTarget | None = None
    ) -> Image.Image:
        truth = None
        if target is not None and "attributes" in target:
            truth = (target["attributes"] > 0.5).tolist()
        return draw_attributes(image, self._names(info), result.probabilities.tolist(), truth)

    def describe(self, result: Attributes, info: FaceInfo) -> dict[str, float]:
        """The probability of each attribute by its name."""
        return dict(zip(self._names(info), result.probabilities.tolist(), strict=True))

    def _names(self, info: FaceInfo) -> list[str]:
        """Of the attributes, their numbers where nobody has named them."""
        count = self.head.out_features
        names = info.get("attributes") or [f"attribute {k}" for k in range(count)]
        if len(names) != count:
            raise UserError(f"info.attributes of the checkpoint has {len(names)} names; expected {count}, as its head")
        return names


def _first_other(names: list[str], theirs: list[str] | None) -> str:
    """`attribute 3 is Bangs, not Bald`, the first of theirs that has another name; empty where there is none."""
    pairs = enumerate(zip(names, theirs or [], strict=False), start=1)
    return next((f"attribute {k} is {other}, not {name}" for k, (name, other) in pairs if name != other), "")
