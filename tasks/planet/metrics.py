"""How far off answers are."""

from functools import cache

import numpy as np
from numpy.typing import ArrayLike

from tasks.planet.s2 import Floats, all_of_level, centres
from tasks.planet.sphere import coordinates, unit_vectors

# Street, city, region, country, continent (Table 11; Weyand et al. 2016, Table 1).
THRESHOLDS_KM = (1, 25, 200, 750, 2500)
GRID_LEVEL = 5  # 6144 S2 cells, about 290 km wide
MOST = 1000  # photos that the best single place is chosen by


def distance_metrics(errors_km: ArrayLike) -> dict[str, float]:
    """Figures of (N,) distances between answer and truth in kilometres; none of none.

    `within_1km` ... `within_2500km`: the share, 0 to 1, of answers at most so far off; `median_km`.
    """
    errors = np.asarray(errors_km, np.float64)
    if errors.size == 0:
        return {}
    shares = {f"within_{limit}km": float((errors <= limit).mean()) for limit in THRESHOLDS_KM}
    return shares | {"median_km": float(np.median(errors))}


def best_single_place(lat: ArrayLike, lon: ArrayLike) -> Floats:
    """The place (2,), in degrees, from which the median distance to these (N,) places is least.

    It is what a network comes to that looks at nothing; being chosen with the truth known, it is the best of them.
    Candidates are the places themselves and the centres of a grid over the earth (cells of `GRID_LEVEL`); of more than
    `MOST` places as many, evenly spaced in their order, are looked at.
    """
    points = unit_vectors(lat, lon)
    chosen = points[np.linspace(0, len(points) - 1, min(len(points), MOST)).round().astype(int)]
    candidates = np.concatenate([chosen, _grid()])
    nearness = np.median(candidates @ chosen.T, axis=1)  # cosines fall as distances rise
    return coordinates(candidates[nearness.argmax()])


@cache
def _grid() -> Floats:
    return unit_vectors(*centres(all_of_level(GRID_LEVEL)).T)
