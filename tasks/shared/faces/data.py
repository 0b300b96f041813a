"""Faces: CelebA, LFW, anybody's folders of people, unlabelled images, the drawn samples."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks.shared.data.image_data import SPLITS, splits_to_read
from tasks.shared.data.image_set import Images, Picked
from tasks.shared.data.splits import hash_split
from tasks.shared.errors import UserError
from tasks.shared.faces.celeba import SIDES, read_celeba
from tasks.shared.faces.dataset import FaceData, Faces
from tasks.shared.faces.lfw import find_pairs, read_pairs
from tasks.shared.faces.people import People, check_people, check_share, read_people, split_people, without
from tasks.shared.faces.sample import draw_celeba_sample, draw_lfw_sample
from tasks.shared.faces.unlabelled import read_unlabelled, short_names
from tasks.shared.terminal.escaped import printable

log = logging.getLogger(__name__)
Node = Mapping[str, Any] | None


def celeba(
    root: str,
    *,
    unlabelled: str | None = None,
    cache: str = "data/cache",
    evaluate_on: str = "val",
    splits: Sequence[str] = SPLITS,
    **options: Any,
) -> FaceData:
    """CelebA as it is distributed, see `read_celeba`.

    Args:
        unlabelled: images to train on instead of CelebA's, see `read_unlabelled`; cache: its.
        evaluate_on: "val", "test" or "train", of CelebA's.
    """
    if evaluate_on not in SIDES:
        raise UserError(f"data.evaluate_on={evaluate_on!r}; expected one of {', '.join(SIDES)}")
    sides = {"train": "train", "val": evaluate_on}
    wanted = {split: sides[split] for split in splits if split == "val" or unlabelled is None}
    found, names = read_celeba(Path(root), list(dict.fromkeys(wanted.values())), options.get("on_corrupt", "error"))
    faces = {split: found[side] for split, side in wanted.items()}
    return FaceData(_with_unlabelled(faces, unlabelled, cache, splits, options), names, **options)


def lfw(
    root: str,
    *,
    pairs: str | None = "pairs.txt",
    train: Node = None,
    unlabelled: str | None = None,
    cache: str = "data/cache",
    splits: Sequence[str] = SPLITS,
    **options: Any,
) -> FaceData:
    """Labeled Faces in the Wild to evaluate on: a folder for each person in `root`.

    Args:
        pairs: a file in the format of pairs.txt, in `root` or anywhere; None compares all images.
        train: `root`, folders of people to train on, less those to evaluate on.
        unlabelled: images to train on instead, see `read_unlabelled`; cache: its.
    """
    path = Path(root)
    if not path.is_dir():
        raise UserError(f"data.root={printable(root)}: no such folder; expected LFW's, with a folder for each person")
    listed: dict[str, Any] = {}
    if pairs is None:
        people = read_people(path, "data.root")
        check_people(people, "data.root")
        evaluated, names = people.images, set(people.names)
    else:
        file = _find_pairs(path, pairs)
        listed_pairs = read_pairs(file)
        evaluated, listed["pairs"], listed["folds"] = find_pairs(
            path, listed_pairs, file, options.get("on_corrupt", "error")
        )
        names = {name for pair in listed_pairs.shots for name, _ in pair}
    faces = {"val": Faces(evaluated)}
    if "train" in splits_to_read(splits, options) and unlabelled is None:
        folder = (train or {}).get("root")
        if folder is None:
            raise UserError(
                "data.train.root is not set: LFW is there to evaluate on; give data.train.root=..., folders of people "
                "to train on, or data.unlabelled=..."
            )
        learnt = without(read_people(Path(folder), "data.train.root"), names, "they are evaluated on")
        faces["train"] = Faces(learnt.images)
    return FaceData(_with_unlabelled(faces, unlabelled, cache, splits, options), **listed, **options)


def face_folder(
    root: str,
    *,
    val: Node = None,
    val_share: float = 0.2,
    unlabelled: str | None = None,
    cache: str = "data/cache",
    splits: Sequence[str] = SPLITS,
    **options: Any,
) -> FaceData:
    """Anybody's images: a folder for each person in `root`. Nobody is trained and evaluated on.

    Args:
        val: `root`, folders of people to evaluate on.
        val_share: without it, the share of the people in `root` that are evaluated on, chosen by their names.
        unlabelled: images to train on instead of those in `root`, see `read_unlabelled`; cache: its.
    """
    folder = (val or {}).get("root")
    people = {}
    if folder is None:
        people["train"], people["val"] = split_people(read_people(Path(root), "data.root"), val_share)
    else:
        people["val"] = read_people(Path(folder), "data.val.root")
        if unlabelled is None and "train" in splits_to_read(splits, options):
            everybody = read_people(Path(root), "data.root")
            people["train"] = without(everybody, set(people["val"].names), "they are evaluated on")
    faces: dict[str, Faces] = {}
    for split in splits_to_read(splits, options):
        if split == "train" and unlabelled is not None:
            continue
        _check_some(people[split], split, val_share)
        if split == "val" or split == options.get("evaluate_on"):
            check_people(people[split], "data.root" if folder is None else "data.val.root")
        faces[split] = Faces(people[split].images)
    return FaceData(_with_unlabelled(faces, unlabelled, cache, splits, options), **options)


def unlabelled_faces(
    root: str,
    *,
    val_share: float = 0.05,
    cache: str = "data/cache",
    splits: Sequence[str] = SPLITS,
    **options: Any,
) -> FaceData:
    """Images of which nothing is known, see `read_unlabelled`, to learn from a teacher alone.

    val_share: of the images, chosen by their names, on which the two are compared.
    """
    check_share(val_share)
    images = read_unlabelled(root, "data.root", Path(cache), options.get("on_corrupt", "error"))
    drawn = hash_split(short_names(images), val_share, 1)
    rows = {"train": np.flatnonzero(~drawn), "val": np.flatnonzero(drawn)}
    faces = {split: Faces(Picked(images, rows[split])) for split in splits_to_read(splits, options)}
    if lacking := [split for split in faces if not len(rows[split])]:
        raise UserError(
            f"data.root={printable(root)}: {len(drawn)} images; data.val_share={val_share} leaves none for {lacking[0]}"
        )
    return FaceData(faces, **options)


def celeba_sample(root: str, *, train: int = 3000, val: int = 600, draw_seed: int = 0, **options: Any) -> FaceData:
    """The drawn sample in CelebA's layout, written to `root` on first use; train, val: images."""
    draw_celeba_sample(Path(root), train, val, draw_seed)
    log.info("data: drawn sample images in %s (%d + %d); yours: data=celeba", root, train, val)
    return celeba(root, **options)


