"""Places on the sphere: unit vectors, and distances along great circles."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

# The mean radius (2a + b) / 3 of WGS 84's ellipsoid (IUGG); distances along that differ by up to 0.6 %.
EARTH_RADIUS_KM = 6371.0088

Floats = NDArray[np.float64]


def unit_vectors(lat: ArrayLike, lon: ArrayLike) -> Floats:
    """(...) degrees -> (..., 3): x to latitude 0, longitude 0, y to longitude 90, z to the north pole."""
    phi, theta = np.radians(np.asarray(lat, np.float64)), np.radians(np.asarray(lon, np.float64))
    return np.stack([np.cos(phi) * np.cos(theta), np.cos(phi) * np.sin(theta), np.sin(phi)], axis=-1)


def coordinates(vectors: ArrayLike) -> Floats:
    """(..., 3) vectors of any length but 0 -> (..., 2) latitude and longitude in degrees."""
    x, y, z = np.moveaxis(np.asarray(vectors, np.float64), -1, 0)
    return np.degrees(np.stack([np.arctan2(z, np.hypot(x, y)), np.arctan2(y, x)], axis=-1))


def great_circle_km(lat: ArrayLike, lon: ArrayLike, other_lat: ArrayLike, other_lon: ArrayLike) -> Floats:
    """Kilometres between places, in degrees, arrays of shapes that broadcast.

    By Vincenty's formula for the sphere, which is exact for neighbours and antipodes alike; the law of cosines loses
    the former to rounding, the haversine the latter.
    """
    phi, other = np.radians(np.asarray(lat, np.float64)), np.radians(np.asarray(other_lat, np.float64))
    turn = np.radians(np.asarray(other_lon, np.float64) - np.asarray(lon, np.float64))
    east = np.cos(other) * np.sin(turn)
    north = np.cos(phi) * np.sin(other) - np.sin(phi) * np.cos(other) * np.cos(turn)
    along = np.sin(phi) * np.sin(other) + np.cos(phi) * np.cos(other) * np.cos(turn)
    return EARTH_RADIUS_KM * np.arctan2(np.hypot(east, north), along)
