"""The outlines of S2 cells on a map with straight meridians and parallels."""

import numpy as np

from tasks.planet import s2
from tasks.planet.s2 import Floats, Ids
from tasks.planet.sphere import coordinates

STEPS = 64  # points a side of a face; a side is a great circle, so curved on the map. Each level has half as many
FEWEST = 2
AT_POLE = 90 - 1e-6  # degrees of latitude


def outlines(ids: Ids) -> tuple[list[Floats], list[int]]:
    """Polygons that show cells on a map from -180 to 180 degrees of longitude, and which cell each belongs to.

    A polygon is (P, 2), longitude and latitude in degrees. A cell that crosses the date line has two, which stick out
    to either side of the map.
    """
    polygons, owners = [], []
    for index, (corners, level) in enumerate(zip(s2.corners(ids), s2.levels(ids).tolist(), strict=True)):
        polygon = outline(corners, max(FEWEST, STEPS >> level))
        for turn in (-360, 0, 360):
            west, east = polygon[:, 0].min() + turn, polygon[:, 0].max() + turn
            if west < 180 and east > -180:
                polygons.append(polygon + np.array([turn, 0]))
                owners.append(index)
    return polygons, owners


def outline(corners: Floats, steps: int) -> Floats:
    """The polygon (P, 2), longitude and latitude, of a cell with these corners (4, 3); longitudes run on over 180.

    The poles are lines on the map. A corner at a pole is the line between its neighbours' meridians; a face around a
    pole has all of the line.
    """
    share = np.arange(steps)[:, None] / steps
    sides = [a + share * (b - a) for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True)]
    lat, lon = coordinates(np.concatenate(sides)).T
    polygon = np.stack([lon, lat], axis=1)
    for index in np.flatnonzero(np.abs(lat) > AT_POLE)[::-1].tolist():
        neighbours = polygon[[index - 1, (index + 1) % len(lon)], 0]
        pole = [(turn, lat[index]) for turn in neighbours]
        polygon = np.concatenate([polygon[:index], pole, polygon[index + 1 :]])
    polygon = np.concatenate([polygon, polygon[:1]])
    polygon[:, 0] = np.unwrap(polygon[:, 0], period=360)
    (first, _), (last, _) = polygon[0], polygon[-1]
    if abs(last - first) > 180:
        pole = np.copysign(90, lat.mean())
        polygon = np.concatenate([polygon, [(last, pole), (first, pole)]])
    return polygon
