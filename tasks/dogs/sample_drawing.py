"""One image of the drawn dogs sample: a cartoon dog in side view on clutter.

Twelve breeds, four kinds of ears by three kinds of tails; nothing else tells them apart. Build, stance, the way it
faces, coat, size, place, light and clutter are random in every breed.
A dog is made of strokes: a middle line [n, 2] (x, y) and the radius at each of its points [n]. They are laid out in
units of its trunk's length, x forward and y down, and brought into the image's pixels at the end.
"""

import math
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from tasks.shared.samples.drawing import any_colour, background, lighten, noise, photograph

EARS = ("prick", "round", "drop", "folded")
TAILS = ("flag", "curl", "bob")

MIDDLE_SIDE = (138.0, 174.0)  # pixels: geometric mean of an image's two sides
PROPORTION = 0.14  # at most, either way: logarithm of a side over that mean, so that sides are 120 to 200 pixels
SIZE = (0.75, 0.95)  # longer side of a dog's box, as a share of the image's short side
CROP = 0.875  # of the short side: the usual central crop, which keeps ears and tail
OFF_CROP = 0.02  # of the short side: how far a dog may lie beyond its place in that crop; never out of the image
TURN = 0.16  # radians, at most, either way
SATURATION = (0.1, 0.8)  # of coats
CLUTTER_SATURATION = (0.0, 0.5)
RIM = 0.022  # width of the line around each part
FINE = 3  # dogs are drawn this many times larger, then averaged down, for smooth edges
COVERED_SHARE = 0.35  # of the web images have two small pieces in front of the dog
PIECE_SIZE = (0.03, 0.06)  # radius of such a piece, as a share of the short side

Array = np.ndarray


class Stroke(NamedTuple):
    middle: Array  # [n, 2]
    radii: Array  # [n]


class Group(NamedTuple):
    """Strokes with one line around them all."""

    strokes: list[Stroke]
    shade: float = 1.0  # times the coat's colour
    ink: float = 0.0  # share of the line's own colour


def _unit(angle: Array) -> Array:
    return np.stack([np.cos(angle), np.sin(angle)], -1)


def _towards(start: Array, degrees: float, length: float) -> Array:
    """The point at `length` from `start`; 0 degrees is forward, 90 up."""
    angle = math.radians(degrees)
    return start + length * np.array([math.cos(angle), -math.sin(angle)])


def _line(*ends: tuple[Array, float]) -> Stroke:
    """Straight from point to point, each with its radius."""
    return Stroke(np.array([point for point, _ in ends], float), np.array([radius for _, radius in ends], float))


def _curve(start: Array, over: Array, end: Array, radii: tuple[float, float, float]) -> Stroke:
    """Quadratic Bezier curve, the radii too."""
    t = np.linspace(0, 1, 12)[:, None]
    weights = np.hstack([(1 - t) ** 2, 2 * t * (1 - t), t**2])
    return Stroke(weights @ np.stack([start, over, end]), weights @ np.array(radii))


def _outline(stroke: Stroke, wider: float) -> Array:
    """Corners [m, 2] around a stroke: one side, the round end, the other side, the round start."""
    middle, radii = stroke.middle, (stroke.radii + wider)[:, None]
    forward = np.gradient(middle, axis=0)
    angle = np.arctan2(forward[:, 1], forward[:, 0])
    half_turn = np.linspace(np.pi / 2, -np.pi / 2, 12)
    return np.concatenate(
        [
            middle + radii * _unit(angle + np.pi / 2),
            middle[-1] + radii[-1] * _unit(angle[-1] + half_turn),
            (middle + radii * _unit(angle - np.pi / 2))[::-1],
            middle[0] + radii[0] * _unit(angle[0] + np.pi + half_turn),
        ]
    )


def _ear(rng: np.random.Generator, kind: str, root: Array) -> list[list[Stroke]]:
    """Groups of strokes of an ear whose root is on the head at `root`."""
    length, lean = rng.uniform(0.45, 0.58), rng.uniform(85, 120)
    if kind == "prick":
        return [[_line((root, 0.15), (_towards(root, lean, length), 0.005))]]
    if kind == "round":
        return [[_line((root, 0.1), (_towards(root, lean, 0.42 * length), 0.42 * length))]]
    if kind == "drop":
        over, end = _towards(root, 160, 0.2), _towards(root, rng.uniform(250, 275), length + 0.03)
        return [[_curve(root, over, end, (0.06, 0.2, 0.11))]]
    fold = _towards(root, lean, 0.58 * length)
    tip = _towards(fold, lean - rng.uniform(115, 140), 0.62 * length)
    return [[_line((root, 0.15), (fold, 0.08))], [_line((fold, 0.1), (tip, 0.005))]]


