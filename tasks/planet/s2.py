"""S2 cells: quadtrees on the six faces of a cube around the earth (s2geometry.io).

A cell is a uint64: three bits of face, two bits a level along a Hilbert curve, a one, zeros. All that lies in a cell is
one range of ids, so sorted ids are a quadtree in depth-first order.

The library is s2rst, a port of Google's. Google's own bindings are slower by coordinate and have no wheels for Linux on
ARM, where torch has; the tests hold the one to the other, bit for bit. Only this file knows the library.
"""

from collections.abc import Iterable, Sequence
from operator import attrgetter

import numpy as np
from numpy.typing import ArrayLike, NDArray
from s2rst import Cell, CellId, LatLng

DEEPEST = 30  # level of the leaves, about 1 cm wide

Ids = NDArray[np.uint64]
Floats = NDArray[np.float64]


def leaf_ids(lat: ArrayLike, lon: ArrayLike) -> Ids:
    """The deepest cells that coordinates lie in.

    lat, lon: (N,) degrees, -90 to 90 and -180 to 180. Returns (N,). Raises ValueError naming the index of one that is
    outside or not finite.
    """
    lat, lon = np.asarray(lat, np.float64), np.asarray(lon, np.float64)
    if lat.ndim != 1 or lat.shape != lon.shape:
        raise ValueError(f"lat {lat.shape} and lon {lon.shape}; expected two arrays of one length")
    outside = ~((np.abs(lat) <= 90) & (np.abs(lon) <= 180))  # NaN too
    if outside.any():
        first = int(outside.argmax())
        raise ValueError(
            f"index {first}: lat={lat[first]}, lon={lon[first]}; expected degrees from -90 to 90 and -180 to 180"
        )
    lon = np.where(lon == -180, 180, lon)  # one meridian, which the library would put into cells on either side
    cells = map(CellId.from_lat_lng, map(LatLng.from_degrees, lat.tolist(), lon.tolist()))
    return np.fromiter(map(attrgetter("id"), cells), np.uint64, len(lat))


def all_of_level(level: int) -> Ids:
    """All cells of a level, 6 * 4^level, ascending."""
    one = 1 << 2 * (DEEPEST - level)
    return np.arange(6 << 2 * level, dtype=np.uint64) * np.uint64(2 * one) + np.uint64(one)


def ancestors(ids: Ids, level: int) -> Ids:
    """The cells of `level`, 0 to 30, that hold these, which are at that level or deeper."""
    one = 1 << 2 * (DEEPEST - level)
    return (ids & np.uint64((1 << 64) - one)) | np.uint64(one)


def levels(ids: Ids) -> NDArray[np.int64]:
    """Level of each cell, 0 to 30."""
    return DEEPEST - np.log2(_lowest_bit(ids).astype(np.float64)).astype(np.int64) // 2


def leaf_ranges(ids: Ids) -> tuple[Ids, Ids]:
    """The first and the last leaf of each cell."""
    reach = _lowest_bit(ids) - np.uint64(1)
    return ids - reach, ids + reach


def _lowest_bit(ids: Ids) -> Ids:
    return ids & (~ids + np.uint64(1))


def tokens(ids: Ids) -> list[str]:
    """Cells as hexadecimal text without trailing zeros, such as `"89c25"`: what S2's tools exchange."""
    return [CellId(i).to_token() for i in ids.tolist()]


def from_tokens(texts: Iterable[str]) -> Ids:
    """The inverse of `tokens`. Raises ValueError for the first one that is none."""
    found = []
    for text in texts:
        cell = CellId.from_token(text)
        if not cell.is_valid() or cell.to_token() != text:
            raise ValueError(f"{text!r} is no token of an S2 cell")
        found.append(cell.id)
    return np.array(found, np.uint64)


def centres(ids: Ids) -> Floats:
    """Each cell's centre, (N, 2) latitude and longitude in degrees."""
    places = [CellId(i).to_lat_lng() for i in ids.tolist()]
    return np.array([(p.lat.degrees, p.lng.degrees) for p in places], np.float64).reshape(-1, 2)


def same_level_neighbours(ids: Ids) -> tuple[Ids, NDArray[np.int64]]:
    """Cells of its own level that touch each cell at a side or a corner, and the index of the one that each touches."""
    found = [CellId(i).all_neighbors(level) or [] for i, level in zip(ids.tolist(), levels(ids).tolist(), strict=True)]
    owners = np.repeat(np.arange(len(ids)), [len(cells) for cells in found])
    return np.array([cell.id for cells in found for cell in cells], np.uint64), owners


def corners(ids: Ids) -> Floats:
    """Each cell's corners, (N, 4, 3) unit vectors, counterclockwise; the sides between them are great circles."""
    cells: Sequence[Cell] = [Cell(CellId(i)) for i in ids.tolist()]
    points = [[cell.vertex(k) for k in range(4)] for cell in cells]
    return np.array([[(p.x, p.y, p.z) for p in four] for four in points], np.float64).reshape(-1, 4, 3)