def lfw_sample(
    root: str,
    *,
    train: int = 300,
    val: int = 60,
    train_pictures: int = 6,
    val_pictures: int = 8,
    draw_seed: int = 0,
    **options: Any,
) -> FaceData:
    """The drawn sample in LFW's layout, written to `root` on first use; train, val: people, and how many images of
    each."""
    path = Path(root)
    draw_lfw_sample(path, train, val, train_pictures, val_pictures, draw_seed)
    log.info("data: drawn sample images in %s (%d people x %d + %d x %d); yours: data=face_folder, data=lfw",
             path, train, train_pictures, val, val_pictures)  # fmt: skip
    return lfw(str(path / "test"), train={"root": str(path / "train")}, **options)


def _find_pairs(root: Path, pairs: str) -> Path:
    """In `root`, or from here."""
    paths = (root / pairs, Path(pairs))
    found = next((path for path in paths if path.is_file()), None)
    if found is None:
        raise UserError(
            f"data.pairs={printable(pairs)}: no such file, nor {printable(paths[0])}; expected LFW's pairs.txt, or "
            "null to compare all images"
        )
    return found


def _check_some(people: People, split: str, share: float) -> None:
    if not people.names:
        does = "train" if split == "train" else "evaluate"
        raise UserError(f"data.val_share={share} leaves nobody to {does} on; expected another share, or data.val.root")


def _with_unlabelled(
    faces: dict[str, Faces], source: str | None, cache: str, splits: Sequence[str], options: Mapping[str, Any]
) -> dict[str, Faces]:
    """With the images of `source`, if given, to train on."""
    if source is None or "train" not in splits_to_read(splits, options):
        return faces
    images = read_unlabelled(source, "data.unlabelled", Path(cache), options.get("on_corrupt", "error"))
    log.info("data.unlabelled=%s: %s images to train on", printable(source), f"{len(images.labels):,}")
    if "val" in faces and (both := len(_paths(faces["val"].images) & _paths(images))):
        log.warning("data.unlabelled=%s: %d of the images to evaluate on are trained on", printable(source), both)
    return faces | {"train": Faces(images)}


def _paths(images: Images) -> set[str]:
    """Where images are, links left as they are."""
    return {os.path.abspath(images.name(k)) for k in range(len(images.labels))}  # noqa: PTH100
