"""Small sets of geotagged photos, as tables and as shards."""

import csv
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image


class Shot(NamedTuple):
    path: str
    lat: float
    lon: float
    user: str
    time: str


# Three towns, and one photo far from all.
TOWNS = (("paris", 48.8, 2.3), ("quito", -0.2, -78.5), ("suva", -18.1, 178.4))
SHOTS = [
    Shot(f"a b/{town}{k}.png", lat + k / 100, lon - k / 100, f"{town}{k // 2}", f"20{10 + k}-05-0{1 + k % 2} 12:00:00")
    for town, lat, lon in TOWNS
    for k in range(6)
]
SHOTS.append(Shot("a b/atoll.png", 5.0, -160.0, "atoll0", "2015-05-01 12:00:00"))


def image(number: int) -> Image.Image:
    """Noise of 40 x 30 pixels, another for each number."""
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (30, 40, 3), np.uint8))


def write_table(file: Path, shots: Sequence[Shot] = SHOTS, columns: Sequence[str] = Shot._fields) -> Path:
    """A CSV of some columns."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as text:
        rows = csv.writer(text)
        rows.writerow(columns)
        rows.writerows([getattr(shot, column) for column in columns] for shot in shots)
    return file


def write_photos(root: Path, shots: Sequence[Shot] = SHOTS) -> Path:
    """photos.csv and the images that it names; the image of a row is `image(row)`."""
    for number, shot in enumerate(shots):
        (root / shot.path).parent.mkdir(parents=True, exist_ok=True)
        image(number).save(root / shot.path)
    write_table(root / "photos.csv", shots)
    return root


def write_shard(file: Path, samples: Sequence[dict[str, Any]]) -> Path:
    """A shard of samples as the package webdataset writes them: `__key__`, and content by extension."""
    with tarfile.open(file, "w") as tar:
        for sample in samples:
            for kind, content in sample.items():
                if kind == "__key__":
                    continue
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                member = tarfile.TarInfo(f"{sample['__key__']}.{kind}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return file


def shard_sample(number: int) -> dict[str, Any]:
    """The photo of `SHOTS[number]`."""
    file = io.BytesIO()
    image(number).save(file, "PNG")
    facts = SHOTS[number]._asdict()
    return {"__key__": f"photo.dir/{number:04d}", "png": file.getvalue(), "json": facts}
