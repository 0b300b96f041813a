"""What the drawn sample data sets have in common: colours, noise, cluttered backgrounds, a camera's faults.

Every function takes its randomness from `rng` alone, so that the same seed gives the same image. A change here
changes the images of every sample: raise their versions.
"""

import colorsys
import math

import numpy as np
from PIL import Image, ImageChops, ImageDraw

PALE = (0.0, 0.35)  # saturation of a background's colours
SMOOTH = 6  # soft parts of a background are drawn this many times smaller, then enlarged


def rgb(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    """Colour in 0..255 from a hue in degrees and saturation and value in 0..1."""
    red, green, blue = colorsys.hsv_to_rgb(hue / 360 % 1, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def any_colour(rng: np.random.Generator, saturation: tuple[float, float]) -> tuple[int, int, int]:
    return rgb(rng.uniform(0, 360), rng.uniform(*saturation), rng.uniform(0.2, 1))


def noise(rng: np.random.Generator, width: int, height: int, cell: int, strength: float) -> np.ndarray:
    """Smooth noise [height, width] around 0 with hills of about `cell` pixels."""
    values = rng.standard_normal((height // cell + 2, width // cell + 2), np.float32) * strength * rng.uniform(0.5, 1.3)
    return np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BICUBIC))


def lighten(image: Image.Image, light: np.ndarray) -> Image.Image:
    """Add `light` [height, width], about -100..100, to every channel."""
    grey = Image.fromarray((128 + light).clip(0, 255).astype(np.uint8))
    return ImageChops.add(image, Image.merge("RGB", (grey, grey, grey)), offset=-128)


def background(
    rng: np.random.Generator, width: int, height: int, saturation: tuple[float, float] = PALE
) -> Image.Image:
    """Gradient, soft blobs, noise at several scales, lines, scribbles and small polygons, of all hues."""
    # What is smooth is made at a fraction of the size and enlarged.
    y, x = np.mgrid[-1 : 1 : height // SMOOTH * 1j, -1 : 1 : width // SMOOTH * 1j]
    angle = rng.uniform(0, 2 * np.pi)
    along = (x * math.cos(angle) + y * math.sin(angle))[..., None] / 2.83 + 0.5
    first, last = (np.array(any_colour(rng, saturation)) for _ in range(2))
    canvas = first + (last - first) * along
    for cell, strength in ((11, 20), (4, 14), (1, 10)):
        common, *channels = (noise(rng, width // SMOOTH, height // SMOOTH, cell, strength) for _ in range(4))
        canvas += np.stack([common + 0.25 * channel for channel in channels], 2)
    for _ in range(rng.integers(4, 10)):
        (middle_x, middle_y), (wide, high), tilt = rng.uniform(-1, 1, 2), rng.uniform(0.08, 0.3, 2), rng.uniform(-1, 1)
        distance = ((x - middle_x) / wide + tilt * (y - middle_y) / high) ** 2 + ((y - middle_y) / high) ** 2
        canvas += (any_colour(rng, saturation) - canvas) * (rng.uniform(0.2, 0.7) * np.exp(-(distance**2)))[..., None]
    image = Image.fromarray(canvas.clip(0, 255).astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)

    light = noise(rng, width, height, 2, 11)
    if rng.random() < 0.4:  # a weave: stripes alone must not mean an object
        angle, pitch = rng.uniform(0, np.pi), rng.uniform(0.15, 0.5)  # radians per pixel
        across, down = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
        light = light + rng.uniform(6, 16) * np.sin(pitch * (math.cos(angle) * across + math.sin(angle) * down))
    image = lighten(image, light)

    image = image.resize((2 * width, 2 * height), Image.Resampling.NEAREST)  # for smooth edges, reduced below
    draw, sides = ImageDraw.Draw(image, "RGBA"), np.array([2 * width, 2 * height])
    for _ in range(rng.integers(5, 14)):
        ends = rng.uniform(-0.1, 1.1, (2, 2)) * sides
        draw.line(
            ends.ravel().tolist(), (*any_colour(rng, saturation), int(rng.integers(90, 255))), int(rng.integers(2, 8))
        )
    for _ in range(rng.integers(4, 10)):  # scribbles: random walks with some inertia
        steps = rng.normal(0, 9, (rng.integers(10, 30), 2)).cumsum(0) + rng.normal(0, 8, 2)
        walk = rng.uniform(0, 1, 2) * sides + steps.cumsum(0)
        draw.line(walk.ravel().tolist(), (*any_colour(rng, saturation), 220), int(rng.integers(2, 7)))
    count = rng.integers(20, 50)  # polygons of at most 13 pixels: far below the smallest object
    turns = np.sort(rng.uniform(0, 2 * np.pi, (count, 6)), 1)
    corners = np.stack([np.cos(turns), np.sin(turns)], 2) * rng.uniform(4, 13, (count, 6, 1))
    for polygon in corners + rng.uniform(0, 1, (count, 1, 2)) * sides:
        draw.polygon(polygon[: rng.integers(3, 7)].ravel().tolist(), any_colour(rng, saturation))
    return image.reduce(2)


def photograph(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    """As a camera would take it: some contrast and brightness lost or gained, and grain."""
    contrast, brightness = rng.uniform(0.8, 1.1), rng.uniform(-14, 14)
    image = image.point([round(128 + brightness + (level - 128) * contrast) for level in range(256)] * 3)
    grain = rng.integers(-100, 101, (image.height, image.width), np.int8) * np.float32(rng.uniform(0.03, 0.12))
    return lighten(image, grain)
