"""Class folders that the tests draw."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

COLORS = {"n01440764": (220, 40, 40), "n01443537": (40, 200, 60), "n02084071": (50, 60, 230)}


def write_folders(root: Path, split: str, counts: dict[str, int], seed: int = 0) -> Path:
    """`root`/<split>/<class>/<n>.jpg: noise in the colour of its class, of different sizes. Returns `root`."""
    rng = np.random.default_rng(seed)
    for name, count in counts.items():
        folder = root / split / name
        folder.mkdir(parents=True)
        for index in range(count):
            height, width = (int(side) for side in rng.integers(40, 90, 2))
            noise = rng.integers(-40, 40, (height, width, 3)) + np.array(COLORS.get(name, (128, 128, 128)))
            Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(folder / f"{index}.jpg")
    return root


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Three classes with ImageNet's ids, 4 images each to train on and 2 to evaluate."""
    write_folders(tmp_path / "set", "train", dict.fromkeys(COLORS, 4))
    return write_folders(tmp_path / "set", "val", dict.fromkeys(COLORS, 2), seed=1)
