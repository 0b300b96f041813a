"""Pictures of one class each: ImageNet, anybody's class folders, torchvision's sets, the drawn sample."""

import inspect
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import datasets
from torchvision.transforms import v2

from tasks.classification.names import names_of
from tasks.classification.sample import draw_classification_sample
from tasks.shared.crops import TrainCrop, check_crop
from tasks.shared.errors import UserError
from tasks.shared.images import OnCorrupt
from tasks.shared.loading import make_loader
from tasks.shared.names import read_classes
from tasks.shared.picture_set import POLICIES, PictureDataset, Pictures, class_folders, read_class_folders

log = logging.getLogger(__name__)


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
    ):
        if evaluate_on not in ("train", "val"):
            raise UserError(f"data.evaluate_on={evaluate_on!r}; expected 'train' or 'val'")
        if batch_size < 1 or val_batch_size < 1:
            raise UserError(f"data.batch_size={batch_size}, data.val_batch_size={val_batch_size}; expected at least 1")
        check_crop(crop, crop_share)
        self.pictures, self.resolution, self.evaluate_on = pictures, resolution, evaluate_on
        self.batch_size, self.val_batch_size, self.workers = batch_size, val_batch_size, workers
        self.on_corrupt = OnCorrupt(on_corrupt)
        self.center: dict[str, Any] = {"crop": crop, "crop_share": crop_share}
        if augment is False:  # as data=coco has it
            augment = None
        if not isinstance(augment, dict | None):
            raise UserError(f"data.augment={augment!r}; expected null, or area, aspect, flip and policy")
        settings = dict(augment or {})
        self.policy = settings.pop("policy", None)
        self.train_crop = None if augment is None else TrainCrop(**settings).checked()
        names = class_names or class_ids
        self.info: dict[str, Any] = {"class_ids": list(class_ids), "class_names": list(names)}
        if self.policy not in (None, *POLICIES):
            known = ", ".join(POLICIES)
            raise UserError(f"data.augment.policy={self.policy!r}; expected null or one of {known}")

    @property
    def num_classes(self) -> int:
        return len(self.info["class_ids"])

    def train_loader(self, seed: int) -> DataLoader:
        dataset = self._dataset("train", train=self.train_crop, policy=self.policy, seed=seed)
        return make_loader(dataset, self.batch_size, train=True, seed=seed, workers=self.workers)

    def val_loader(self, shard: bool = False) -> DataLoader:
        return make_loader(self._dataset("val"), self.val_batch_size, train=False, shard=shard, workers=self.workers)

    def picture(self, target: dict[str, Any]) -> Tensor:
        return self._of("val").read(target["index"])

    def _dataset(self, split: str, **options: Any) -> PictureDataset:
        names = self.info["class_names"]
        return PictureDataset(self._of(split), names, self.resolution, self.on_corrupt, **options, **self.center)

    def _of(self, split: str) -> Pictures:
        return self.pictures[self.evaluate_on if split == "val" else split]


def image_folder(root: str, *, splits: Sequence[str] = ("train", "val"), **options: Any) -> ClassificationData:
    """Anybody's pictures: a folder for each class under `root`/train and `root`/val, named as the class."""
    return _from_folders(Path(root), None, splits, options)


def imagenet(
    root: str, *, classes: str | None = None, splits: Sequence[str] = ("train", "val"), **options: Any
) -> ClassificationData:
    """ImageNet: a folder for each class under `root`/train and `root`/val, named by its WordNet id.

    classes: a file of the ids in the order of the network's outputs, one a line; without it they are the sorted
    folders. With it a folder that holds only some of the classes scores right.
    """
    ids = None if classes is None else read_classes(Path(classes), "data.classes")
    return _from_folders(Path(root), ids, splits, options)


def classification_sample(
    root: str,
    *,
    train: int = 240,
    val: int = 40,
    draw_seed: int = 0,
    splits: Sequence[str] = ("train", "val"),
    **options: Any,
) -> ClassificationData:
    """The drawn sample data set, written to `root` in ImageNet's layout on first use; train, val: pictures a class."""
    draw_classification_sample(Path(root), train, val, draw_seed)
    log.info("data: drawn sample pictures in %s (%d + %d a class); yours: data=image_folder", root, train, val)
    return _from_folders(Path(root), None, splits, options)


