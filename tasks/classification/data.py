"""Class folders: ImageNet, anybody's, the drawn sample."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks.classification.sample import draw_classification_sample
from tasks.shared.classification.data import ClassificationData
from tasks.shared.classification.names import names_of
from tasks.shared.data.image_data import SPLITS, splits_to_read
from tasks.shared.data.image_set import Images, class_folders, read_class_folders
from tasks.shared.errors import UserError
from tasks.shared.files.names import read_classes

log = logging.getLogger(__name__)


def image_folder(root: str, *, splits: Sequence[str] = SPLITS, **options: Any) -> ClassificationData:
    """Anybody's images: a folder for each class under `root`/train and `root`/val, named as the class."""
    return _from_folders(Path(root), None, splits, options)


def imagenet(
    root: str, *, classes: str | None = None, splits: Sequence[str] = SPLITS, **options: Any
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
    splits: Sequence[str] = SPLITS,
    **options: Any,
) -> ClassificationData:
    """The drawn sample data set, written to `root` in ImageNet's layout on first use; train, val: images a class."""
    draw_classification_sample(Path(root), train, val, draw_seed)
    log.info("data: drawn sample images in %s (%d + %d a class); yours: data=image_folder", root, train, val)
    return _from_folders(Path(root), None, splits, options)


def _from_folders(
    root: Path, classes: list[str] | None, splits: Sequence[str], options: dict[str, Any]
) -> ClassificationData:
    if not root.is_dir():
        raise UserError(f"data.root={root}: no such folder; expected one with class folders under train/ and val/")
    opened = splits_to_read(splits, options)
    if absent := [split for split in opened if not (root / split).is_dir()]:
        found = ", ".join(sorted(entry.name for entry in root.iterdir())[:5]) or "nothing"
        raise UserError(
            f"data.root={root}: holds no {' and no '.join(f'{split}/' for split in absent)}, but {found}; expected "
            "class folders under train/ and val/"
        )
    if classes is None:
        classes = class_folders(root / opened[0])
    images: dict[str, Images] = {split: read_class_folders(root / split, classes) for split in opened}
    if "train" in images and (bare := len(classes) - len(np.unique(images["train"].labels))):
        log.warning("%d of the %d classes have no training images", bare, len(classes))
    return ClassificationData(images, classes, names_of(classes), **options)
