"""One image of the drawn geotagged sample: a street scene that says by its structure where it is.

What stands for the place is the builders' roofs, the kind of trees, a country's road sign, hills and ground. Colours,
weather, light, sizes and places are random everywhere, so that a blurred view says little.
"""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from tasks.planet.sample_world import Look
from tasks.shared.samples.drawing import any_colour, lighten, noise, photograph, rgb

SIDE = (84, 104)  # pixels, of each side
FINE = 2  # drawn so many times larger, for smooth edges
SIGN = (0.24, 0.36)  # of the image's height: radius of a sign is half of it
SIGNED = 0.9  # of the images: a sign is in sight

Array = np.ndarray
Draw = ImageDraw.ImageDraw
Colour = tuple[int, int, int]


# Ranges of hue in degrees and of saturation, one of them at random: what is natural, and no more of it here than there.
SKIES = (((190, 250), (0.05, 0.55)), ((10, 50), (0.05, 0.5)), ((200, 330), (0.0, 0.2)))
GROUNDS = (((20, 50), (0.15, 0.6)), ((60, 140), (0.15, 0.55)), ((20, 260), (0.0, 0.15)))
LEAVES = (((60, 165), (0.25, 0.8)), ((10, 60), (0.3, 0.8)))


def _natural(rng: np.random.Generator, kinds: tuple, value: tuple[float, float] = (0.25, 1)) -> Colour:
    hue, saturation = kinds[rng.integers(len(kinds))]
    return rgb(rng.uniform(*hue), rng.uniform(*saturation), rng.uniform(*value))


def _ngon(count: int, turn: float) -> Array:
    angle = 2 * np.pi * np.arange(count) / count + turn
    return np.stack([np.sin(angle), -np.cos(angle)], 1)


