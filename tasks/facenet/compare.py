"""Whether two images show one person."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tasks.facenet.draw import Shown, draw_pair
from tasks.facenet.pairs import Floats, listed_distances
from tasks.shared.files.writing import write_image, write_text
from tasks.shared.images.decode import read_image, to_pil
from tasks.shared.terminal.escaped import printable

log = logging.getLogger(__name__)


def compare_two(files: tuple[Path, Path], vectors: Floats, threshold: float | None, output: Path) -> None:
    """Tell the squared distance of two images, of embeddings (2, D), and below `threshold` that they show one person.

    Leaves comparison.json and comparison.jpg in `output`.
    """
    distance = float(listed_distances(vectors, np.array([[0, 1]]))[0])
    one = None if threshold is None else distance < threshold
    verdict = {None: "no verdict", True: "one person", False: "two persons"}[one]
    limit = "no threshold: give task.threshold=..." if threshold is None else f"threshold {threshold:.4f}"
    message = f"distance {distance:.4f}: {verdict} ({limit})"
    first, second = map(printable, files)
    content = {"first": first, "second": second, "distance": distance, "threshold": threshold, "one_person": one}
    write_text(output / "comparison.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n", "output")
    left, right = (to_pil(read_image(file, exif=True)) for file in files)
    write_image(output / "comparison.jpg", draw_pair(Shown(left, right, distance), message), "output")
    log.info("%s and %s: %s", first, second, message)


def threshold_of(own: float | None, figures: Mapping[str, float]) -> float | None:
    """The threshold that was set, or that of a run's figures, if any."""
    return own if own is not None else figures.get("threshold")
