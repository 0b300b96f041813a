"""Data sets that the tests draw for themselves, and how tests share a machine."""

import json
import os
from collections.abc import Callable
from pathlib import Path

# Before anything imports torch: tests run in a process for each core, whose threads would wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tasks.shared.config.consent import hear

# COCO id, name, colour: ids with gaps and out of order, as custom files have them.
CATEGORIES = ((17, "blue", (40, 60, 230)), (1, "red", (230, 40, 40)), (3, "green", (40, 200, 60)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole runs of the tools first: they take longest, and the last of them would keep one core busy alone."""
    items.sort(key=lambda item: not item.path.is_relative_to(Path(__file__).parent / "tools"))


def _write_coco(root: Path, split: str, images: int = 6, seed: int = 0) -> dict[str, str]:
    """Draw a small detection data set in COCO's own layout and format.

    Writes `root/<split>/000000001001.jpg ...` and `root/annotations/instances_<split>.json`. Call it once a split
    (`"train2017"` and `"val2017"`, or the 2014 ones) to get COCO's tree: the splits lie side by side and share no
    image id (those of a split whose name starts with "train" begin at 1001, all others at 5001, in steps of 3).

    Images have different sizes of 64 to 160 pixels a side, and 1 to 3 plain rectangles on grey noise, each in the
    colour of its class. The first has a crowd box besides; the last is empty. Categories are 1 red, 3 green and
    17 blue. The same arguments give the same files.

    Returns {"images": folder, "annotations": file}, which is what `data.train` and `data.val` of data=coco_json take.
    """
    first = 1001 if split.startswith("train") else 5001
    rng = np.random.default_rng((seed, first))
    folder, file = root / split, root / "annotations" / f"instances_{split}.json"
    folder.mkdir(parents=True)
    file.parent.mkdir(exist_ok=True)
    records, annotations = [], []
    for index in range(images):
        width, height = (int(side) for side in rng.integers(64, 161, 2))
        image_id = first + 3 * index
        image = Image.fromarray(rng.integers(90, 150, (height, width, 1), np.uint8).repeat(3, 2))
        draw = ImageDraw.Draw(image)
        for _ in range(0 if index == images - 1 else rng.integers(1, 4)):
            category, _, color = CATEGORIES[rng.integers(len(CATEGORIES))]
            w, h = (int(side) for side in rng.integers(20, 50, 2))
            x, y = int(rng.integers(0, width - w)), int(rng.integers(0, height - h))
            draw.rectangle((x, y, x + w - 1, y + h - 1), fill=color)
            annotations.append({"image_id": image_id, "category_id": category, "bbox": [x, y, w, h], "area": w * h})
        if index == 0:
            crowd = {"image_id": image_id, "category_id": 3, "bbox": [0, 0, 30, 20], "area": 600, "iscrowd": 1}
            annotations.append(crowd)
        name = f"{image_id:012d}.jpg"
        image.save(folder / name, quality=95)
        records.append({"id": image_id, "file_name": name, "width": width, "height": height})
    content = {
        "images": records,
        "annotations": [{"id": number, "iscrowd": 0} | a for number, a in enumerate(annotations, 1)],
        "categories": [{"id": number, "name": name} for number, name, _ in CATEGORIES],
    }
    file.write_text(json.dumps(content))
    return {"images": str(folder), "annotations": str(file)}


@pytest.fixture
def write_coco() -> Callable[..., dict[str, str]]:
    """The function `write_coco(root, split, pictures=6, seed=0)`: see `_write_coco` above."""
    return _write_coco


@pytest.fixture(autouse=True)
def no_command_was_heard() -> None:
    """What an earlier test's command line gave is forgotten."""
    hear([], carried=False)
