"""Faces as batches: what targets hold with a teacher's lesson and without, and that loader processes change nothing."""

import resource
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tasks.shared.data.image_set import Images
from tasks.shared.errors import UserError
from tasks.shared.faces.dataset import FaceData, Faces
from tests.tasks.shared.faces.conftest import OPTIONS


class Noise(Images):
    """Images of noise, of people in turn."""

    def __init__(self, count: int, people: int = 0):
        self.labels = np.arange(count) % people if people else np.full(count, -1)

    def name(self, index: int) -> str:
        return f"noise {index}"

    def read(self, index: int) -> Tensor:
        return torch.from_numpy(np.random.default_rng(index).integers(0, 256, (3, 24, 20), np.uint8))


class TeacherTargets:
    """Knows every answer, and keeps the images that it was shown."""

    def __init__(self) -> None:
        self.shown: dict[int, Tensor] = {}

    def __call__(self, index: int, image: Tensor) -> dict[str, Any]:
        self.shown[index] = image
        return {"teacher": np.full(2, index, np.float16)}


def make(count: int = 12, people: int = 3, **options: Any) -> FaceData:
    attributes = (np.arange(2 * count).reshape(count, 2) % 3 == 0).astype(np.uint8)
    faces = Faces(Noise(count, people), attributes)
    return FaceData({"train": faces, "val": faces}, ["A", "B"], **{**OPTIONS, **options})


def test_with_a_lesson_training_targets_hold_no_label() -> None:
    data, teacher_targets = make(), TeacherTargets()
    assert data.teacher_targets == {} and data.center == {"crop": "short_side", "crop_share": 0.875}
    plain = [target for batch in data.train_loader(0) for target in batch.targets]
    assert all(target.keys() == {"index", "file", "size", "attributes", "identity"} for target in plain)
    data.teacher_targets["train"] = teacher_targets  # type: ignore[assignment]
    taught = [target for batch in data.train_loader(0) for target in batch.targets]
    assert len(taught) == 12 and all(target.keys() == {"index", "file", "size", "teacher"} for target in taught)
    assert all(target["teacher"].tolist() == [target["index"]] * 2 for target in taught)
    images = data.images_of("train")
    assert all(torch.equal(image, images.read(index)) for index, image in teacher_targets.shown.items())
    assert "teacher" not in next(iter(data.val_loader())).targets[0]
    data.teacher_targets["val"] = teacher_targets  # type: ignore[assignment]
    target = next(iter(data.val_loader())).targets[0]
    assert target.keys() == {"index", "file", "size", "attributes", "identity", "teacher"}


def test_evaluating_on_training_images() -> None:
    faces = {"train": Faces(Noise(5, 2)), "val": Faces(Noise(4))}
    pairs = np.array([[0, 1, 0]])
    data = FaceData(faces, pairs=pairs, folds=np.array([0]), **OPTIONS)
    assert data.pairs is pairs and data.identities("val") is None and data.num_classes == 0
    data = FaceData(faces, pairs=pairs, folds=np.array([0]), evaluate_on="train", **OPTIONS)
    assert data.pairs is None and data.folds is None, "they are of other images"
    people = data.identities("val")
    assert people is not None and people.tolist() == [0, 1, 0, 1, 0]
    assert [t["identity"] for batch in data.val_loader() for t in batch.targets] == [0, 1, 0, 1, 0]


def test_an_epoch_is_the_same_with_loader_processes() -> None:
    """Though images have few file descriptors: each tensor that is sent by itself would take one."""
    count, (soft, hard) = 300, resource.getrlimit(resource.RLIMIT_NOFILE)
    runs = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 160), hard))
        for workers in (0, 2):
            data = make(count, augment={"area": [0.5, 1.0]}, workers=workers, batch_size=150, val_batch_size=150)
            loader = data.train_loader(5)
            loader.batch_sampler.sampler.set_epoch(3)  # type: ignore[union-attr]
            runs.append([*loader, *data.val_loader()])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for first, second in zip(*runs, strict=True):
        assert torch.equal(first.images, second.images)
        for a, b in zip(first.targets, second.targets, strict=True):
            assert a["index"] == b["index"] and a["attributes"].dtype == torch.float32
            assert a["attributes"].tolist() == b["attributes"].tolist() == [
                float((2 * a["index"] + k) % 3 == 0) for k in range(2)
            ]  # fmt: skip


def test_wrong_values_are_told() -> None:
    for options, message in (
        ({"evaluate_on": "test"}, r"data\.evaluate_on='test'"),
        ({"crop_share": 0}, r"crop_share=0; expected above 0"),
        ({"augment": {"area": [0, 1]}}, r"data\.augment\.area"),
    ):
        with pytest.raises(UserError, match=message):
            make(**options)
