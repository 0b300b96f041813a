"""Small sets of faces in CelebA's and LFW's layouts; the images are noise, each another."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.tasks.planet.conftest import write_shard

NAMES = ("Bald", "Eyeglasses", "Smiling")
SIDES = (0, 0, 0, 0, 0, 1, 1, 1, 2, 2)  # of the images of `write_celeba`
PEOPLE = (7, 7, 12, 12, 12, 3, 3, 41, 8, 8)
OPTIONS: dict[str, Any] = {"resolution": 32, "workers": 0, "batch_size": 4, "val_batch_size": 3}


def image(number: int) -> Image.Image:
    """Noise of 40 x 48 pixels, another for each number."""
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (48, 40, 3), np.uint8))


def pixels(number: int) -> np.ndarray:
    """(3, H, W) uint8, the same."""
    return np.asarray(image(number)).transpose(2, 0, 1)


def truth(number: int) -> list[int]:
    """Attributes of an image, 0 or 1."""
    return [number >> bit & 1 for bit in range(len(NAMES))]


def write_celeba(root: Path, identities: bool = True) -> Path:
    """CelebA's layout; image k, from 0, is `image(k)`, saved as PNG under CelebA's own name."""
    (root / "img_align_celeba").mkdir(parents=True)
    files = [f"{k + 1:06d}.jpg" for k in range(len(SIDES))]
    for k, file in enumerate(files):
        image(k).save(root / "img_align_celeba" / file, "PNG")
    rows = [f"{file} {' '.join(f'{2 * value - 1:2d}' for value in truth(k))}" for k, file in enumerate(files)]
    write_lines(root / "list_attr_celeba.txt", [str(len(files)), " ".join(NAMES) + " ", *rows])
    write_lines(root / "list_eval_partition.txt", [f"{f} {side}" for f, side in zip(files, SIDES, strict=True)])
    if identities:
        write_lines(root / "identity_CelebA.txt", [f"{f} {who}" for f, who in zip(files, PEOPLE, strict=True)])
    return root


def write_lines(file: Path, lines: Sequence[str]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n")
    return file


def write_people(root: Path, counts: dict[str, int], first: int = 0) -> Path:
    """A folder for each person, Name/Name_0001.png; images are numbered through, from `first` on."""
    number = first
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for k in range(count):
            image(number).save(root / name / f"{name}_{k + 1:04d}.png")
            number += 1
    return root


def write_face_shard(file: Path, numbers: Sequence[int]) -> Path:
    """A shard of images with nothing beside them."""
    samples: list[dict[str, Any]] = []
    for number in numbers:
        content = io.BytesIO()
        image(number).save(content, "PNG")
        samples.append({"__key__": f"{number:04d}", "png": content.getvalue()})
    file.parent.mkdir(parents=True, exist_ok=True)
    return write_shard(file, samples)
