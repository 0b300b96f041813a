"""What a training item costs to decode, and what it is."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tasks.shared.data.image_set import CroppedDataset, Picked, read_class_folders
from tasks.shared.images import decode as images
from tasks.shared.images import encoded
from tasks.shared.images.crops import TrainCrop, random_crop_of
from tasks.shared.images.decode import OnCorrupt, read_image
from tasks.shared.images.encoded import EncodedImage
from tasks.shared.samples.drawn_photos import draw_photo, encode_photo

SIDES = 1600, 1200
WIDE = TrainCrop(area=(0.5, 1.0), flip=0.5)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One class with one large photo."""
    folder = tmp_path_factory.mktemp("large")
    (folder / "cat").mkdir()
    (folder / "cat/photo.jpg").write_bytes(
        encode_photo(draw_photo(*SIDES, 1.3, np.random.default_rng(0)), 400_000, "4:2:0")
    )
    return folder


def whole_images(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by one for each image that is decoded to the last pixel from here on."""
    seen: list[str] = []
    decode = images.decode_image

    def note(data: np.ndarray, name: str, exif: bool = False) -> Tensor:
        seen.append(name)
        return decode(data, name, exif)

    for module in (images, encoded):
        monkeypatch.setattr(module, "decode_image", note)
    return seen


def make(root: Path, **options: Any) -> CroppedDataset:
    images = Picked(read_class_folders(root, ["cat"]), np.array([0]), np.array([0]))
    return CroppedDataset(images, ["cat"], 64, OnCorrupt("error"), **options)


def test_training_decodes_a_large_photo_smaller(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = whole_images(monkeypatch)
    item = make(root, train=WIDE, seed=5)[3, 0]
    assert item is not None and seen == []
    image, target = item
    assert target["size"] == SIDES[::-1] and target["class_id"] == "cat" and target["file"].endswith("cat/photo.jpg")
    photo = EncodedImage.read(root / "cat/photo.jpg", exif=True)
    assert torch.equal(image, random_crop_of(photo, 64, np.random.default_rng((5, 3, 0)), WIDE)[0])


def test_a_teacher_and_evaluation_see_every_pixel(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, shown = whole_images(monkeypatch), []

    def teacher_targets(index: int, image: Tensor) -> dict[str, Any]:
        shown.append(image)
        return {"teacher": index}

    taught = make(root, train=WIDE, teacher_targets=teacher_targets)[0, 0]
    assert taught is not None and taught[1]["teacher"] == 0
    assert make(root)[0, 0] is not None
    assert len(seen) == 2
    assert torch.equal(shown[0], read_image(root / "cat/photo.jpg"))
