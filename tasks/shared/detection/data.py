"""Detection data sets in COCO's format: Microsoft's own, anybody's, and the drawn sample, all by one reader."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from tasks.shared.config.consent import asks_for
from tasks.shared.data.image_data import SPLITS, ImageData
from tasks.shared.detection.annotations import (
    SHOWN,
    CocoAnnotations,
    check_same_categories,
    concatenate,
    read_annotations,
)
from tasks.shared.detection.dataset import CocoDataset, DetectionInfo, DetectionTarget
from tasks.shared.detection.sample import draw_detection_sample
from tasks.shared.errors import UserError, check_count
from tasks.shared.files.inside import check_inside
from tasks.shared.files.reading import read_names, whole_number
from tasks.shared.images.decode import check_resize, read_image

log = logging.getLogger(__name__)


class CocoData(ImageData):
    """Training and validation images in COCO's format, see `tasks.shared.contract.Data`.

    Args:
        train, val: {"images": folder, "annotations": file}. Only `splits` are opened; the other may be None.
        tables: annotations of a split that were read already.
        resize: how images become squares, "square" (squashed) or "keep_aspect", as the task's `prepare` does it.
        augment: flip and SSD crop in training; crop_share: of the images that are cropped.
        allow_outside: images may lie outside of their folder; a checkpoint alone cannot say so.
        options: of `ImageData`. `on_corrupt` "skip" leaves out images that are missing, too.

    Raises UserError, naming files and ids, for everything that would break later: it reads all annotations and
    looks for every image before the first step.
    """

    data_type = "detection"
    info: DetectionInfo

    def __init__(
        self,
        train: dict[str, str] | None,
        val: dict[str, str] | None,
        *,
        resize: str = "square",
        augment: bool = True,
        crop_share: float = 1.0,
        allow_outside: bool = False,
        splits: Sequence[str] = SPLITS,
        tables: dict[str, CocoAnnotations] | None = None,
        **options: Any,
    ):
        super().__init__(**options)
        check_resize(resize, "data.resize (task.resize, unless given)")
        if not 0 <= crop_share <= 1:
            raise UserError(f"data.crop_share={crop_share}; expected 0 to 1")
        paths = {"train": train or {}, "val": (train if self.evaluate_on == "train" else val) or {}}
        if unset := [split for split in splits if not paths[split]]:
            raise UserError(f"data.{unset[0]} is not set; give data.{unset[0]}.images and data.{unset[0]}.annotations")
        self.resize, self.augment, self.crop_share = resize, augment, crop_share
        self.images = {split: Path(paths[split]["images"]) for split in splits}
        self.tables: dict[str, CocoAnnotations] = {}
        for split, folder in self.images.items():
            table = (tables or {}).get(split) or read_annotations(Path(paths[split]["annotations"]))
            if not (allow_outside and asks_for("data.allow_outside")):
                names = (table.file_name(index) for index in range(len(table)))
                check_inside(names, str(table.path), "data.allow_outside=true lets images lie anywhere")
            self.tables[split] = _with_images(table, folder, self.on_corrupt.skip)
        self.val_annotations = Path(paths["val"]["annotations"])
        first, *others = self.tables.values()
        for other in others:
            check_same_categories(first, other)
        self.info = {"class_names": first.class_names, "category_ids": first.category_ids}
        for remark in dict.fromkeys(remark for table in self.tables.values() for remark in table.remarks):
            log.info(remark)

    @property
    def num_classes(self) -> int:
        return len(self.info["class_names"])

    def train_dataset(self, seed: int) -> CocoDataset:
        return self._dataset("train", augment=self.augment, crop_share=self.crop_share, seed=seed)

    def val_dataset(self) -> CocoDataset:
        return self._dataset("val")

    def image(self, target: DetectionTarget) -> Tensor:
        return read_image(Path(target["file"]))

    def _dataset(self, split: str, **how: Any) -> CocoDataset:
        table = self.tables[split]
        return CocoDataset(self.images[split], table, self.resolution, self.on_corrupt, resize=self.resize, **how)


def coco(
    root: str, *, split: str = "2017", minival: str | None = None, minival_count: int = 8000, **options: Any
) -> CocoData:
    """Microsoft COCO as it is distributed, under one root.

    split: "2017" (train2017, val2017) or "paper": the 2014 train and val images less the ids in the file
    `minival` (one id a line), which are evaluated on (Sec. 4.6). That list is neither the usual 5k minival nor
    val2017: val2017 images are among the ones it leaves for training.
    minival_count: how many ids are expected, within a tenth.
    """
    base = Path(root)
    if not base.is_dir():
        raise UserError(f"data.root={root}: no such folder; expected COCO's, with annotations/ and the images' folders")
    if split == "2017":
        return CocoData(_official(base, "train2017"), _official(base, "val2017"), **options)
    if split == "paper":
        return _paper_split(base, minival, minival_count, options)
    raise UserError(f"data.split={split!r}; expected '2017' or 'paper'")


def _official(base: Path, name: str) -> dict[str, str]:
    return {"images": str(base / name), "annotations": str(base / "annotations" / f"instances_{name}.json")}


def _paper_split(base: Path, minival: str | None, count: int, options: dict[str, Any]) -> CocoData:
    if minival is None:
        raise UserError("data.split=paper needs data.minival=FILE, the ids of the val2014 images that are held out")
    if options.get("evaluate_on", "val") != "val":
        raise UserError("data.split=paper is evaluated on its minival; expected data.evaluate_on=val")
    held_out = _read_ids(Path(minival))
    if abs(len(held_out) - count) > count / 10:
        raise UserError(f"data.minival={minival}: {len(held_out)} ids; expected about {count} (data.minival_count)")
    paths = {name: _official(base, f"{name}2014") for name in ("train", "val")}
    val = read_annotations(Path(paths["val"]["annotations"])).below("val2014")
    absent = sorted(held_out - set(val.image_ids.tolist()))
    if absent:
        listed = ", ".join(map(str, absent[:SHOWN]))
        raise UserError(f"data.minival={minival}: {len(absent)} of its ids are no val2014 images: {listed}")
    evaluated = np.isin(val.image_ids, list(held_out))
    tables = {"val": val.select(evaluated)}
    if "train" in options.get("splits", ("train",)):
        train = read_annotations(Path(paths["train"]["annotations"])).below("train2014")
        tables["train"] = concatenate(train, val.select(~evaluated))
    for path in paths.values():
        path["images"] = str(base)
    return CocoData(paths["train"], paths["val"], tables=tables, **options)


def _read_ids(path: Path) -> set[int]:
    """Image ids, one a line."""
    if not path.is_file():
        raise UserError(f"data.minival={path}: no such file")
    ids = set()
    for number, line in enumerate(read_names(path), 1):
        if line:
            if (found := whole_number(line)) is None:
                raise UserError(f"{path}: line {number}: {line[:40]!r} is no image id")
            ids.add(found)
    return ids


def detection_sample(root: str, *, train: int = 400, val: int = 100, draw_seed: int = 0, **options: Any) -> CocoData:
    """The drawn sample data set, written to `root` in COCO's format on first use and read like any other."""
    for key, count, least in (("train", train, 1), ("val", val, 1), ("draw_seed", draw_seed, 0)):
        check_count(f"data.{key}", count, least)
    folder = Path(root)
    draw_detection_sample(folder, train, val, draw_seed)
    log.info("data: drawn sample images in %s (%d + %d); yours: data=coco or data=coco_json", folder, train, val)
    paths = {
        name: {"images": str(folder / name), "annotations": str(folder / "annotations" / f"instances_{name}.json")}
        for name in ("train", "val")
    }
    return CocoData(paths["train"], paths["val"], **options)


def _with_images(table: CocoAnnotations, folder: Path, skip: bool) -> CocoAnnotations:
    """The images of `table` that exist; a missing one is an error unless `skip`."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected the images of {table.path}")
    names = [table.file_name(index) for index in range(len(table))]
    files = [folder / name for name in names]
    parents = {file.parent for file in files}  # listed once each: asking for every single file takes far longer
    there = {parent: {f.name for f in os.scandir(parent)} if parent.is_dir() else set() for parent in parents}
    exists = np.array([file.name in there[file.parent] for file in files], dtype=bool)
    if exists.all():
        return table
    missing = [name for name, found in zip(names, exists, strict=True) if not found]
    listed = ", ".join(missing[:SHOWN])
    text = f"{len(missing)} of {len(names)} images listed in {table.path} are missing from {folder}: {listed}"
    if not skip or not exists.any():
        raise UserError(f"{text}; data.on_corrupt=skip goes on without them")
    log.warning("left out: %s", text)
    return table.select(exists)
