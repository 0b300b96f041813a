"""How far off answers are."""

import numpy as np
from numpy.typing import ArrayLike

# Street, city, region, country, continent (Table 11; Weyand et al. 2016, Table 1).
THRESHOLDS_KM = (1, 25, 200, 750, 2500)


def distance_metrics(errors_km: ArrayLike) -> dict[str, float]:
    """Figures of (N,) distances between answer and truth in kilometres; none of none.

    `within_1km` ... `within_2500km`: the share, 0 to 1, of answers at most so far off; `median_km`.
    """
    errors = np.asarray(errors_km, np.float64)
    if errors.size == 0:
        return {}
    shares = {f"within_{limit}km": float((errors <= limit).mean()) for limit in THRESHOLDS_KM}
    return shares | {"median_km": float(np.median(errors))}
