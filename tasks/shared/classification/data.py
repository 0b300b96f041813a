"""Pictures of one class each, cut to squares."""

from collections.abc import Sequence
from typing import Any

from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from tasks.shared.data.decoded_cache import KeptPictures, bytes_to_keep
from tasks.shared.data.image_set import POLICIES, PictureDataset, Pictures
from tasks.shared.data.loading import loader_processes, make_loader
from tasks.shared.distillation.lessons import Lesson
from tasks.shared.errors import UserError
from tasks.shared.images.crops import TrainCrop, check_crop
from tasks.shared.images.decode import OnCorrupt


class ClassificationData:
    """Training and validation pictures of one class each, see `tasks.shared.contract.Data`.

    Args:
        pictures: by split.
        class_ids, class_names: of the labels, in their order. Ids tell the classes of data and network apart.
        resolution: side in pixels that the network is given.
        batch_size, val_batch_size: pictures a step.
        augment: area, aspect and flip of `TrainCrop`, and `policy` of `PictureDataset`; None takes training pictures
            as evaluation does.
        crop, crop_share: how pictures are cut for evaluation, see `center_crop`.
        evaluate_on: "val", or "train" to see whether a network can learn its training pictures by heart.
        on_corrupt: "error", or "skip" to leave out and report pictures that are unreadable.
        workers: loader processes; None chooses from the machine.
        keep_gb: memory for decoded training pictures, see `KeptPictures`; without loader processes alone, as each would
            keep its own.
        reports, seen_in: see `tasks.shared.contract.Data`.
    """

    kind = "classification"

    def __init__(
        self,
        pictures: dict[str, Pictures],
        class_ids: Sequence[str],
        class_names: Sequence[str] | None = None,
        *,
        resolution: int,
        batch_size: int = 64,
        val_batch_size: int = 100,
        augment: dict[str, Any] | bool | None = None,
        crop: str = "short_side",
        crop_share: float = 0.875,
        evaluate_on: str = "val",
        on_corrupt: str = "error",
        workers: int | None = None,
        keep_gb: float = 1.0,
        reports: dict[str, str | Image.Image] | None = None,
        seen_in: dict[str, str] | None = None,
    ):
        if evaluate_on not in ("train", "val"):
            raise UserError(f"data.evaluate_on={evaluate_on!r}; expected 'train' or 'val'")
        if batch_size < 1 or val_batch_size < 1:
            raise UserError(f"data.batch_size={batch_size}, data.val_batch_size={val_batch_size}; expected at least 1")
        check_crop(crop, crop_share)
        loader_processes(workers)  # so that a wrong number is told before anything is read
        self.pictures, self.resolution, self.evaluate_on = pictures, resolution, evaluate_on
        self.batch_size, self.val_batch_size = batch_size, val_batch_size
        self.workers, self.kept_bytes = workers, bytes_to_keep(keep_gb)
        self.on_corrupt = OnCorrupt(on_corrupt)
        self.reports, self.seen_in = reports or {}, seen_in or {}
        self.center: dict[str, Any] = {"crop": crop, "crop_share": crop_share}
        self.lessons: dict[str, Lesson] = {}  # by split, where a teacher gives them
        if augment is False:  # as data=coco has it
            augment = None
        if not isinstance(augment, dict | None):
            raise UserError(f"data.augment={augment!r}; expected null, or area, aspect, flip and policy")
        settings = dict(augment or {})
        self.policy = settings.pop("policy", None)
        self.train_crop = None if augment is None else TrainCrop(**settings).checked()
        self.class_ids, names = list(class_ids), class_names or class_ids
        self.info: dict[str, Any] = {"class_ids": self.class_ids, "class_names": list(names)}
        if self.policy not in (None, *POLICIES):
            known = ", ".join(POLICIES)
            raise UserError(f"data.augment.policy={self.policy!r}; expected null or one of {known}")

    @property
    def num_classes(self) -> int:
        return len(self.class_ids)

    def train_loader(self, seed: int) -> DataLoader:
        labels = "train" not in self.lessons  # from a teacher a network learns without
        dataset = self._dataset("train", train=self.train_crop, policy=self.policy, seed=seed, labels=labels)
        return make_loader(
            dataset, self.batch_size, train=True, seed=seed, workers=self.workers, resolution=self.resolution
        )

    def val_loader(self, shard: bool = False) -> DataLoader:
        return make_loader(
            self._dataset("val"),
            self.val_batch_size,
            train=False,
            shard=shard,
            workers=self.workers,
            resolution=self.resolution,
        )

    def picture(self, target: dict[str, Any]) -> Tensor:
        return self.pictures_of("val").read(target["index"])

    def _dataset(self, split: str, **options: Any) -> PictureDataset:
        options |= self.center | {"lesson": self.lessons.get(split)}
        pictures = self.pictures_of(split)
        if split == "train" and self.kept_bytes and not loader_processes(self.workers):
            pictures = KeptPictures(pictures, self.resolution, self.kept_bytes)
        return PictureDataset(pictures, self.class_ids, self.resolution, self.on_corrupt, **options)

    def pictures_of(self, split: str) -> Pictures:
        """Those that the loader of "train" or "val" reads."""
        return self.pictures[self.evaluate_on if split == "val" else split]