def _tail(rng: np.random.Generator, kind: str, root: Array) -> Stroke:
    thick = rng.uniform(0.065, 0.095)
    if kind == "flag":
        lean, length = rng.uniform(85, 120), rng.uniform(0.65, 0.85)
        middle = _towards(root, lean + rng.uniform(-20, 35), length / 2)
        return _curve(root, middle, _towards(root, lean, length), (thick, thick, 0.6 * thick))
    if kind == "curl":
        radius, sweep = rng.uniform(0.23, 0.29), rng.uniform(1.6, 1.75) * np.pi
        turns = np.linspace(0, sweep, 20)
        winding = radius * (1 - 0.25 * turns / sweep)[:, None]
        centre = root + np.array((0.35 * radius, -radius))
        return Stroke(centre + winding * _unit(2.1 + turns), np.linspace(thick, 0.7 * thick, 20))
    return _line((root, thick), (_towards(root, rng.uniform(110, 150), rng.uniform(0.08, 0.13)), 0.8 * thick))


def _leg(rng: np.random.Generator, hip: Array, ground: float, thick: float, step: float) -> list[Stroke]:
    foot = np.array([hip[0] + step, ground])
    knee = (hip + foot) / 2 + (rng.uniform(-0.07, 0.07), 0)
    thigh = _curve(hip, knee, foot, (1.5 * thick, thick, 0.8 * thick))
    return [thigh, _line((foot, 0.8 * thick), (foot + np.array((0.06, 0)), 0.75 * thick))]


def _dog(rng: np.random.Generator, ears: str, tail: str) -> list[Group]:
    """Parts of a dog that faces right, those behind first."""
    rump, chest = rng.uniform(0.16, 0.22), rng.uniform(0.19, 0.25)
    back, front = np.array([-0.4, 0.0]), np.array([0.4, rng.uniform(-0.06, 0.03)])
    belly = rng.uniform(0.13, 0.2)
    trunk = _line((back, rump), ((back + front) / 2 + (0, rng.uniform(-0.03, 0.03)), belly), (front, chest))
    skull, head = rng.uniform(0.18, 0.22), _towards(front, rng.uniform(35, 75), rng.uniform(0.36, 0.46))
    neck = _line((front - (0.02, 0.06), 0.7 * chest), (head, 0.7 * skull))
    facing = rng.uniform(-28, 8)
    nose = _towards(head, facing, skull + rng.uniform(0.09, 0.22))
    snout = _line((_towards(head, facing - 25, 0.4 * skull), 0.6 * skull), (nose, rng.uniform(0.07, 0.1)))
    ball = Stroke(head + np.array([(-0.001, 0), (0.001, 0)]), np.full(2, skull))

    thick, ground = rng.uniform(0.055, 0.08), rng.uniform(0.45, 0.62)
    steps = rng.uniform(-0.14, 0.14, 4)
    hips = [
        back + np.array((0, 0.05)),
        front + np.array((-0.02, 0.08)),
        back + np.array((0.06, 0.03)),
        front + np.array((0.06, 0.05)),
    ]
    legs = [_leg(rng, hip, ground, thick, step) for hip, step in zip(hips, steps, strict=True)]

    eye = _towards(head, facing + rng.uniform(20, 40), 0.5 * skull)
    far_ear = _ear(rng, ears, _towards(head, facing + rng.uniform(78, 88), 0.75 * skull))
    near_ear = _ear(rng, ears, _towards(head, facing + rng.uniform(125, 140), 0.75 * skull))
    near, far = rng.uniform(0.8, 1.25), rng.uniform(0.6, 0.8)
    return [
        *(Group(part, far) for part in far_ear),
        *(Group(leg, far) for leg in legs[2:]),
        Group([_tail(rng, tail, back + np.array((-0.7 * rump, -0.6 * rump)))], rng.uniform(0.85, 1.15)),
        Group([trunk, neck, ball, snout, *legs[0], *legs[1]]),
        Group([_line((nose - (0.005, 0.03), 0.035), (nose + np.array((0.02, -0.03)), 0.035))], ink=1),
        Group([_line((eye, 0.025), (eye + np.array((0.01, 0)), 0.025))], ink=1),
        *(Group(part, near) for part in near_ear),
    ]


