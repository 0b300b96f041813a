"""From what a network believes of the cells to one place on earth."""

import numpy as np
from numpy.typing import ArrayLike

from tasks.planet.cells import Cells
from tasks.planet.s2 import Floats
from tasks.planet.sphere import coordinates, unit_vectors
from tasks.shared.errors import UserError

ANSWERS = ("best_cell", "weighted")
PLACES = ("centre", "mean")
SPREAD = 1e-6  # length of a mean vector, of 1: below it beliefs balance all over the globe, and there is no middle


def locate(probabilities: ArrayLike, cells: Cells, answer: str = "best_cell", place: str = "centre") -> Floats:
    """One place for each photo, (B, 2) latitude and longitude in degrees.

    Args:
        probabilities: (B, C) of the cells, 0 to 1.
        answer: "best_cell", the place of the most probable cell (Weyand et al. 2016); "weighted", the mean of all
            cells' places on the sphere, weighted by their probability. Where that has no middle, the best cell's.
        place: of a cell: its "centre", or the "mean" of its photos.
    """
    values = np.asarray(probabilities, np.float64)
    places = cells.centres if place == "centre" else cells.means
    best = places[values.argmax(1)]
    if answer == "best_cell":
        return best
    middles = values @ unit_vectors(*places.T)
    clear = np.linalg.norm(middles, axis=1) > SPREAD * values.sum(1)
    return np.where(clear[:, None], coordinates(middles), best)


def check_answer(answer: str, place: str) -> None:
    """Raise UserError for arguments that `locate` does not have."""
    for key, value, known in (("answer", answer, ANSWERS), ("place", place, PLACES)):
        if value not in known:
            raise UserError(f"task.{key}={value!r}; expected one of {', '.join(known)}")
