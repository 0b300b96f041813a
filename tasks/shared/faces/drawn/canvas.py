"""A head in space and a canvas: points of the face, turned as the head is, become pixels."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

FINE = 2  # drawn so many times larger, for smooth edges
DEEP = 0.95  # of the head, from its axis to the face
Points = NDArray[np.float64]
Knots = Points | Sequence[tuple[float, float]]
Depth = Points | float | None
Tone = tuple[float, float, float]  # red, green, blue, 0 to 255


class Pose(NamedTuple):
    """How a head stands in the image.

    turn, nod, tilt: radians. scale: pixels a unit. x, y: pixels, where the point between the eyes of a head that looks
    straight ahead would be. long: of the face, over the usual length.
    """

    turn: float
    nod: float
    tilt: float
    scale: float
    x: float
    y: float
    long: float

    def matrix(self) -> Points:
        """(4, 2): times a point's (x, y, depth, 1) it gives pixels."""
        turned = np.array([(math.cos(self.turn), 0, math.sin(self.turn)), (0, self.long, 0),
                           (-math.sin(self.turn), 0, math.cos(self.turn))])  # fmt: skip
        nodded = np.array([(1, 0, 0), (0, math.cos(self.nod), -math.sin(self.nod))])
        tilted = np.array([(math.cos(self.tilt), -math.sin(self.tilt)), (math.sin(self.tilt), math.cos(self.tilt))])
        return np.concatenate([self.scale * (tilted @ nodded @ turned).T, [(self.x, self.y)]])


def surface(points: Points) -> Points:
    """Depth of the face at points (..., 2), (...)."""
    squares = points * points
    inside = 1 - squares[..., 0] / 1.06**2 - squares[..., 1] / 1.75**2
    return DEEP * np.sqrt(np.maximum(inside, 0, out=inside))


class Canvas:
    """Draws in colours 0 to 255 on an image, FINE times as large as what `finished` gives.

    Points (N, 2) are of the head: in half widths of it, x to the right, y down from the eyes. Their depth, (N,) or one
    for all, is before the head's axis; None is on the face.
    """

    def __init__(self, image: Image.Image, pose: Pose):
        self.large, self.pose = image, pose
        self.draw, self.matrix = ImageDraw.Draw(image, "RGBA"), FINE * pose.matrix()

    def finished(self) -> Image.Image:
        return self.large.reduce(FINE)

    def place(self, points: Points, depth: Depth = None) -> Points:
        """Points (..., 2) in the canvas' pixels; depth: (...)."""
        z = surface(points) if depth is None else np.asarray(depth)
        pixels = points @ self.matrix[:2]
        pixels += z[..., None] * self.matrix[2] + (self.matrix[3] - 0.5)  # PIL counts from pixel centres
        return pixels

    def fill(self, points: Points, tone: Tone, alpha: float = 1.0, depth: Depth = None) -> None:
        self.draw.polygon(self.place(points, depth).ravel().tolist(), _ink(tone, alpha))

    def line(self, points: Points, tone: Tone, width: float, alpha: float = 1.0, depth: Depth = None) -> None:
        """width: units."""
        self.draw.line(self.place(points, depth).ravel().tolist(), _ink(tone, alpha), self._pixels(width), "curve")

    def hairs(self, lines: Points, tones: Sequence[Tone], width: float, alpha: float, depth: Depth = None) -> None:
        """Many thin lines (K, N, 2), each of its tone."""
        wide = self._pixels(width)
        for line, tone in zip(self.place(lines, depth).reshape(len(lines), -1).tolist(), tones, strict=True):
            self.draw.line(line, _ink(tone, alpha), wide)

    def glow(self, points: Points, tone: Tone, alpha: float, steps: int = 5, depth: Depth = None) -> None:
        """A polygon with a soft edge, `alpha` in its middle."""
        corners, ink = self.place(points, depth), _ink(tone, alpha / steps)
        middle = corners.mean(0)
        for step in range(steps):
            self.draw.polygon((middle + (corners - middle) * (1 - step / steps)).ravel().tolist(), ink)

    def _pixels(self, width: float) -> int:
        return max(round(FINE * self.pose.scale * width), 1)


def _ink(tone: Tone, alpha: float) -> tuple[int, int, int, int]:
    red, green, blue = tone
    return int(red), int(green), int(blue), int(255 * min(alpha, 1))


def mix(first: Tone, second: Tone, share: float) -> Tone:
    """A colour between two."""
    return (
        first[0] + (second[0] - first[0]) * share,
        first[1] + (second[1] - first[1]) * share,
        first[2] + (second[2] - first[2]) * share,
    )


@lru_cache
def _weights(count: int, closed: bool, fine: int) -> Points:
    """(M, count): what each knot has to say in each point of Catmull and Rom's cubic through them."""
    t = (np.arange(fine) / fine)[:, None]
    cubic = 0.5 * np.hstack(
        [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3]
    )  # of the knot before, the two that the point is between, the one after
    pieces = count if closed else count - 1
    weights = np.zeros((pieces, fine, count))
    for piece in range(pieces):
        for place in range(4):
            knot = piece + place - 1
            knot = knot % count if closed else min(max(knot, 0), count - 1)
            weights[piece, :, knot] += cubic[:, place]
    flat = weights.reshape(-1, count)
    return flat if closed else np.concatenate([flat, np.eye(count)[-1:]])


def curve(knots: Knots, closed: bool = True, fine: int = 6) -> Points:
    """A smooth line through knots (..., N, 2), `fine` pieces from each to the next."""
    through = np.asarray(knots, float)
    return _weights(through.shape[-2], closed, fine) @ through


@lru_cache
def _circle(count: int) -> Points:
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return xy(np.cos(angle), np.sin(angle))


def ellipse(x: float, y: float, wide: float, high: float, count: int = 20) -> Points:
    return _circle(count) * (wide, high) + (x, y)


def xy(x: Points, y: Points) -> Points:
    """Points (N, 2)."""
    points = np.empty((len(x), 2))
    points[:, 0], points[:, 1] = x, y
    return points


def band(x: Points, above: Points, below: Points) -> Points:
    """The outline (2 N, 2) of what lies between two lines y over the same x (N,)."""
    return np.concatenate([xy(x, above), xy(x, below)[::-1]])


def mirrored(points: Points) -> Points:
    """The same on the other side."""
    return points * (-1, 1)


def both_sides(right: Knots) -> Points:
    """A closed outline of its right half, from the top to the bottom."""
    half = np.asarray(right, float)
    return np.concatenate([half, mirrored(half[half[:, 0] != 0][::-1])])
