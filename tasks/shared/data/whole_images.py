"""Whole images, cut to squares, of whatever is known of them; those that a teacher can be asked about."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from tasks.shared.contract import Target
from tasks.shared.data.decoded_cache import DecodedImageCache, bytes_to_keep
from tasks.shared.data.image_data import ImageData
from tasks.shared.data.image_set import POLICIES, CroppedDataset, Images
from tasks.shared.data.loading import loader_processes
from tasks.shared.errors import UserError
from tasks.shared.images.crops import TrainCrop, check_crop


class WholeImageData(ImageData):
    """Images cut to squares: at random to train, from the centre to evaluate.

    Args:
        images: by split.
        augment: area, aspect and flip of `TrainCrop`, and `policy` of `CroppedDataset`; None takes training images
            as evaluation does.
        crop, crop_share: how images are cut for evaluation, see `center_crop`.
        keep_gb: memory for decoded training images, see `DecodedImageCache`. Only without loader processes, as each
            would keep its own.
        options: of `ImageData`.
    """

    def __init__(
        self,
        images: dict[str, Images],
        *,
        augment: dict[str, Any] | bool | None = None,
        crop: str = "short_side",
        crop_share: float = 0.875,
        keep_gb: float = 1.0,
        **options: Any,
    ):
        check_crop(crop, crop_share)
        super().__init__(**options)
        self.images, self.kept_bytes = images, bytes_to_keep(keep_gb)
        self.center: dict[str, Any] = {"crop": crop, "crop_share": crop_share}
        self.teacher_targets: dict[str, Any] = {}  # by split, where a teacher gives them
        if augment is False:  # as data=coco has it
            augment = None
        if not isinstance(augment, dict | None):
            raise UserError(f"data.augment={augment!r}; expected null, or area, aspect, flip and policy")
        settings = dict(augment or {})
        self.policy = settings.pop("policy", None)
        self.train_crop = None if augment is None else TrainCrop(**settings).checked()
        if self.policy not in (None, *POLICIES):
            known = ", ".join(POLICIES)
            raise UserError(f"data.augment.policy={self.policy!r}; expected null or one of {known}")

    def image(self, target: Target) -> Tensor:
        return self.images_of("val").read(target["index"])

    def images_of(self, split: str) -> Images:
        """Those that the loader of "train" or "val" reads."""
        return self.images[self.evaluate_on if split == "val" else split]

    def training(self, seed: int, class_ids: Sequence[str] | None = None) -> CroppedDataset:
        """Augmented. class_ids: as in `CroppedDataset`."""
        images = self.images_of("train")
        if self.kept_bytes and not loader_processes(self.workers):
            images = DecodedImageCache(images, self.resolution, self.kept_bytes)
        return self._cut("train", images, class_ids, train=self.train_crop, policy=self.policy, seed=seed)

    def validation(self, class_ids: Sequence[str] | None = None) -> CroppedDataset:
        return self._cut("val", self.images_of("val"), class_ids)

    def _cut(self, split: str, images: Images, class_ids: Sequence[str] | None, **how: Any) -> CroppedDataset:
        options = self.center | {"teacher_targets": self.teacher_targets.get(split)} | how
        return CroppedDataset(images, class_ids, self.resolution, self.on_corrupt, **options)
