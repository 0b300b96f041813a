"""Geolocation by logistic regression on thumbnails of 16x16 pixels: what colours and their places alone tell.

python -m tests.tasks.planet.thumbnails data/geotagged_sample
"""

import sys

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression

from tasks.planet.data import geotagged_sample
from tasks.planet.dataset import GeotaggedData
from tasks.planet.metrics import distance_metrics
from tasks.planet.sphere import great_circle_km

LIMITS = {"max_photos": None, "min_photos": None, "min_level": 2, "max_level": 6}  # as configs/data/geotagged_sample
SIDE = 16


def thumbnail_errors(root: str, train: int, val: int) -> dict[str, float]:
    """`distance_metrics` of the best of three strengths of regularisation, chosen with the truth known."""
    data = geotagged_sample(root, train=train, val=val, draw_seed=0, partition=LIMITS, resolution=32)
    assert data.cells is not None
    (seen, labels), (unseen, _) = (_features(data, split) for split in ("train", "val"))
    photos, figures = data.photos["val"], []
    for strength in (1e-4, 1e-3, 1e-2):
        model = LogisticRegression(C=strength, max_iter=1000).fit(seen, labels)
        answers = data.cells.means[model.predict(unseen)]
        figures.append(distance_metrics(great_circle_km(photos.lat, photos.lon, *answers.T)))
    return min(figures, key=lambda found: found["median_km"])


def _features(data: GeotaggedData, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Standardised thumbnails (N, 768) and labels (N,)."""
    images = data.images[split]
    rows = []
    for k in range(len(images.labels)):
        image = Image.fromarray(images.read(k).permute(1, 2, 0).numpy())
        rows.append(np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX), np.float32).ravel())
    features = np.stack(rows)
    return (features - 128) / 64, images.labels


if __name__ == "__main__":
    print(thumbnail_errors(sys.argv[1], 3000, 600))
