"""What a drawn face is drawn from: a person, who stays the same, and how this person looks in one image.

Lengths are in units of half a head's width; y is 0 at the eyes and grows downwards.
"""

from typing import NamedTuple

import numpy as np

HAIRS = ("black", "brown", "blond", "red", "grey")
STYLES = ("bald", "short", "swept", "bob", "long", "curly", "bun")
BEARDS = ("none", "stubble", "goatee", "full")
HATS = ("cap", "beanie", "brim")
GLASSES = ("round", "square", "oval")
SHIFT, SIZE = 9.0, 0.1  # at most, either way: pixels, and logarithm of the scale; faces are found by machines
Colour = tuple[float, float, float]

# Attributes have CelebA's names, and their order.
ATTRIBUTES = (
    "Bald", "Bangs", "Big_Nose", "Black_Hair", "Blond_Hair", "Bushy_Eyebrows", "Eyeglasses", "Mustache", "Narrow_Eyes",
    "No_Beard", "Oval_Face", "Pale_Skin", "Smiling", "Wearing_Earrings", "Wearing_Hat",
)  # fmt: skip
# Where an attribute begins. What is drawn comes in two kinds that overlap, so some faces are near it.
BIG_NOSE, BUSHY, NARROW, OVAL, PALE, SMILE = 0.25, 0.12, 0.5, 1.06, 0.22, 0.5

SKINS = np.array(
    [(244, 218, 200), (236, 200, 174), (220, 172, 138), (194, 140, 104), (150, 100, 72), (104, 70, 52)], float
)
HAIR_COLOURS: dict[str, tuple[Colour, Colour]] = {  # between two
    "black": ((18, 16, 18), (44, 34, 32)),
    "brown": ((62, 40, 26), (118, 80, 50)),
    "blond": ((188, 150, 88), (236, 208, 146)),
    "red": ((128, 56, 26), (178, 92, 44)),
    "grey": ((126, 124, 124), (212, 210, 206)),
}
IRISES: tuple[Colour, ...] = ((70, 44, 26), (96, 66, 36), (86, 104, 62), (70, 104, 134), (104, 124, 134))


class Person(NamedTuple):
    """An identity.

    skin: 0 pale to 1 dark, and `warmth` of its hue around 0. long: length of the face over the usual one.
    jaw, chin: half widths there, of 1 at the cheeks. eye_*: half distance, half width, height over half width, turn.
    brow_*: thickness, height above the eyes, arch, slope. nose_*: half width, length, how far it stands out.
    mouth_*: half width, height of lips, y. moles, freckles: (x, y). wears_*: share of the images.
    """

    skin: float
    warmth: float
    long: float
    jaw: float
    chin: float
    skull: float
    eye_apart: float
    eye_wide: float
    eye_open: float
    eye_turn: float
    iris: int
    brow_thick: float
    brow_high: float
    brow_arch: float
    brow_slope: float
    nose_wide: float
    nose_long: float
    nose_out: float
    mouth_wide: float
    lips: float
    mouth_low: float
    ear: float
    moles: tuple[tuple[float, float], ...]
    freckles: tuple[tuple[float, float], ...]
    age: float
    hair: str
    hair_shade: float
    style: str
    volume: float
    hairline: float
    bangs: bool
    parting: float
    beard: str
    moustache: bool
    wears_glasses: float
    glasses: str
    wears_earrings: float


class Look(NamedTuple):
    """How a person looks in one image.

    shift: of the head from its usual place, (x, y) pixels. size: of it, times the usual one. turn, nod, tilt: radians.
    smile, open: 0 to 1, of the mouth. squint: times the eyes' height.
    light: direction (x, y, z) of unit length that it comes from, z towards the viewer.
    """

    shift: tuple[float, float]
    size: float
    turn: float
    nod: float
    tilt: float
    smile: float
    open: float
    squint: float
    gaze: float
    bangs: bool
    beard: str
    moustache: bool
    glasses: str
    hat: str
    earrings: bool
    light: tuple[float, float, float]
    hardness: float


