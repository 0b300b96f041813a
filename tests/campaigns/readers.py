"""Readers of images and data sets, each with a small sound input that it draws; readers_of_weights.py has others."""

import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.conftest import _write_coco
from tests.tasks.classification.conftest import COLORS, write_folders
from tests.tasks.dogs.conftest import BREEDS, write_dogs
from tests.tasks.dogs.conftest import image as smooth
from tests.tasks.planet.conftest import SHOTS, shard_sample, write_photos, write_shard
from tests.tasks.shared.faces.conftest import write_celeba, write_face_shard, write_lines, write_people

LOADED: dict[str, Any] = {"workers": 0, "batch_size": 4, "val_batch_size": 3, "resolution": 32}


@dataclass(frozen=True)
class Reader:
    """draw: writes a sound input into an empty folder, the later working directory. read: reads all of it there.

    files: patterns of those files that are mutated. memory: MB that reading may take, more where threads decode
    images too, None for images alone, whose sizes a config key governs. named: an error has to name the mutated
    file; else a key of the config is as good.
    """

    draw: Callable[[Path], object]
    files: Sequence[str]
    read: Callable[[], object]
    memory: int | None = 64
    named: bool = True


def drain(data: Any) -> None:
    """Read all images and targets of a data set, as training and as evaluation do."""
    for loader in (data.train_loader(0), data.val_loader()):
        for _ in loader:
            pass


def draw_image(folder: Path, suffix: str) -> None:
    image = smooth(1, (60, 44))
    for name, options in IMAGES[suffix].items():
        mode = options.get("mode", "RGB")
        drawing = (
            Image.fromarray(np.asarray(image)[..., 0].astype(np.uint16) * 257)
            if mode == "I;16"
            else image.convert(mode)
        )
        drawing.save(folder / f"{name}{suffix}", **{key: value for key, value in options.items() if key != "mode"})


IMAGES: dict[str, dict[str, dict[str, Any]]] = {
    ".jpg": {
        "plain": {"quality": 90}, "progressive": {"progressive": True}, "grey": {"mode": "L"},
        "cmyk": {"mode": "CMYK"}, "restarts": {"restart_marker_blocks": 2}, "fine": {"subsampling": 0},
    },
    ".png": {"plain": {}, "palette": {"mode": "P"}, "deep": {"mode": "I;16"}, "alpha": {"mode": "RGBA"}},
    ".bmp": {"plain": {}, "palette": {"mode": "P"}},
    ".webp": {"plain": {}, "lossless": {"lossless": True}},
    ".gif": {"plain": {}},
    ".tif": {"plain": {}, "lzw": {"compression": "tiff_lzw"}, "jpeg": {"compression": "jpeg"}},
    ".ppm": {"plain": {}},
    ".pgm": {"plain": {"mode": "L"}},
}  # fmt: skip


def read_images() -> None:
    from tasks.shared.images.decode import read_image

    for file in sorted(Path().iterdir()):
        read_image(file, exif=True)


def read_class_folders(root: str = ".") -> None:
    from tasks.classification.data import image_folder

    data = image_folder(
        root, **LOADED, augment={"area": [0.2, 0.5], "aspect": [0.75, 1.33], "flip": 0.5, "policy": None}
    )
    drain(data)


def draw_class_folders(folder: Path) -> None:
    for seed, split in enumerate(("train", "val")):
        write_folders(folder, split, dict.fromkeys(COLORS, 2), seed=seed)


def read_classes() -> None:
    from tasks.classification.data import imagenet

    imagenet(".", classes="classes.txt", **LOADED)


def draw_classes(folder: Path) -> None:
    draw_class_folders(folder)
    (folder / "classes.txt").write_text("\n".join(sorted(COLORS)) + "\n")


def read_coco() -> None:
    from tasks.shared.detection.data import CocoData

    train, val = (
        {"images": f"{split}2017", "annotations": f"annotations/instances_{split}2017.json"}
        for split in ("train", "val")
    )
    drain(CocoData(train=train, val=val, **LOADED))


def draw_coco(folder: Path) -> None:
    _write_coco(folder, "train2017")
    _write_coco(folder, "val2017")


def read_celeba() -> None:
    from tasks.shared.faces.data import celeba

    drain(celeba(".", **LOADED))


def read_lfw() -> None:
    from tasks.shared.faces.data import lfw

    drain(lfw(".", train={"root": "train"}, **LOADED))


def draw_lfw(folder: Path) -> None:
    write_people(folder, {"Ada": 3, "Bob": 2, "Eve": 2})
    write_people(folder / "train", {"Mia": 2, "Tom": 2}, first=50)
    rows = ["1\t2", "Ada\t1\t2", "Bob\t1\t2", "Ada\t1\tEve\t2", "Bob\t2\tEve\t1"]
    write_lines(folder / "pairs.txt", rows)


def read_unlabelled(source: str) -> None:
    from tasks.shared.faces.data import unlabelled_faces

    drain(unlabelled_faces(source, val_share=0.5, cache="cache", **LOADED))


def draw_list(folder: Path) -> None:
    write_people(folder / "faces", {"a": 4, "b": 3})
    write_lines(folder / "list.txt", sorted(str(file.relative_to(folder)) for file in folder.rglob("*.png")))


def draw_face_shards(folder: Path) -> None:
    write_face_shard(folder / "faces-0.tar", range(4))
    write_face_shard(folder / "faces-1.tar", range(4, 8))
    os.chdir(folder)
    read_unlabelled("faces-*.tar")  # leaves its index, which is an input too


