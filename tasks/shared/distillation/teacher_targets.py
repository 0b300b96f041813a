"""What a teacher says to each image, in place of labels or beside them."""

import hashlib
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2

from tasks.shared.config.consent import CACHE, cache_path
from tasks.shared.config.nodes import Node
from tasks.shared.contract import Data, Targets
from tasks.shared.data.image_set import Images
from tasks.shared.distillation.cache import PredictionCache, checksum_of, open_cache
from tasks.shared.distillation.settings import TeacherConfig
from tasks.shared.distillation.teacher import Teacher
from tasks.shared.errors import UserError
from tasks.shared.images.crops import center_crop
from tasks.shared.network.build import construct

log = logging.getLogger(__name__)
NAMED = 1000  # images whose names tell a set from others


class TeacherTargets:
    """A teacher's answers to the images of a split. Loader processes take a copy without the teacher.

    The teacher sees the plain image, cut as for evaluation (`crop`, `crop_share`), whatever the student is shown:
    so an answer belongs to an image, and is the same in every epoch.

    cache: where answers are kept; None asks the teacher at every step.
    """

    def __init__(self, teacher: Teacher, crop: str, crop_share: float, cache: PredictionCache | None):
        self.teacher: Teacher | None = teacher
        self.size, self.width = teacher.size, teacher.num_outputs
        self.crop, self.crop_share, self.cache = crop, crop_share, cache

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"teacher": None}

    def __call__(self, index: int, image: Tensor) -> dict[str, Any]:
        """What a target gets. image: the original image, (3, H, W) uint8.

        `teacher`, the answer, (K,) float16, where it is known; else `view`, the image as the teacher takes it,
        (3, h, w) uint8, and with a cache `checksum`. Arrays, not tensors: each of those would cost loader processes an
        open file.
        """
        if self.cache is None:
            return {"view": self._view(image)}
        checksum = checksum_of(image.numpy())
        if (prediction := self.cache.read(index, checksum)) is not None:
            return {"teacher": prediction}
        return {"view": self._view(image), "checksum": checksum}

    def complete(self, targets: Targets, device: torch.device | str = "cpu") -> None:
        """Give each target `teacher`, (K,) float32 on `device`, in place of `view` and `checksum`.

        Answers are rounded to float16 with the cache and without, so that both give the same losses.
        Raises UserError for answers that no student can learn from.
        """
        if asked := [target for target in targets if "view" in target]:
            assert self.teacher is not None
            views = torch.from_numpy(np.stack([target.pop("view") for target in asked]))
            predictions = self.teacher(views.to(device))
            if predictions.shape != (len(asked), self.width):
                raise UserError(
                    f"teacher {self.teacher.name}: answers {len(asked)} images with {tuple(predictions.shape)} "
                    f"numbers; expected {(len(asked), self.width)}"
                )
            for target, prediction in zip(asked, predictions.half().cpu().numpy(), strict=True):
                if not np.isfinite(prediction).all():
                    raise UserError(
                        f"teacher {self.teacher.name}: its answer to {target['file']} is not finite in float16; "
                        "expected numbers below 65,504"
                    )
                target["teacher"] = prediction
                if self.cache is not None:
                    self.cache.write(target["index"], target.pop("checksum"), prediction)
        if targets:
            rows = torch.from_numpy(np.stack([target["teacher"] for target in targets])).float().to(device)
            for target, row in zip(targets, rows, strict=True):
                target["teacher"] = row

    def _view(self, image: Tensor) -> np.ndarray:
        return np.ascontiguousarray(view_of(image, self.size, self.crop, self.crop_share).numpy())


