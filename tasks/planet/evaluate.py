"""Great-circle errors of answers, in the figures of Table 11."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks.planet.cells import Cells
from tasks.planet.dataset import PlaceTarget
from tasks.planet.metrics import best_single_place, distance_metrics
from tasks.planet.s2 import Floats
from tasks.planet.sphere import great_circle_km
from tasks.planet.table11 import table11
from tasks.shared.files.writing import write_rows, write_text
from tasks.shared.processes.gathering import gathered

log = logging.getLogger(__name__)


class PlaceEvaluator:
    """Collects one place for each photo, as `tasks.shared.contract.Evaluator`.

    Args:
        cells: the network's.
        locate: from cells and results to places (B, 2), latitude and longitude in degrees.
    """

    def __init__(self, cells: Cells, locate: Callable[[Cells, list[Any]], Floats]):
        self.cells, self.locate = cells, locate
        self.reset()

    def reset(self) -> None:
        self.indices: list[int] = []  # of the photos in the data
        self.files: list[str] = []
        self.rows: list[tuple[float, ...]] = []  # truth and answer in degrees, the best cell and its probability

    def update(self, results: Sequence[Any], targets: Sequence[PlaceTarget]) -> None:
        """results: `probabilities` (C,); targets: `index`, `file`, `lat`, `lon`."""
        places = self.locate(self.cells, list(results)).tolist()
        for result, target, (lat, lon) in zip(results, targets, places, strict=True):
            best = int(result.probabilities.argmax())
            self.indices.append(target["index"])
            self.files.append(target["file"])
            self.rows.append((target["lat"], target["lon"], lat, lon, best, result.probabilities[best].item()))

    def gather(self) -> None:
        """Under DDP: every process gets the answers of all."""
        self.indices, self.files, self.rows = gathered(self.indices, self.files, self.rows)

    def compute(self) -> dict[str, float]:
        """`within_1km` ... `within_2500km`, `median_km`, and `best_place_median_km`: the median error of the one place
        that is best for all photos, see `best_single_place`."""
        if not self.rows:
            return {}
        truth, _, errors = self._errors()
        place = best_single_place(*truth.T)
        constant = float(np.median(great_circle_km(*truth.T, *place)))
        return distance_metrics(errors) | {"best_place_median_km": constant}

    def save(self, folder: Path) -> None:
        """predictions.csv, and table11.md, which is printed too."""
        truth, predictions, errors = self._errors()
        rows = [["file", "lat", "lon", "answer_lat", "answer_lon", "km", "cell", "probability"]]
        for k, name in enumerate(self.files):
            best, probability = self.rows[k][4:]
            places = [f"{x:.6f}" for x in (*truth[k], *predictions[k])]
            token = self.cells.tokens[int(best)]
            rows.append([name, *places, f"{errors[k]:.3f}", token, f"{probability:.6f}"])
        write_rows(folder / "predictions.csv", rows, "output")
        table = table11(distance_metrics(errors), len(errors))
        write_text(folder / "table11.md", table, "output")
        log.info("%s", table)

    def _errors(self) -> tuple[Floats, Floats, Floats]:
        """Truth (N, 2) and answers (N, 2) in degrees, and kilometres between them (N,)."""
        values = np.array(self.rows)
        truth, predictions = values[:, :2], values[:, 2:4]
        return truth, predictions, great_circle_km(*truth.T, *predictions.T)