def read_geotagged(table: str) -> None:
    from tasks.planet.data import geotagged

    drain(geotagged(".", train={"table": table}, split={"by": "user", "share": 0.3, "after": None}, partition=CELLS,
                    **LOADED))  # fmt: skip


CELLS = {"max_photos": 8, "min_photos": 1, "min_level": 0, "max_level": 6}


def draw_geotagged(folder: Path, table: str) -> None:
    write_photos(folder)
    if table.endswith(".parquet"):
        (folder / "photos.csv").unlink()
        columns = {name: [getattr(shot, name) for shot in SHOTS] for name in SHOTS[0]._fields}
        pq.write_table(pa.table(columns), folder / table)


def read_geotagged_shards() -> None:
    from tasks.planet.data import geotagged_shards

    drain(geotagged_shards(".", train={"shards": "train-*.tar"}, split={"by": "user", "share": 0.3, "after": None},
                           partition=CELLS, cache="cache", **LOADED))  # fmt: skip


def draw_geotagged_shards(folder: Path) -> None:
    write_shard(folder / "train-0.tar", [shard_sample(number) for number in range(10)])
    write_shard(folder / "train-1.tar", [shard_sample(number) for number in range(10, len(SHOTS))])
    os.chdir(folder)
    read_geotagged_shards()


def read_cells() -> None:
    from tasks.planet.cells import Cells
    from tasks.planet.locate import locate

    cells = Cells.load(Path("cells.json"))
    cells.assign([0.0, 48.8], [0.0, 2.3])
    locate(np.eye(len(cells.ids)), cells)


def draw_cells(folder: Path) -> None:
    from tasks.planet.count import Counter
    from tasks.planet.partition import partition

    counter = Counter(6)
    counter.add([shot.lat for shot in SHOTS], [shot.lon for shot in SHOTS])
    partition(counter, "photos.csv", 8, 1, 0, 6).save(folder / "cells.json")


def read_dogs() -> None:
    from tasks.dogs.data import stanford_dogs

    drain(stanford_dogs(".", official=False, box_crop=True, **LOADED))


def read_web(index: str | None) -> None:
    from tasks.dogs.data import web_dogs

    data = web_dogs("web", "dogs", official=False, index=index, guard={}, cache="cache", **LOADED)
    drain(data)


def draw_web(folder: Path, index: str | None) -> None:
    write_dogs(folder / "dogs", 1, 1)
    rows = []
    for label, breed in enumerate(BREEDS):
        (folder / "web" / breed).mkdir(parents=True)
        for number in range(3):
            smooth(1000 + 10 * label + number).save(folder / f"web/{breed}/{number}.jpg")
            rows.append((f"{breed}/{number}.jpg", breed))
    if index and index.endswith(".csv"):
        (folder / index).write_text("\n".join(["path,label", *(",".join(row) for row in rows)]) + "\n")
    elif index:
        pq.write_table(pa.table({"path": [row[0] for row in rows], "label": [row[1] for row in rows]}), folder / index)
    os.chdir(folder)
    read_web(index)


def draw_film(folder: Path) -> None:
    cv2: Any = importlib.import_module("cv2")
    writer = cv2.VideoWriter(str(folder / "film.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for number in range(5):
        writer.write(np.asarray(smooth(number, (64, 48))))
    writer.release()


def read_film() -> None:
    from tasks.shared.inference.video import read_frames

    for _ in read_frames("film.avi"):
        pass


READERS: dict[str, Reader] = {
    **{f"images {suffix}": Reader(partial(draw_image, suffix=suffix), ["*"], read_images, memory=None)
       for suffix in IMAGES},
    "class folders": Reader(draw_class_folders, ["*/*/*.jpg"], read_class_folders, memory=None),
    "classes.txt": Reader(draw_classes, ["classes.txt"], read_classes),
    "COCO json": Reader(draw_coco, ["annotations/*.json"], read_coco, named=False),
    "CelebA lists": Reader(partial(write_celeba, identities=True), ["*.txt"], read_celeba, named=False),
    "LFW pairs": Reader(draw_lfw, ["pairs.txt"], read_lfw, named=False),
    "list of images": Reader(draw_list, ["list.txt"], partial(read_unlabelled, "list.txt"), named=False),
    "shards of faces": Reader(draw_face_shards, ["*.tar", "cache/*"], partial(read_unlabelled, "faces-*.tar"),
                              named=False),
    "geotagged csv": Reader(partial(draw_geotagged, table="photos.csv"), ["photos.csv"],
                            partial(read_geotagged, "photos.csv"), named=False),
    "geotagged parquet": Reader(partial(draw_geotagged, table="photos.parquet"), ["photos.parquet"],
                                partial(read_geotagged, "photos.parquet"), named=False),
    "geotagged shards": Reader(draw_geotagged_shards, ["*.tar", "cache/*"], read_geotagged_shards, named=False),
    "cells json": Reader(draw_cells, ["cells.json"], read_cells),
    "Stanford Dogs": Reader(write_dogs, ["lists/*.mat", "Annotation/*/*"], read_dogs, named=False),
    "web index csv": Reader(partial(draw_web, index="index.csv"), ["index.csv", "cache/*"],
                            partial(read_web, "index.csv"), memory=128, named=False),
    "web index parquet": Reader(partial(draw_web, index="index.parquet"), ["index.parquet"],
                                partial(read_web, "index.parquet"), memory=128, named=False),
    "film": Reader(draw_film, ["film.avi"], read_film, memory=None),
}  # fmt: skip
