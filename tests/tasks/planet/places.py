"""Places as photos have them: most of them in few towns, some anywhere; and tables of them.

python -m tests.tasks.planet.places 1000000 photos.csv      (or .parquet; written in chunks)
"""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from tasks.planet.sphere import coordinates

TOWNS = 20_000
ANYWHERE = 0.02  # of the photos
SPREAD = (0.2, 20.0)  # km that photos lie from the middle of the tightest and of the widest town, roughly
CHUNK = 1_000_000


def draw_places(count: int, seed: int = 0) -> NDArray[np.float64]:
    """(count, 2) latitudes and longitudes. The towns are the same for every seed."""
    towns = np.random.default_rng(2016)
    middles = towns.standard_normal((TOWNS, 3))
    middles /= np.linalg.norm(middles, axis=1, keepdims=True)
    weights = 1 / np.arange(1, TOWNS + 1)
    spread = np.exp(towns.uniform(np.log(SPREAD[0]), np.log(SPREAD[1]), TOWNS)) / 6371
    rng = np.random.default_rng(seed)
    town = rng.choice(TOWNS, count, p=weights / weights.sum())
    distance = spread[town] * np.exp(rng.standard_normal(count))
    points = middles[town] + distance[:, None] * rng.standard_normal((count, 3))
    scattered = rng.random(count) < ANYWHERE
    points[scattered] = rng.standard_normal((int(scattered.sum()), 3))
    return np.round(coordinates(points), 6)


def edge_places() -> NDArray[np.float64]:
    """(N, 2) places where mistakes are likely: poles, the date line, faces' edges and corners, whole degrees."""
    lat, lon = np.meshgrid(np.arange(-90.0, 91), np.arange(-180.0, 181))
    corner = np.degrees(np.arctan(1 / np.sqrt(2)))
    special = np.array([(sign * corner, turn) for sign in (-1, 1) for turn in (-135, -45, 45, 135)])
    near = [special + np.array(shift) * 1e-13 for shift in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (1, 1))]
    dates = np.array([(x, s * np.nextafter(180.0, 0)) for x in range(-90, 91) for s in (-1, 1)])
    return np.concatenate([np.stack([lat.ravel(), lon.ravel()], axis=1), *near, dates])


def write_table(file: Path, count: int) -> None:
    """A table of `path,lat,lon`, .csv or .parquet."""
    schema = pa.schema([("path", pa.string()), ("lat", pa.float64()), ("lon", pa.float64())])
    kind = pyarrow.csv.CSVWriter if file.suffix == ".csv" else pyarrow.parquet.ParquetWriter
    with kind(file, schema) as writer:
        for start in range(0, count, CHUNK):
            lat, lon = draw_places(min(CHUNK, count - start), seed=start).T
            names = [f"photos/{start + k:09d}.jpg" for k in range(len(lat))]
            writer.write_table(pa.table({"path": names, "lat": lat, "lon": lon}, schema))


if __name__ == "__main__":
    write_table(Path(sys.argv[2]), int(sys.argv[1]))
