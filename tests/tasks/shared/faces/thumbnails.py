"""What thumbnails of 16x16 pixels alone tell of the drawn faces: attributes by logistic regression, people by distance.

python -m tests.tasks.shared.faces.thumbnails data/celeba_sample data/lfw_sample
"""

import sys

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_curve

from tasks.shared.faces.data import celeba_sample, lfw_sample
from tasks.shared.faces.dataset import FaceData
from tasks.shared.images.crops import center_crop
from tasks.shared.images.decode import to_pil

SIDE, FAR = 16, 1e-2
CUT = {"celeba": 0.85, "lfw": 0.6}  # crop_share, as configs/data


def attribute_precision(root: str, train: int, val: int) -> dict[str, float]:
    """Average precision of each attribute on `val` images; that of the best of three strengths on average."""
    data = celeba_sample(root, train=train, val=val, resolution=SIDE)
    seen, unseen = (thumbnails(data, split, CUT["celeba"]) for split in ("train", "val"))
    known, asked = (data.faces[split].attributes for split in ("train", "val"))
    assert known is not None and asked is not None
    found = []
    for strength in (1e-4, 1e-3, 1e-2):
        model = LogisticRegression(C=strength, max_iter=1000)
        scores = [model.fit(seen, known[:, k]).decision_function(unseen) for k in range(known.shape[1])]
        found.append([average_precision_score(asked[:, k], scores[k]) for k in range(known.shape[1])])
    best = max(found, key=np.mean)
    return dict(zip(data.info["attributes"], map(float, best), strict=True))


def verification(root: str, **counts: int) -> dict[str, float]:
    """VAL at a FAR of 1e-2 over all pairs of test images: by thumbnails, by such of one brightness and contrast, by
    mean colours."""
    data = lfw_sample(root, **counts, splits=("val",), pairs=None, resolution=SIDE)
    people, rows = data.identities("val"), thumbnails(data, "val", CUT["lfw"])
    assert people is not None
    even = rows - rows.mean(1, keepdims=True)
    features = {
        "thumbnails": rows,
        "evened": even / np.linalg.norm(even, axis=1, keepdims=True),
        "colours": rows.reshape(len(rows), -1, 3).mean(1),
    }
    return {name: val_at_far(values, people) for name, values in features.items()}


def val_at_far(features: np.ndarray, people: np.ndarray) -> float:
    """The share of pairs of one person (N, D), (N,) that are accepted where at most FAR of the others are."""
    first, second = np.triu_indices(len(people), 1)
    distances = np.square(features[first] - features[second]).sum(1)
    false, true, _ = roc_curve(people[first] == people[second], -distances, drop_intermediate=False)
    return float(true[false <= FAR].max())


def thumbnails(data: FaceData, split: str, share: float) -> np.ndarray:
    """(N, 768), what evaluation sees, about -2 to 2."""
    images = data.images_of(split)
    rows = []
    for k in range(len(images.labels)):
        image = to_pil(center_crop(images.read(k), 8 * SIDE, "short_side", share))
        rows.append(np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX), np.float32).ravel())
    return (np.stack(rows) - 128) / 64


if __name__ == "__main__":
    precision = attribute_precision(sys.argv[1], 3000, 600)
    for name, value in precision.items():
        print(f"{name:18} {value:.3f}")
    print(f"mean               {np.mean(list(precision.values())):.3f}")
    print({name: round(value, 3) for name, value in verification(sys.argv[2]).items()})
