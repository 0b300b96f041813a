"""One image of a drawn face: background, somebody, light, a camera."""

import math
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from tasks.shared.faces.drawn.canvas import FINE, Canvas, Pose, Tone, mix
from tasks.shared.faces.drawn.features import (
    draw_brows,
    draw_ears,
    draw_eyes,
    draw_head,
    draw_mouth,
    draw_neck,
    draw_nose,
)
from tasks.shared.faces.drawn.hair import draw_beard, draw_hair, draw_hair_behind
from tasks.shared.faces.drawn.person import HAIR_COLOURS, SKINS, Look, Person
from tasks.shared.faces.drawn.things import draw_earrings, draw_glasses, draw_hat
from tasks.shared.samples.drawing import any_colour, noise, photograph

BLURRED = 0.2  # of the images are not quite in focus
SOFT = 190  # levels above it are squeezed, not cut
THINGS = (-0.2, -0.2, 0.05, 0.05), (1.1, 1.1, 0.5, 0.5)  # left, top, width and height: least, most
SMALL = 4  # backgrounds are out of focus: drawn so many times smaller


class Frame(NamedTuple):
    """Size of an image in pixels, and where its face is: the point between the eyes, and pixels a unit of the head."""

    width: int
    height: int
    eyes_x: float
    eyes_y: float
    scale: float


CELEBA = Frame(178, 218, 89, 103, 52)
LFW = Frame(250, 250, 125, 119, 52)


def draw_face(rng: np.random.Generator, person: Person, look: Look, frame: Frame) -> Image.Image:
    """A photograph, nearly, of this person. What the face has changes no chance elsewhere."""
    around, strands, bristles, things, camera = rng.spawn(5)
    x, y = frame.eyes_x + look.shift[0] - 0.6 * frame.scale * look.turn, frame.eyes_y + look.shift[1]
    pose = Pose(look.turn, look.nod, look.tilt, frame.scale * look.size, x, y, person.long)
    skin, hair = _skin(person), mix(*HAIR_COLOURS[person.hair], person.hair_shade)
    cloth, collar = any_colour(around, (0, 0.8)), around.random()
    canvas = Canvas(_background(around, frame), pose)
    draw_hair_behind(strands, canvas, person, look, hair)
    draw_neck(canvas, person, skin, cloth, collar)
    draw_ears(canvas, person, skin)
    draw_head(canvas, person, look, skin)
    draw_eyes(canvas, person, look, skin)
    draw_brows(canvas, person, look, hair)
    draw_beard(bristles, canvas, person, look, hair)
    draw_mouth(canvas, person, look, skin)
    draw_nose(canvas, person, skin)
    draw_hair(strands, canvas, person, look, hair)
    if look.glasses:
        draw_glasses(things, canvas, person, look)
    if look.hat:
        draw_hat(things, canvas, person, look)
    if look.earrings:
        draw_earrings(things, canvas, person)
    image = _lit(camera, canvas.finished(), pose, look)
    if camera.random() < BLURRED:
        image = image.filter(ImageFilter.BoxBlur(camera.uniform(0.3, 1.2)))
    return photograph(camera, image)


def _skin(person: Person) -> Tone:
    levels = np.linspace(0, 1, len(SKINS))
    red, green, blue = (float(np.interp(person.skin, levels, SKINS[:, channel])) for channel in range(3))
    return red + 3 * person.warmth, green - person.warmth, blue - 5 * person.warmth


def _background(rng: np.random.Generator, frame: Frame) -> Image.Image:
    """A wall, or things out of focus, as large as a canvas is."""
    width, height = frame.width // SMALL + 1, frame.height // SMALL + 1
    first, last = (np.array(any_colour(rng, (0, 0.6)), np.float32) for _ in range(2))
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    angle = rng.uniform(0, 2 * np.pi)
    along = (x * math.cos(angle) + y * math.sin(angle))[..., None] / 2.83 + 0.5
    levels = first + (last - first) * along + noise(rng, width, height, 6, 14)[..., None]
    image = Image.fromarray(levels.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image, "RGBA")
    for _ in range(int(rng.integers(0, 16))):
        left, top, wide, high = (rng.uniform(*THINGS) * (width, height, width, height)).tolist()
        ink = (*any_colour(rng, (0, 0.5)), int(rng.integers(60, 200)))
        draw.rectangle((left, top, left + wide, top + high), ink)
    image = image.filter(ImageFilter.BoxBlur(rng.uniform(0, 1.5)))
    return image.resize((FINE * frame.width, FINE * frame.height), Image.Resampling.BILINEAR)


def _lit(rng: np.random.Generator, image: Image.Image, pose: Pose, look: Look) -> Image.Image:
    """In light from one side, the head taken for an ellipsoid, of some colour, and uneven."""
    width, height = image.width // 2, image.height // 2  # it is smooth
    across = (np.arange(width, dtype=np.float32) * 2 + 1 - pose.x) / (1.25 * pose.scale)
    down = (np.arange(height, dtype=np.float32)[:, None] * 2 + 1 - pose.y) / (1.75 * pose.long * pose.scale)
    flat = across**2 + down**2
    out = np.sqrt(np.maximum(1 - flat, 0.15))
    facing = (across * look.light[0] + down * look.light[1] + out * look.light[2]) / np.sqrt(flat + out**2)
    bright = 1 - look.hardness * (1 - facing.clip(0)) + noise(rng, width, height, int(rng.integers(15, 45)), 0.05)
    shade = Image.fromarray((255 * bright.clip(0, 1)).astype(np.uint8)).resize(image.size, Image.Resampling.BILINEAR)
    gain = math.exp(rng.normal(0.1 + 0.25 * look.hardness, 0.1)) * np.exp(rng.normal(0, 0.04, 3))
    levels = np.outer(gain, np.arange(256))
    soft = np.where(levels < SOFT, levels, SOFT + (255 - SOFT) * (1 - np.exp((SOFT - levels) / (255 - SOFT))))
    image = image.point(soft.round().astype(int).ravel().tolist())
    return ImageChops.multiply(image, Image.merge("RGB", (shade, shade, shade)))
