"""Images that stay in memory are what they were, and stay only where all will fit."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tasks.classification.data import image_folder
from tasks.shared.data import loading
from tasks.shared.data.decoded_cache import GB, DecodedImageCache, bytes_to_keep
from tasks.shared.data.image_set import CroppedDataset, FolderImages, read_class_folders
from tasks.shared.errors import UserError
from tasks.shared.images.crops import TrainCrop
from tasks.shared.images.decode import OnCorrupt

SIDES = (60, 45), (45, 60), (64, 48)  # width and height
NAMES = ("a.jpg", "b.png", "c.jpg")
SIZE = sum(3 * width * height for width, height in SIDES)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A class of three images, the last with an EXIF orientation."""
    (tmp_path / "cat").mkdir()
    rng = np.random.default_rng(0)
    for name, (width, height) in zip(NAMES, SIDES, strict=True):
        image = Image.fromarray(rng.integers(256, size=(height, width, 3), dtype=np.uint8))
        exif = image.getexif()
        exif[0x0112] = 6 if name == NAMES[-1] else 1
        image.save(tmp_path / "cat" / name, exif=exif)
    return tmp_path


def folder(root: Path) -> FolderImages:
    return read_class_folders(root, ["cat"])


def kept(root: Path, limit: int = GB, resolution: int = 48) -> DecodedImageCache:
    return DecodedImageCache(folder(root), resolution, limit)


def dataset(images: Any, **options: Any) -> CroppedDataset:
    return CroppedDataset(images, ["cat"], 48, OnCorrupt("error"), train=TrainCrop(area=(0.3, 1.0)), **options)


def teacher_targets(index: int, image: torch.Tensor) -> dict[str, Any]:
    return {"sum": int(image.sum())}


@pytest.mark.parametrize(
    "options", [{}, {"policy": "trivial"}, {"teacher_targets": teacher_targets}], ids=["", "policy", "lesson"]
)
def test_crops_are_to_the_last_bit_those_of_images_that_are_decoded_each_time(
    root: Path, options: dict[str, Any]
) -> None:
    mine = kept(root)
    ours, plain = dataset(mine, **options), dataset(folder(root), **options)
    for epoch in range(4):
        for index in range(3):
            (image, target), (expected, about) = ours[epoch, index], plain[epoch, index]  # type: ignore[misc]
            assert torch.equal(image, expected) and target == about
    assert sorted(mine.kept) == [0, 1, 2] and mine.size == SIZE


def test_a_kept_image_is_not_read_again(root: Path) -> None:
    data = dataset(kept(root))
    first = [data[0, index] for index in range(3)]
    for name in NAMES:
        (root / "cat" / name).unlink()
    for index, item in enumerate(first):
        again = data[0, index]
        assert item is not None and again is not None
        assert torch.equal(again[0], item[0]) and again[1] == item[1]


@pytest.mark.parametrize("limit", [SIZE // 2, 3 * 60 * 45, 0])
def test_nothing_is_kept_of_a_set_that_will_not_fit(root: Path, limit: int) -> None:
    mine = kept(root, limit)
    data, plain = dataset(mine), dataset(folder(root))
    for index in range(3):
        (image, _), (expected, _) = data[1, index], plain[1, index]  # type: ignore[misc]
        assert torch.equal(image, expected)
    assert mine.kept == {} and mine.size == 0


def test_what_is_kept_never_exceeds_the_limit(root: Path) -> None:
    limit = SIZE - 1  # by the first image, all would fit
    mine = kept(root, limit)
    for index in range(3):
        mine.read(index)
    assert len(mine.kept) == 2 and mine.size <= limit


def test_a_photo_that_crops_decode_smaller_is_not_kept(root: Path) -> None:
    mine = kept(root, resolution=8)
    assert mine.encoded(0) is not None and mine.kept == {}
    assert mine.encoded(1) is None, "a PNG is decoded whole, whatever the crop"


def test_a_damaged_image_is_told_each_time(root: Path) -> None:
    (root / "cat" / NAMES[0]).write_bytes((root / "cat" / NAMES[0]).read_bytes()[:400])
    data = dataset(kept(root))
    for _ in range(2):
        with pytest.raises(UserError, match=r"a\.jpg"):
            data[0, 0]


@pytest.mark.parametrize(
    "workers, keep_gb, keeps", [(0, 1.0, True), (0, 0, False), (2, 1.0, False), (None, 1.0, True), (None, 0.0, False)]
)
def test_images_are_kept_by_a_training_that_reads_them_itself(
    root: Path, monkeypatch: pytest.MonkeyPatch, workers: int | None, keep_gb: float, keeps: bool
) -> None:
    monkeypatch.setattr(loading, "default_workers", lambda: 0)
    for split in ("train", "val"):
        shutil.copytree(root / "cat", root / split / "cat")
    data = image_folder(str(root), resolution=32, workers=workers, keep_gb=keep_gb)
    assert isinstance(data.train_loader(0).dataset.images, DecodedImageCache) == keeps  # type: ignore[attr-defined]
    assert isinstance(data.val_loader().dataset.images, FolderImages)  # type: ignore[attr-defined]


@pytest.mark.parametrize("keep_gb", [-1, float("nan"), float("inf"), True, "all", None])
def test_a_wrong_amount_names_its_key(keep_gb: Any) -> None:
    with pytest.raises(UserError, match=r"data\.keep_gb="):
        bytes_to_keep(keep_gb)


def test_an_amount_is_in_gigabytes() -> None:
    assert bytes_to_keep(0.5) == GB // 2 and bytes_to_keep(0) == 0