def _coat(rng: np.random.Generator, width: int, height: int) -> tuple[Array, tuple[int, int, int]]:
    """Colours [height, width, 3] and the colour of lines on them."""
    colours = np.array([any_colour(rng, SATURATION) for _ in range(2)], np.float32)
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    pattern = rng.integers(5)
    if pattern == 0:  # plain
        mix: Array = np.zeros((height, width), np.float32)
    elif pattern == 1:  # a saddle, or a pale belly
        mix = np.sign(rng.uniform(-1, 1)) * (y + 0.3 * x * rng.uniform(-1, 1)) * 6
    elif pattern == 2:  # brindle
        mix = 2 * np.sin(rng.uniform(12, 30) * (x + rng.uniform(-0.5, 0.5) * y)) - 0.5
    else:  # patches or spots
        cell = int(rng.integers(4, 8) if pattern == 3 else rng.integers(12, 25))
        mix = noise(rng, width, height, cell, 3) - rng.uniform(-1, 2)
    mix = mix.clip(0, 1)[..., None] * rng.uniform(0.5, 1)
    colour = colours[0] + (colours[1] - colours[0]) * mix
    slope = rng.uniform(-0.2, 0.2, 2).astype(np.float32)  # light falls from one side
    dark = colours.mean() > 105
    return colour * (1 + slope[0] * x + slope[1] * y)[..., None], (20, 16, 14) if dark else (240, 236, 228)


def _draw_dog(rng: np.random.Generator, image: Image.Image, ears: str, tail: str) -> Array:
    """Draw a dog over the middle of `image`; return its box (left, top, right, bottom) in pixels."""
    groups = _dog(rng, ears, tail)
    turn, side = rng.uniform(-TURN, TURN), rng.choice([-1, 1])
    stretch = math.exp(rng.uniform(-0.08, 0.08))
    matrix = np.array([(math.cos(turn), -math.sin(turn)), (math.sin(turn), math.cos(turn))]) * (side * stretch, 1)
    layers = [  # corners and the fill: shade, ink, opacity
        (_outline(stroke, wider) @ matrix.T, fill)
        for group in groups
        for wider, fill in ((RIM, (200, 255, 255)), (0.0, (round(200 * group.shade), round(255 * group.ink), 255)))
        for stroke in group.strokes
    ]
    corners = np.concatenate([outline for outline, _ in layers])
    low, high = corners.min(0), corners.max(0)
    short = min(image.size)
    scale = short * rng.uniform(*SIZE) / (high - low).max()
    extent = (high - low) * scale
    room = np.maximum(CROP * short - extent, 0) / 2 + OFF_CROP * short
    corner = (image.size - extent) / 2 + rng.uniform(-1, 1, 2) * room

    margin = 6  # pixels around the box, for the halo
    left, top = (math.floor(start) - margin for start in corner)
    width, height = (math.ceil(side) + 2 * margin + 1 for side in extent)
    canvas = Image.new("RGB", (width * FINE, height * FINE))
    draw = ImageDraw.Draw(canvas)
    for outline, fill in layers:
        points = ((outline - low) * scale + corner - (left, top)) * FINE - 0.5  # PIL counts from pixel centres
        draw.polygon(points.ravel().tolist(), fill)
    shade, ink, opacity = canvas.reduce(FINE).split()
    coat, line = _coat(rng, width, height)
    coat = coat * (np.asarray(shade, np.float32) / 200)[..., None]
    patch = Image.fromarray(coat.clip(0, 255).astype(np.uint8))
    patch.paste(line, mask=ink)
    halo = opacity.filter(ImageFilter.BoxBlur(3)).point([min(255, 2 * level) * 2 // 3 for level in range(256)])
    image.paste((255 - line[0],) * 3, (left, top), halo)  # so that a dog stands out from clutter of its colours
    image.paste(patch, (left, top), opacity)
    return np.concatenate([corner, corner + extent])


def _scatter(rng: np.random.Generator, image: Image.Image, box: Array, count: int) -> None:
    """Draw `count` small pieces anywhere in `box`."""
    short, canvas = min(image.size), image.resize((2 * image.width, 2 * image.height))
    draw = ImageDraw.Draw(canvas)
    for _ in range(count):
        centre, radius = rng.uniform(box[:2], box[2:]), short * rng.uniform(*PIECE_SIZE)
        corners = centre + radius * _unit(np.sort(rng.uniform(0, 2 * np.pi, 9)))
        draw.polygon((2 * corners).ravel().tolist(), any_colour(rng, SATURATION))
    image.paste(canvas.reduce(2))


def draw_image(rng: np.random.Generator, ears: str, tail: str, web: bool) -> tuple[Image.Image, Array]:
    """A dog on clutter and its box (left, top, right, bottom), pixels from the image's corner.

    Web images are more varied: more clutter, and small pieces in front of some of the dogs.
    """
    middle, proportion = rng.uniform(*MIDDLE_SIDE), math.exp(rng.uniform(-PROPORTION, PROPORTION))
    width, height = round(middle * proportion), round(middle / proportion)
    image = background(rng, width, height, CLUTTER_SATURATION)
    image = lighten(image, noise(rng, width, height, int(rng.integers(15, 50)), 40))
    if web:
        _scatter(rng, image, np.array([0, 0, width, height]), int(rng.integers(4, 16)))
    box = _draw_dog(rng, image, ears, tail)
    if web and rng.random() < COVERED_SHARE:
        _scatter(rng, image, box, 2)
    return photograph(rng, image), box