def _from_folders(
    root: Path, classes: list[str] | None, splits: Sequence[str], options: dict[str, Any]
) -> ClassificationData:
    if not root.is_dir():
        raise UserError(f"data.root={root}: no such folder; expected one with class folders under train/ and val/")
    opened = [options.get("evaluate_on", "val") if split == "val" else split for split in splits]
    if absent := [split for split in dict.fromkeys(opened) if not (root / split).is_dir()]:
        found = ", ".join(sorted(entry.name for entry in root.iterdir())[:5]) or "nothing"
        raise UserError(
            f"data.root={root}: holds no {' and no '.join(f'{split}/' for split in absent)}, but {found}; expected "
            "class folders under train/ and val/"
        )
    if classes is None:
        classes = class_folders(root / opened[0])
    pictures: dict[str, Pictures] = {
        split: read_class_folders(root / split, classes) for split in dict.fromkeys(opened)
    }
    if "train" in pictures and (bare := len(classes) - len(np.unique(pictures["train"].labels))):
        log.warning("%d of the %d classes have no training pictures", bare, len(classes))
    return ClassificationData(pictures, classes, names_of(classes), **options)


class TorchvisionPictures:
    """One of torchvision's data sets; pictures are converted to RGB."""

    def __init__(self, dataset: Any, labels: np.ndarray, title: str):
        self.dataset, self.labels, self.title = dataset, labels, title

    def name(self, index: int) -> str:
        return f"{self.title}/{index:06d}"

    def read(self, index: int) -> Tensor:
        try:
            image, _ = self.dataset[index]
            return v2.functional.pil_to_tensor(image.convert("RGB"))
        except (OSError, ValueError) as error:
            raise UserError(f"{self.name(index)}: cannot be read ({error})") from error


def torchvision_set(
    root: str,
    *,
    name: str,
    train_split: Any = None,
    val_split: Any = None,
    download: bool = True,
    splits: Sequence[str] = ("train", "val"),
    **options: Any,
) -> ClassificationData:
    """A classification data set of `torchvision.datasets`, by its class's name (`"CIFAR10"`).

    train_split, val_split: what its argument `train` or `split` is given; None chooses "train" and "test", or what
    stands for them. download: fetch it where it is not in `root` yet.
    """
    cls = getattr(datasets, name, None)
    arguments = inspect.signature(cls).parameters if inspect.isclass(cls) else {}
    key = next((k for k in ("train", "split") if k in arguments), None)
    if cls is None or key is None:
        raise UserError(
            f"data.name={name!r}: expected a set of torchvision.datasets with a training and a test split, such as "
            "CIFAR10, CIFAR100, MNIST, Flowers102, Food101 or OxfordIIITPet"
        )
    defaults = {"train": (True, False), "split": ("train", "test")}[key]
    wanted = {
        "train": defaults[0] if train_split is None else train_split,
        "val": defaults[1] if val_split is None else val_split,
    }
    opened = [options.get("evaluate_on", "val") if split == "val" else split for split in splits]
    made: dict[str, Any] = {}
    for split in dict.fromkeys(opened):
        fetch = {"download": download} if "download" in arguments else {}
        try:
            made[split] = cls(root, **{key: wanted[split]}, **fetch)
        except (RuntimeError, ValueError, OSError, URLError) as error:
            raise UserError(f"data.name={name}, data.root={root}: {str(error).splitlines()[0]}") from error
    labels = {split: _labels_of(each, name) for split, each in made.items()}
    first = made[opened[0]]
    names = getattr(first, "classes", None) or [str(i) for i in range(1 + max(int(y.max()) for y in labels.values()))]
    pictures: dict[str, Pictures] = {
        split: TorchvisionPictures(each, labels[split], f"{name}/{split}") for split, each in made.items()
    }
    return ClassificationData(pictures, [str(name) for name in names], **options)


def _labels_of(dataset: Any, name: str) -> np.ndarray:
    """All labels, without reading pictures where the set holds them in a list."""
    for attribute in ("targets", "labels", "_labels"):
        if (labels := getattr(dataset, attribute, None)) is not None:
            return torch.as_tensor(labels).numpy().astype(np.int64)
    raise UserError(f"data.name={name}: this set of torchvision's has no class a picture")