def view_of(image: Tensor, size: tuple[int, int], crop: str, share: float) -> Tensor:
    """The middle of (3, H, W) uint8 as (3, h, w); size: h and w. A square is what `center_crop` makes.

    Of another shape, "short_side" takes the largest part of that shape, `share` of it, and "inception" squashes.
    """
    h, w = size
    if h == w:
        return center_crop(image, h, crop, share)
    height, width = image.shape[-2:]
    scale = min(height / h, width / w)
    cut_h, cut_w = (height, width) if crop == "inception" else (scale * h, scale * w)
    cut_h, cut_w = max(round(share * cut_h), 1), max(round(share * cut_w), 1)
    top, left = (height - cut_h) // 2, (width - cut_w) // 2
    return v2.functional.resized_crop(image, top, left, cut_h, cut_w, [h, w], antialias=True)


def teacher_of(config: TeacherConfig) -> Teacher | None:
    """The teacher that a run's config names, if any. Raises UserError naming the file or key."""
    return None if config.node.target is None else construct(config.node)


def teacher_if_there(config: TeacherConfig) -> Teacher | None:
    """`teacher_of`; None, with a warning, where its file or run is gone: a network's own figures need no teacher.

    None too where no path is given, as for weights that were converted.
    """
    path = config.node.path
    if path is None and config.node.name == "run":
        return None
    if path is not None and not Path(str(path)).exists():
        log.warning("warning: teacher.path=%s: no such file or run; figures that need the teacher are left out", path)
        return None
    return teacher_of(config)


class Teachable(Data, Protocol):
    """Data whose loaders can hand out lessons."""

    teacher_targets: dict[str, TeacherTargets]
    """By split, {} at first: what the loader of a split adds to its targets."""
    center: dict[str, Any]
    """`crop` and `crop_share`: how images are cut for evaluation."""

    def images_of(self, split: str) -> Images:
        """Those that the loader of "train" or "val" reads."""


def teachable(data: Data, teacher: Node, data_name: str | None) -> Teachable:
    """The same data. Raises UserError, with the names of both choices, where its loaders know no lessons."""
    if not hasattr(data, "teacher_targets"):
        raise UserError(
            f"teacher={teacher.name}: data={data_name} cannot be taught; expected images such as "
            "data=celeba or data=face_folder, or teacher=none"
        )
    return cast(Teachable, data)


def teach(
    data: Data,
    teacher: Teacher,
    config: TeacherConfig,
    data_name: str | None,
    splits: Iterable[str] = ("train", "val"),
) -> dict[str, TeacherTargets]:
    """Let the loaders of `data` hand out the teacher's answers; returns the lessons by split.

    config: of the teacher. data_name: the choice of data, for messages. With a lesson for "train", the targets of
    training hold `file`, `size` and `index` besides, and no label.
    Raises UserError for data that cannot be taught, and for a cache that cannot be kept.
    """
    pupils = teachable(data, config.node, data_name)
    shown = (pupils.center["crop"], pupils.center["crop_share"])
    if teacher.crop is not None and teacher.crop != shown:
        log.warning(
            "warning: the teacher was trained for images cut by crop %s, crop_share %g; here it is shown %s, %g, as "
            "data.crop and data.crop_share say", *teacher.crop, *shown,
        )  # fmt: skip
    for split in splits:
        cache, images = None, pupils.images_of(split)
        if config.own.cache:
            path = cache_path("teacher.cache_folder", Path(config.own.cache_folder or CACHE), "teacher_*")
            about = _about(teacher, images, pupils.center)
            cache = open_cache(path, teacher.name, about, len(images.labels), teacher.num_outputs)
        pupils.teacher_targets[split] = TeacherTargets(teacher, **pupils.center, cache=cache)
    return pupils.teacher_targets


def _about(teacher: Teacher, images: Images, cut: dict[str, Any]) -> dict[str, Any]:
    """All that a teacher's answers to these images depend on, but for the pixels, which have checksums."""
    count = len(images.labels)
    rows = np.linspace(0, count - 1, min(count, NAMED)).round().astype(int).tolist()
    names = hashlib.sha256("\n".join(images.name(row) for row in rows).encode()).hexdigest()
    asked = {"fingerprint": teacher.fingerprint, "size": list(teacher.size), "outputs": teacher.num_outputs}
    return asked | cut | {"pictures": count, "names": names}
