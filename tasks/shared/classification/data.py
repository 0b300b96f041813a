"""Images of one class each, cut to squares."""

from collections.abc import Sequence
from typing import Any, TypedDict

from torch.utils.data import Dataset

from tasks.shared.data.image_set import Images
from tasks.shared.data.whole_images import WholeImageData


class ClassInfo(TypedDict):
    """What a classifier's outputs mean, in their order. Ids tell the classes of data and network apart."""

    class_ids: list[str]
    class_names: list[str]


class ClassificationData(WholeImageData):
    """Training and validation images of one class each, see `tasks.shared.contract.Data`.

    Args:
        images: by split.
        class_ids, class_names: of the labels, in their order; names are the ids where not given.
        options: of `WholeImageData`.
    """

    data_type = "classification"
    info: ClassInfo

    def __init__(
        self,
        images: dict[str, Images],
        class_ids: Sequence[str],
        class_names: Sequence[str] | None = None,
        **options: Any,
    ):
        super().__init__(images, **options)
        self.class_ids = list(class_ids)
        self.info = {"class_ids": self.class_ids, "class_names": list(class_names or class_ids)}

    @property
    def num_classes(self) -> int:
        return len(self.class_ids)

    def train_dataset(self, seed: int) -> Dataset:
        return self.training(
            seed, None if "train" in self.teacher_targets else self.class_ids
        )  # a teacher takes their place

    def val_dataset(self) -> Dataset:
        return self.validation(self.class_ids)