def draw_person(rng: np.random.Generator) -> Person:
    """Somebody."""

    def either(share: float, first: tuple[float, float], second: tuple[float, float]) -> float:
        """Normal around one of two means, each with its spread; of the second by `share`."""
        return float(rng.normal(*(second if rng.random() < share else first)))

    skin = float(np.clip(either(0.3, (0.5, 0.2), (0.1, 0.06)), 0, 1))
    long = float(np.clip(either(0.42, (0.95, 0.03), (1.17, 0.03)), 0.86, 1.24))
    hair = HAIRS[rng.choice(5, p=(0.3, 0.22, 0.25, 0.11, 0.12) if skin < 0.55 else (0.6, 0.2, 0.06, 0.02, 0.12))]
    style = STYLES[rng.choice(7, p=(0.13, 0.2, 0.17, 0.12, 0.17, 0.12, 0.09))]
    shaven = rng.random() < 0.5 or style in ("bob", "long", "bun")
    return Person(
        skin=skin,
        warmth=float(rng.normal(0, 1)),
        long=long,
        jaw=float(np.clip(rng.normal(0.92 - 1.0 * (long - 0.97), 0.05), 0.62, 1.0)),
        chin=float(np.clip(rng.normal(0.5 - 1.1 * (long - 0.97), 0.06), 0.2, 0.62)),
        skull=float(rng.uniform(0.88, 1.02)),
        eye_apart=float(rng.uniform(0.4, 0.5)),
        eye_wide=float(rng.uniform(0.21, 0.27)),
        eye_open=float(np.clip(either(0.36, (0.72, 0.05), (0.28, 0.05)), 0.16, 0.85)),
        eye_turn=float(rng.normal(0.05, 0.09)),
        iris=int(rng.integers(len(IRISES))),
        brow_thick=float(np.clip(either(0.38, (0.045, 0.01), (0.2, 0.02)), 0.03, 0.24)),
        brow_high=float(rng.uniform(0.32, 0.42)),
        brow_arch=float(rng.uniform(0.02, 0.13)),
        brow_slope=float(rng.normal(-0.04, 0.05)),
        nose_wide=float(np.clip(either(0.38, (0.15, 0.02), (0.35, 0.03)), 0.11, 0.42)),
        nose_long=float(rng.uniform(0.46, 0.66)),
        nose_out=float(rng.uniform(0.15, 0.42)),
        mouth_wide=float(rng.uniform(0.36, 0.5)),
        lips=float(rng.uniform(0.07, 0.17)),
        mouth_low=float(rng.uniform(0.86, 0.96)),
        ear=float(rng.uniform(0.75, 1.25)),
        moles=_spots(rng, rng.poisson(0.5), (0.0, 0.65), (0.42, 0.25)),
        freckles=_spots(rng, 36 if rng.random() < 0.12 else 0, (0.0, 0.3), (0.42, 0.14)),
        age=float(rng.beta(1.2, 2) if hair != "grey" else rng.uniform(0.5, 1)),
        hair=hair,
        hair_shade=float(rng.random()),
        style=style,
        volume=float(rng.uniform(0, 1)),
        hairline=float(rng.uniform(-0.9, -0.68)),
        bangs=style in ("bob", "long", "short", "bun") and bool(rng.random() < 0.45),
        parting=float(rng.uniform(-0.6, 0.6)),
        beard="none" if shaven else BEARDS[rng.choice(4, p=(0.15, 0.15, 0.25, 0.45))],
        moustache=not shaven and bool(rng.random() < 0.65),
        wears_glasses=float(rng.choice([0.05, 0.25, 0.7], p=(0.5, 0.25, 0.25))),
        glasses=GLASSES[rng.integers(len(GLASSES))],
        wears_earrings=float(rng.choice([0.03, 0.6], p=(0.6, 0.4))),
    )


def _spots(rng: np.random.Generator, count: int, middle: tuple[float, float], spread: tuple[float, float]) -> tuple:
    """Points (x, y) on the face."""
    return tuple(map(tuple, np.clip(rng.normal(middle, spread, (count, 2)), -0.8, 1.2).tolist()))


def draw_look(rng: np.random.Generator, person: Person) -> Look:
    """This person in some image: most wear what they usually do."""
    away = rng.normal(0, 0.55, 2)
    light = np.array([1.3 * away[0], away[1] - 0.45, 1.0])
    smiles = rng.random() < 0.5
    smile = float(np.clip(rng.normal(0.88 if smiles else 0.1, 0.15), 0, 1))
    hat = HATS[rng.integers(len(HATS))] if rng.random() < 0.16 else ""
    usual = rng.random() < 0.85
    return Look(
        shift=tuple(rng.uniform(-SHIFT, SHIFT, 2).tolist()),
        size=float(np.exp(rng.uniform(-SIZE, SIZE))),
        turn=float(np.clip(rng.normal(0, 0.15), -0.4, 0.4)),
        nod=float(np.clip(rng.normal(0, 0.07), -0.18, 0.18)),
        tilt=float(np.clip(rng.normal(0, 0.09), -0.25, 0.25)),
        smile=smile,
        open=float(rng.uniform(0.4, 1)) if rng.random() < (0.85 if smiles else 0.12) else 0.0,
        squint=float(rng.uniform(0.9, 1.08)),
        gaze=float(rng.normal(0, 0.3)),
        bangs=(person.bangs if usual or person.style not in ("bob", "long") else not person.bangs) and not hat,
        beard=person.beard,
        moustache=person.moustache,
        glasses=person.glasses if rng.random() < person.wears_glasses else "",
        hat=hat,
        earrings=bool(rng.random() < person.wears_earrings),
        light=tuple((light / np.linalg.norm(light)).tolist()),
        hardness=float(rng.uniform(0.1, 0.5)),
    )


def attributes_of(person: Person, look: Look) -> list[bool]:
    """Whether a face has each of `ATTRIBUTES`."""
    has_hair = person.style != "bald"
    return [
        not has_hair,
        look.bangs and has_hair,
        person.nose_wide > BIG_NOSE,
        has_hair and person.hair == "black",
        has_hair and person.hair == "blond",
        person.brow_thick > BUSHY,
        bool(look.glasses),
        look.moustache,
        person.eye_open < NARROW,
        look.beard == "none",
        person.long > OVAL,
        person.skin < PALE,
        look.smile > SMILE,
        look.earrings,
        bool(look.hat),
    ]
