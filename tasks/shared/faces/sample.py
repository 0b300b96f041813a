"""Drawn faces in CelebA's and in LFW's own layouts, for training without a download.

The same parameters give the same bytes in the same environment.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tasks.shared.data.sample_folder import keep_sample
from tasks.shared.errors import UserError
from tasks.shared.faces.celeba import ATTRIBUTE_LIST, IDENTITY_LIST, IMAGES, PARTITION_LIST
from tasks.shared.faces.drawn.face import CELEBA, LFW, Frame, draw_face
from tasks.shared.faces.drawn.person import ATTRIBUTES, Person, attributes_of, draw_look, draw_person
from tasks.shared.files.writing import encode_image
from tasks.shared.terminal.progress import counted

VERSION = 3  # raise it whenever the drawing changes: existing sets are then redrawn
CELEBA_FORMAT, LFW_FORMAT = "drawn CelebA sample", "drawn LFW sample"
SIDES = ("train", "val")
EACH = 2  # images of a person in the CelebA sample
FOLDS, PAIRS = 10, 150  # of the LFW sample's pairs.txt: folds, and pairs of either kind in each, at most
QUALITY = (75, 95)  # of the JPEG files, both ends included


def draw_celeba_sample(root: Path, train: int = 3000, val: int = 600, seed: int = 0) -> None:
    """Draw the sample into `root`, in CelebA's layout; nobody is on both sides.

    Returns at once where `root` already holds the complete set of the same parameters, and replaces an incomplete or
    different one. The set appears in `root` only when it is whole.

    Args:
        root: Folder of the set; its parents are created.
        train, val: Number of images of either side.
        seed: Non-negative; another seed gives other people.

    Raises:
        UserError: A number is out of range, or `root` holds something that is not part of a drawn sample; nothing is
            deleted.
    """
    if train < 1 or val < 1 or seed < 0:
        raise UserError(f"data.train={train}, data.val={val}, data.draw_seed={seed}; expected at least 1, 1 and 0")
    wanted = {"format": CELEBA_FORMAT, "version": VERSION, "train": train, "val": val, "seed": seed}
    files = {f"{IMAGES}/*.jpg": train + val} | dict.fromkeys((ATTRIBUTE_LIST, PARTITION_LIST, IDENTITY_LIST), 1)
    keep_sample(root, wanted, files, lambda folder: _draw_celeba(folder, (train, val), seed))


def _draw_celeba(root: Path, counts: tuple[int, int], seed: int) -> None:
    (root / IMAGES).mkdir(parents=True)
    attributes, sides, identities = [], [], []
    with counted("drawing the CelebA sample", sum(counts)) as drawn:
        for side, count in enumerate(counts):
            first = sum(counts[:side])
            for index in range(count):
                name = f"{first + index + 1:06d}.jpg"
                number = index // EACH
                person = _person(seed, side, number)
                labels = _draw(root / IMAGES / name, (seed, side, number, index % EACH), person, CELEBA)
                attributes.append(f"{name} {' '.join(f'{2 * label - 1:2d}' for label in labels)}\n")
                sides.append(f"{name} {side}\n")
                identities.append(f"{name} {number + 1 + side * (counts[0] // EACH + 1)}\n")
                drawn()
    (root / ATTRIBUTE_LIST).write_text(f"{sum(counts)}\n{' '.join(ATTRIBUTES)} \n{''.join(attributes)}", "utf-8")
    (root / PARTITION_LIST).write_text("".join(sides), "utf-8")
    (root / IDENTITY_LIST).write_text("".join(identities), "utf-8")


def draw_lfw_sample(
    root: Path, train: int = 300, val: int = 60, images: int = 6, val_pictures: int = 8, seed: int = 0
) -> None:
    """Draw the sample into `root`, in LFW's layout: train/ and test/ hold a folder for each person; test/pairs.txt.

    As `draw_celeba_sample`; train, val: people, images, val_pictures: of each.
    """
    if train < 1 or val < 2 or images < 1 or val_pictures < 2 or seed < 0:
        raise UserError(
            f"data.train={train}, data.val={val}, data.train_pictures={images}, data.val_pictures={val_pictures}, "
            f"data.draw_seed={seed}; expected at least 1, 2, 1, 2 and 0"
        )
    wanted = {"format": LFW_FORMAT, "version": VERSION, "train": train, "val": val, "seed": seed}
    wanted |= {"train_pictures": images, "val_pictures": val_pictures}
    files = {"train/*/*.jpg": train * images, "test/*/*.jpg": val * val_pictures, "test/pairs.txt": 1}
    keep_sample(root, wanted, files, lambda folder: _draw_lfw(folder, (train, val), (images, val_pictures), seed))


def _draw_lfw(root: Path, people: tuple[int, int], images: tuple[int, int], seed: int) -> None:
    total = sum(count * each for count, each in zip(people, images, strict=True))
    with counted("drawing the LFW sample", total) as drawn:
        for side, (name, count, each) in enumerate(zip(("train", "test"), people, images, strict=True)):
            for number in range(count):
                person, called = _person(seed, side, number), f"{name.title()}_Person_{number + 1:04d}"
                (root / name / called).mkdir(parents=True)
                for index in range(each):
                    file = root / name / called / f"{called}_{index + 1:04d}.jpg"
                    _draw(file, (seed, side, number, index), person, LFW)
                    drawn()
    (root / "test/pairs.txt").write_text("".join(_pairs(people[1], images[1], seed)), "utf-8")


def _pairs(people: int, each: int, seed: int) -> Iterator[str]:
    """Lines of LFW's pairs.txt. Folds have people of their own; in each as many same as different pairs."""
    rng = np.random.default_rng((seed, 2))
    folds = np.array_split(rng.permutation(people) + 1, min(FOLDS, people // 2))
    least = min(map(len, folds))
    count = min(PAIRS, least * each * (each - 1) // 2, least * (least - 1) // 2 * each**2)
    yield f"{len(folds)}\t{count}\n"
    for fold in folds:
        same = [(p, i, p, j) for p in fold for i in range(1, each + 1) for j in range(i + 1, each + 1)]
        numbers = range(1, each + 1)
        other = [(p, i, q, j) for k, p in enumerate(fold) for q in fold[k + 1 :] for i in numbers for j in numbers]
        for pairs in (same, other):
            for index in sorted(rng.choice(len(pairs), count, replace=False).tolist()):
                p, i, q, j = pairs[index]
                second = f"{j}" if p == q else f"Test_Person_{q:04d}\t{j}"
                yield f"Test_Person_{p:04d}\t{i}\t{second}\n"


def _person(seed: int, side: int, number: int) -> Person:
    return draw_person(np.random.default_rng((seed, 0, side, number)))


def _draw(file: Path, seed: tuple[int, int, int, int], person: Person, frame: Frame) -> list[bool]:
    """Write an image; returns which of the attributes it has."""
    rng = np.random.default_rng((1, *seed))
    look = draw_look(rng, person)
    image = draw_face(rng, person, look, frame)
    quality = int(rng.integers(*QUALITY, endpoint=True))
    file.write_bytes(encode_image(image, "JPEG", quality=quality))
    return attributes_of(person, look)
