"""A drawn sample of geotagged photos: a table of each side and its images, for training without a download.

The same parameters give the same bytes in the same environment.
"""

import csv
from pathlib import Path

import numpy as np

from tasks.planet.sample_drawing import draw_image
from tasks.planet.sample_world import World, moment, people
from tasks.shared.data.sample_folder import keep_sample
from tasks.shared.errors import UserError
from tasks.shared.files.writing import encode_image
from tasks.shared.terminal.progress import counted

VERSION = 1  # raise it whenever the drawing changes: existing sets are then redrawn
FORMAT = "drawn geotagged sample"
TABLES = {"train": "train.csv", "val": "val.csv"}
COLUMNS = ("path", "lat", "lon", "user", "time")
QUALITY = (60, 95)  # of the JPEG files, both ends included


def draw_geotagged_sample(root: Path, train: int = 3000, val: int = 600, seed: int = 0) -> None:
    """Draw the sample into `root`: train.csv, val.csv (path, lat, lon, user, time), and the images that they name.

    Nobody took photos of both tables. Returns at once where `root` already holds the complete set of the same
    parameters, and replaces an incomplete or different one. The set appears in `root` only when it is whole.

    Args:
        root: Folder of the set; its parents are created.
        train, val: Number of images of either side.
        seed: Non-negative; another seed gives another world.

    Raises:
        UserError: A number is out of range, or `root` holds something that is not part of a drawn sample; nothing is
            deleted.
    """
    if train < 2 or val < 1 or seed < 0:
        raise UserError(f"data.train={train}, data.val={val}, data.draw_seed={seed}; expected at least 2, 1 and 0")
    counts = {"train": train, "val": val}
    wanted = {"format": FORMAT, "version": VERSION, **counts, "seed": seed}
    files = {f"{side}/photo_*.jpg": count for side, count in counts.items()} | dict.fromkeys(TABLES.values(), 1)
    keep_sample(root, wanted, files, lambda folder: _draw_into(folder, counts, seed))


def _draw_into(root: Path, counts: dict[str, int], seed: int) -> None:
    world = World(seed)
    with counted("drawing the geotagged sample", sum(counts.values())) as drawn:
        for side, (name, count) in enumerate(counts.items()):
            (root / name).mkdir(parents=True)
            everyone = people(world, count, seed, side)
            with (root / TABLES[name]).open("w", encoding="utf-8", newline="") as file:
                rows = csv.writer(file)
                rows.writerow(COLUMNS)
                for index in range(count):
                    rng = np.random.default_rng((seed, 2, side, index))
                    person = everyone[index if index < len(everyone) else rng.integers(len(everyone))]
                    lat, lon, continent = world.place(rng, person.home)
                    look = world.look(rng, lat, lon, continent)
                    image = draw_image(rng, look, person.tint)
                    path = f"{name}/photo_{index + 1:05d}.jpg"
                    quality = int(rng.integers(*QUALITY, endpoint=True))
                    (root / path).write_bytes(encode_image(image, "JPEG", quality=quality))
                    rows.writerow([path, lat, lon, person.name, moment(rng).isoformat(" ")[:19]])
                    drawn()
