"""Small sets in Stanford Dogs' layout, and drawn ones."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from tasks.dogs import sample
from tasks.dogs.sample import draw_dogs_sample, draw_web_sample
from tests.tasks.dogs.drawn import BROKEN, TINY, TRAIN, VAL, WEB, Drawn, watch

BREEDS = ("n02085620-Chihuahua", "n02085782-Japanese_spaniel", "n02086240-Shih-Tzu")
ANNOTATION = """<annotation><object><bndbox><xmin>2</xmin><ymin>3</ymin><xmax>8</xmax><ymax>9</ymax></bndbox></object>
<object><bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox></object></annotation>"""


def image(seed: int, size: tuple[int, int] = (96, 80)) -> Image.Image:
    """Smooth noise, so that it survives JPEG and is unlike that of any other seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 10, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def write_list(path: Path, files: list[str], labels: list[int]) -> None:
    """An official list; labels from 1."""
    cells = np.empty((len(files), 1), object)
    cells[:, 0] = files
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"file_list": cells, "annotation_list": cells, "labels": np.array(labels, np.uint8)[:, None]})


def write_dogs(root: Path, train: int = 2, test: int = 3) -> Path:
    """Stanford Dogs with three breeds; the image of breed b and number k is `picture(100 * b + k)`."""
    files: dict[str, list[str]] = {"train": [], "test": []}
    labels: dict[str, list[int]] = {"train": [], "test": []}
    for label, breed in enumerate(BREEDS):
        (root / "Images" / breed).mkdir(parents=True)
        (root / "Annotation" / breed).mkdir(parents=True)
        for number in range(train + test):
            stem = f"{breed}/{breed.split('-')[0]}_{number}"
            image(100 * label + number).save(root / f"Images/{stem}.jpg", quality=90)
            (root / f"Annotation/{stem}").write_text(ANNOTATION.format(20, 10, 60, 50))
            split = "train" if number < train else "test"
            files[split].append(f"{stem}.jpg")
            labels[split].append(label + 1)
    for split in files:
        write_list(root / f"lists/{split}_list.mat", files[split], labels[split])
    return root


@pytest.fixture(scope="session")
def clean(tmp_path_factory) -> Drawn:
    root = tmp_path_factory.mktemp("dogs") / "stanford"
    with pytest.MonkeyPatch.context() as patch:
        shots = watch(patch)
        draw_dogs_sample(root, TRAIN, VAL)
    return Drawn(root, shots)


@pytest.fixture(scope="session")
def web(tmp_path_factory) -> Drawn:
    root = tmp_path_factory.mktemp("dogs") / "web"
    with pytest.MonkeyPatch.context() as patch:
        shots = watch(patch)
        patch.setattr(sample, "BROKEN", BROKEN / WEB)
        patch.setattr(sample, "TINY", TINY / WEB)
        draw_web_sample(root, TRAIN, VAL, WEB)
    return Drawn(root, shots)
