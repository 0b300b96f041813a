"""A small data set in COCO's format, and ways to read it."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.shared.contract import Batch
from tasks.shared.detection.annotations import CocoAnnotations, read_annotations
from tasks.shared.detection.data import CocoData, CocoDataset
from tasks.shared.images.decode import OnCorrupt

R = 64


@pytest.fixture
def places(tmp_path, write_coco) -> tuple[dict[str, str], dict[str, str]]:
    return write_coco(tmp_path, "train2017"), write_coco(tmp_path, "val2017", images=4)


def make_data(places: tuple[dict[str, str], dict[str, str]], **options: Any) -> CocoData:
    return CocoData(*places, resolution=R, **{"batch_size": 2, "val_batch_size": 3, "workers": 0} | options)


def dataset(place: dict[str, str], augment: bool = False, seed: int = 0, table: CocoAnnotations | None = None):
    table = table or read_annotations(Path(place["annotations"]))
    return CocoDataset(Path(place["images"]), table, R, OnCorrupt("error"), augment=augment, seed=seed)


def epoch_of(data: CocoData, epoch: int, seed: int = 0) -> list[Batch]:
    loader: Any = data.train_loader(seed)
    loader.batch_sampler.sampler.set_epoch(epoch)
    return list(loader)


def ids(batches: list[Batch]) -> list[int]:
    return [target["image_id"] for batch in batches for target in batch.targets]


def same(first: list[Batch], second: list[Batch]) -> bool:
    return ids(first) == ids(second) and all(
        torch.equal(a.images, b.images)
        and all(torch.equal(s["boxes"], t["boxes"]) for s, t in zip(a.targets, b.targets, strict=True))
        for a, b in zip(first, second, strict=True)
    )


def color_of_the_last(image: torch.Tensor, boxes: torch.Tensor) -> int:
    """0 red, 1 green, 2 blue, as the labels: of the object that was drawn last, so on top."""
    x1, y1, x2, y2 = boxes[-1].round().int().tolist()
    return int(image[:, y1 + 2 : y2 - 2, x1 + 2 : x2 - 2].float().mean((1, 2)).argmax())
