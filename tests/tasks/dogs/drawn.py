"""Drawn dogs, watched as they are drawn."""

import copy
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat

from tasks.dogs import sample, sample_drawing

TRAIN, VAL, WEB = 3, 2, 20  # files of each breed
BROKEN, TINY = 4, 3  # of them, far more than by default: one of each kind
IMAGES = ("clean", "wrong_label", "duplicate")  # kinds of files that show a dog


class Shot(NamedTuple):
    """An image as it was drawn, what it was asked to show, and the randomness that it was drawn from."""

    image: Image.Image
    box: np.ndarray
    look: tuple[str, str]
    web: bool
    rng: np.random.Generator


class Drawn(NamedTuple):
    root: Path
    shots: list[Shot]  # in the order of drawing


def watch(patch: pytest.MonkeyPatch) -> list[Shot]:
    """The images that are drawn from now on."""
    shots: list[Shot] = []
    draw = sample.draw_image

    def watched(rng: np.random.Generator, ears: str, tail: str, web: bool) -> tuple[Image.Image, np.ndarray]:
        before = copy.deepcopy(rng)
        image, box = draw(rng, ears, tail, web)
        shots.append(Shot(image, box, (ears, tail), web, before))
        return image, box

    patch.setattr(sample, "draw_image", watched)
    return shots


def truth(root: Path) -> list[dict[str, str]]:
    with (root / "web_truth.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def in_list(root: Path, name: str) -> list[str]:
    return [str(cell[0].item()) for cell in loadmat(root / f"lists/{name}_list.mat")["file_list"]]


def look_of(breed: str) -> tuple[str, str]:
    """Ears and tail, from a folder such as n90000001-Flag-tailed_prick_ear."""
    tail, ears = breed.split("-", 1)[1].removesuffix("_ear").split("-tailed_")
    return ears, tail.lower()


def thumbnails(images: Sequence[Image.Image]) -> np.ndarray:
    """Grey, [n, 256], of mean 0 and length 1, so that products are correlations."""
    small = [image.convert("L").resize((16, 16), Image.Resampling.BOX) for image in images]
    values = np.stack([np.asarray(each, float).ravel() for each in small])
    values -= values.mean(1, keepdims=True)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def without_dog(shot: Shot) -> Image.Image:
    """The same image with the dog left out."""
    draw = sample_drawing._draw_dog
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sample_drawing, "_draw_dog", lambda rng, image, *look: draw(rng, image.copy(), *look))
        return sample_drawing.draw_image(copy.deepcopy(shot.rng), *shot.look, web=shot.web)[0]