# Signs: a board of one of six shapes with a mark of one of four on it; corners from -1 to 1, y down.
BOARDS = (
    _ngon(40, 0),  # disc
    _ngon(3, 0) * 1.15,  # triangle
    _ngon(3, math.pi) * 1.15,  # on its point
    _ngon(4, 0) * 1.1,  # diamond
    np.array([(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]),  # square
    np.array([(-1.25, -0.55), (1.25, -0.55), (1.25, 0.55), (-1.25, 0.55)]),  # plate
)
MARKS: tuple[tuple[Array, ...], ...] = (
    (np.array([(-0.6, -0.14), (0.6, -0.14), (0.6, 0.14), (-0.6, 0.14)]),),  # bar
    (np.array([(-0.14, -0.5), (0.14, -0.5), (0.14, 0.5), (-0.14, 0.5)]),),  # post
    (_ngon(20, 0) * 0.34,),  # dot
    tuple(_ngon(20, 0) * 0.2 + (x, 0) for x in (-0.42, 0.42)),  # two dots
)


def draw_image(rng: np.random.Generator, look: Look, tint: Array) -> Image.Image:
    """A scene at a place of this look; tint (3,): what the camera does to red, green and blue."""
    width, height = rng.integers(*SIDE, 2, endpoint=True).tolist()
    size = FINE * np.array([width, height])
    horizon = rng.uniform(0.42, 0.58) * size[1]
    image = _sky_and_ground(rng, look, size, horizon)
    draw = ImageDraw.Draw(image)
    _hills(rng, draw, look, size, horizon)
    things: list[tuple[float, Callable[[float], None]]] = []  # by how near they are: the foot's height
    for _ in range(rng.integers(2, 5)):
        things.append((rng.uniform(0, 0.35), lambda foot: _house(rng, draw, look, size, foot)))
    for _ in range(rng.integers(2, 6)):
        things.append((rng.uniform(0, 0.6), lambda foot: _tree(rng, draw, look, size, foot)))
    for near, put in sorted(things, key=lambda thing: thing[0]):
        put(horizon + near * (size[1] - horizon))
    if rng.random() < SIGNED:
        _sign(rng, draw, look, size)
    image = image.reduce(FINE)
    levels = (np.asarray(image, np.float32) * tint).clip(0, 255).astype(np.uint8)
    return photograph(rng, Image.fromarray(levels))


def _sky_and_ground(rng: np.random.Generator, look: Look, size: Array, horizon: float) -> Image.Image:
    """Two gradients; the ground has furrows where it is wet, and stones where it is dry."""
    width, height = size.tolist()
    top, bottom = (np.array(_natural(rng, SKIES, (0.4, 1)), float) for _ in range(2))
    near, far = (np.array(_natural(rng, GROUNDS), float) for _ in range(2))
    y = np.arange(height)[:, None]
    up, down = (y / horizon).clip(0, 1), ((y - horizon) / (height - horizon)).clip(0, 1)
    rows = np.where(y < horizon, top + (bottom - top) * up, far + (near - far) * down)
    image = Image.fromarray(np.repeat(rows[:, None], width, 1).clip(0, 255).astype(np.uint8))
    image = lighten(image, noise(rng, width, height, int(rng.integers(30, 80)), 20))
    draw = ImageDraw.Draw(image)
    if rng.random() < 0.6:  # the sun, lower towards the poles
        x, y0 = rng.uniform(0, width), horizon * np.clip(0.15 + 0.13 * look.climate + rng.normal(0, 0.12), 0.05, 0.9)
        radius, colour = rng.uniform(0.04, 0.07) * height, rgb(rng.uniform(20, 60), rng.uniform(0, 0.5), 1)
        draw.ellipse((x - radius, y0 - radius, x + radius, y0 + radius), colour)
    shade = _natural(rng, GROUNDS)
    for _ in range(round(40 * look.dry)):
        x, y0 = rng.uniform(0, width), rng.uniform(horizon, height)
        radius = 1 + 5 * (y0 - horizon) / height
        draw.ellipse((x - 1.6 * radius, y0 - radius, x + 1.6 * radius, y0 + radius), shade)
    if look.dry < 0.5:
        vanishing = rng.uniform(0, width)
        for x in np.linspace(-1.5, 2.5, round(10 + 26 * (0.5 - look.dry))) * width:
            draw.line((vanishing, horizon, x, height), shade, FINE)
    return image


def _hills(rng: np.random.Generator, draw: Draw, look: Look, size: Array, horizon: float) -> None:
    """A skyline: flat where the land is smooth, peaks where it is rough."""
    width = float(size[0])
    count = 4 + round(10 * look.rough)
    x = np.linspace(-0.1, 1.1, count) * width + rng.normal(0, 0.2, count) * width / count
    tall = rng.uniform(0.1, 1, count) * (0.02 + 0.3 * look.rough) * horizon
    tall[1::2] *= 0.4
    points = [(-width, horizon + 2), *zip(x.tolist(), (horizon - tall).tolist(), strict=True), (2 * width, horizon + 2)]
    draw.polygon(points, _natural(rng, GROUNDS))


def _tones(rng: np.random.Generator, least: float = 70) -> tuple[Colour, Colour]:
    """Two colours, one clearly brighter than the other."""
    while True:
        first, second = (any_colour(rng, (0.05, 0.8)) for _ in range(2))
        if abs((np.array(first) - second) @ (0.3, 0.59, 0.11)) > least:
            return first, second


def _house(rng: np.random.Generator, draw: Draw, look: Look, size: Array, foot: float) -> None:
    width, height = (rng.uniform(*limits) * size[1] for limits in ((0.2, 0.36), (0.16, 0.34)))
    x = rng.uniform(-0.05, 1.05) * size[0]
    left, right, top = x - width / 2, x + width / 2, foot - height
    wall, roof = _tones(rng)
    draw.rectangle((left, top, right, foot), wall)
    rows, columns = rng.integers(1, 4), rng.integers(2, 5)
    pane = _tones(rng)[0]
    for row in range(rows):
        for column in range(columns):
            a, b = left + width * (column + 0.25) / columns, top + height * (row + 0.3) / (rows + 0.4)
            draw.rectangle((a, b, a + 0.5 * width / columns, b + 0.5 * height / (rows + 0.4)), pane)
    _roof(draw, look.continent, left, right, top, rng.uniform(0.8, 1.25), roof)


def _roof(draw: Draw, style: int, left: float, right: float, top: float, steep: float, colour: Colour) -> None:
    """Of six styles: gable, stepped, dome, flat with battlements, curved eaves, shed."""
    width, middle = right - left, (left + right) / 2
    rise = 0.4 * width * steep
    if style == 0:
        eave = 0.08 * width
        draw.polygon([(left - eave, top), (middle, top - rise), (right + eave, top)], colour)
    elif style == 1:
        for step in range(3):
            inset = width * step / 6
            draw.rectangle((left + inset, top - rise * (step + 1) / 3, right - inset, top), colour)
    elif style == 2:
        draw.pieslice((left + 0.05 * width, top - rise, right - 0.05 * width, top + rise), 180, 360, colour)
        draw.line((middle, top - 1.4 * rise, middle, top - rise), colour, 2 * FINE)
    elif style == 3:
        tooth = width / 9
        draw.rectangle((left, top - tooth, right, top), colour)
        for k in range(0, 9, 2):
            draw.rectangle((left + k * tooth, top - 2.2 * tooth, left + (k + 1) * tooth, top), colour)
    elif style == 4:
        for level, share in ((0, 1.35), (1, 0.95)):
            base, half = top - level * 0.55 * rise, share * width / 2
            share_x = np.linspace(-1, 1, 13)
            lift = rise * (0.5 - 0.75 * np.abs(share_x) ** 0.6 + 0.35 * share_x**4)
            upper = [(middle + half * a, base - b) for a, b in zip(share_x.tolist(), lift.tolist(), strict=True)]
            draw.polygon([*upper, (middle + 0.8 * half, base + 1), (middle - 0.8 * half, base + 1)], colour)
    else:
        draw.polygon(
            [(left - 0.08 * width, top), (left - 0.08 * width, top - rise), (right + 0.08 * width, top)], colour
        )


def _tree(rng: np.random.Generator, draw: Draw, look: Look, size: Array, foot: float) -> None:
    """Of five climates: palm, cactus, cypress, broad crown, spruce."""
    tall = rng.uniform(0.22, 0.42) * size[1]
    x = rng.uniform(0, 1) * size[0]
    bark, leaves = _natural(rng, GROUNDS), _natural(rng, LEAVES)
    trunk = max(round(0.06 * tall), FINE)
    if look.climate == 0:
        draw.line((x, foot, x + 0.05 * tall, foot - 0.75 * tall), bark, trunk)
        for angle in np.linspace(-0.3, math.pi + 0.3, 7) + rng.normal(0, 0.1, 7):
            reach = 0.36 * tall
            tip = x + reach * math.cos(angle), foot - 0.72 * tall - reach * math.sin(angle) + 0.12 * tall
            draw.line((x + 0.05 * tall, foot - 0.75 * tall, *tip), leaves, trunk)
    elif look.climate == 1:
        wide = 2 * trunk
        draw.line((x, foot, x, foot - 0.8 * tall), leaves, wide)
        for side, level in ((-1, 0.3), (1, 0.45)):
            arm = x + side * 0.22 * tall
            draw.line((x, foot - level * tall, arm, foot - level * tall), leaves, wide)
            draw.line((arm, foot - (level - 0.04) * tall, arm, foot - (level + 0.25) * tall), leaves, wide)
    elif look.climate == 2:
        draw.ellipse((x - 0.1 * tall, foot - tall, x + 0.1 * tall, foot - 0.08 * tall), leaves)
        draw.line((x, foot - 0.1 * tall, x, foot), bark, trunk)
    elif look.climate == 3:
        draw.line((x, foot - 0.5 * tall, x, foot), bark, 2 * trunk)
        for dx, dy, radius in ((-0.16, 0.55, 0.2), (0.16, 0.55, 0.2), (0, 0.75, 0.24)):
            a, b, r = x + dx * tall, foot - dy * tall, radius * tall
            draw.ellipse((a - r, b - r, a + r, b + r), leaves)
    else:
        draw.line((x, foot - 0.2 * tall, x, foot), bark, trunk)
        for level, half in ((0.15, 0.26), (0.4, 0.2), (0.65, 0.13)):
            base = foot - level * tall
            draw.polygon([(x - half * tall, base), (x, base - 0.38 * tall), (x + half * tall, base)], leaves)


def _sign(rng: np.random.Generator, draw: Draw, look: Look, size: Array) -> None:
    radius = rng.uniform(*SIGN) / 2 * size[1]
    x = rng.uniform(0.25, 0.75) * size[0]
    y = rng.uniform(0.42, 0.72) * size[1]
    board, mark = _tones(rng, 100)
    rim = (0, 0, 0) if np.mean(board) > 110 else (255, 255, 255)
    draw.line((x, y, x, y + 3 * radius), any_colour(rng, (0, 0.3)), max(round(0.16 * radius), FINE))
    shape, kind = divmod(look.sign, len(MARKS))
    turn = rng.uniform(-0.12, 0.12)
    matrix = np.array([(math.cos(turn), -math.sin(turn)), (math.sin(turn), math.cos(turn))]) * radius
    for corners, colour in ((BOARDS[shape] * 1.14, rim), (BOARDS[shape], board), *((m, mark) for m in MARKS[kind])):
        draw.polygon((corners @ matrix.T + (x, y)).ravel().tolist(), colour)
