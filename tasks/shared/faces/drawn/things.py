"""What people wear: glasses, hats, earrings."""

import numpy as np

from tasks.shared.faces.drawn.canvas import Canvas, Points, Tone, curve, ellipse, mix
from tasks.shared.faces.drawn.features import DARK, WHITE, outline
from tasks.shared.faces.drawn.person import Look, Person
from tasks.shared.samples.drawing import any_colour

METALS = ((226.0, 176.0, 54.0), (214.0, 216.0, 224.0), (244.0, 240.0, 232.0))


def draw_glasses(rng: np.random.Generator, canvas: Canvas, person: Person, look: Look) -> None:
    """Frames, thick or thin, dark or coloured; some lenses reflect, a few are dark."""
    apart = max(person.eye_apart, 0.4) + 0.03
    power = {"round": 2.0, "square": 5.0, "oval": 2.6}[look.glasses]
    wide, high = {"round": (0.31, 0.31), "square": (0.34, 0.25), "oval": (0.34, 0.24)}[look.glasses]
    angle = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    rim = np.stack([np.sign(f) * np.abs(f) ** (2 / power) for f in (np.cos(angle), np.sin(angle))], 1) * (wide, high)
    tone = mix(any_colour(rng, (0, 0.8)), DARK, rng.uniform(0.3, 0.9))
    width, out = rng.uniform(0.028, 0.07), 1.12
    dark = rng.random() < 0.12
    for side in (1, -1):
        middle = np.array([apart * side, 0.03])
        lens = rim + middle
        depth = out - 0.35 * lens[:, 0] ** 2
        canvas.fill(lens, (24, 24, 30) if dark else (225, 235, 245), 0.86 if dark else 0.12, depth=depth)
        if rng.random() < 0.5:
            streak = np.array([(-0.18, 0.12), (-0.06, 0.14), (0.16, -0.15), (0.05, -0.17)]) + middle
            canvas.fill(streak, WHITE, 0.3, depth=out - 0.35 * streak[:, 0] ** 2)
        loop = np.concatenate([lens, lens[:1]])
        canvas.line(loop, tone, width, depth=np.concatenate([depth, depth[:1]]))
        temple = np.array([(side * (apart + wide), -0.02), (side * 1.03, -0.04)])
        canvas.line(temple, tone, width, depth=np.array([out - 0.35 * (apart + wide) ** 2, 0.0]))
    bridge = curve([(-(apart - wide), 0.0), (0, -0.06), (apart - wide, 0.0)], closed=False)
    canvas.line(bridge, tone, width, depth=out)


def draw_hat(rng: np.random.Generator, canvas: Canvas, person: Person, look: Look) -> None:
    """A cap, a beanie, or a hat with a brim; all hide the forehead's upper part."""
    tone = any_colour(rng, (0.1, 0.9))
    dark, light = mix(tone, DARK, 0.45), mix(tone, WHITE, 0.3)
    edge = rng.uniform(-0.74, -0.58)
    line, _ = outline(person, 0.09, 0.16)
    dome = line[line[:, 1] < edge]
    dome = dome[np.argsort(dome[:, 0])]
    left, right = dome[0], dome[-1]
    t = np.linspace(1, -1, 13)[:, None]
    front = np.hstack([right[0] * t, edge + 0.06 * (1 - t**2)])
    deep = 0.75 * np.sqrt(1 - t[:, 0] ** 2)
    if look.hat == "brim":
        brim = ellipse(0, edge + 0.02, 1.85, 0.2, 40)
        around = np.sin(np.linspace(0, 2 * np.pi, 40, endpoint=False))
        canvas.fill(brim, dark, depth=0.9 * around)
        dome = curve([tuple(left), (-0.8, -1.48), (-0.3, -1.64), (0, -1.56), (0.3, -1.64), (0.8, -1.48), tuple(right)],
                     closed=False)  # fmt: skip
    canvas.fill(np.concatenate([dome, front]), tone, depth=np.concatenate([np.zeros(len(dome)), deep]))
    for x in (-0.45, 0.0, 0.45):  # seams, or folds
        seam = curve([(x * 0.4, -1.48), (x, -1.15), (1.1 * x, edge)], closed=False)
        canvas.line(seam, dark, 0.025, 0.5, depth=0.5 * np.linspace(0, 1, len(seam)))
    if look.hat == "cap":
        low = curve([(-0.95 * right[0], edge + 0.02), (-0.6, edge + 0.2), (0, edge + 0.26), (0.6, edge + 0.2),
                     (0.95 * right[0], edge + 0.02)], closed=False)  # fmt: skip
        peak = np.concatenate([front * (0.92, 1), low])
        reach = np.concatenate([deep, 1.35 * np.ones(len(peak) - len(front))])
        canvas.fill(peak, dark, depth=reach)
        canvas.fill(ellipse(0, edge - 0.33, 0.2, 0.16), light, depth=0.75)
    elif look.hat == "beanie":
        band = np.concatenate([front, (front - (0, 0.24))[::-1]])
        canvas.fill(band * (1.03, 1), mix(tone, light, 0.6), depth=np.concatenate([deep, deep[::-1]]))
        for x in np.linspace(-0.95, 0.95, 11):
            rib = np.array([(x, edge - 0.2), (x, edge + 0.04)])
            canvas.line(rib, dark, 0.02, 0.5, depth=0.75 * np.sqrt(max(1 - x**2, 0)))
    else:
        band = np.concatenate([front - (0, 0.02), (front - (0, 0.2))[::-1]])
        canvas.fill(band * (0.98, 1), light, depth=np.concatenate([deep, deep[::-1]]))


def draw_earrings(rng: np.random.Generator, canvas: Canvas, person: Person) -> None:
    """Studs, drops or hoops, over what hair there is."""
    tone: Tone = METALS[rng.integers(len(METALS))]
    kind, low = rng.integers(3), 0.42 * person.ear
    for side in (1, -1):
        x = 1.08 * side
        if kind == 0:
            _bead(canvas, x, low + 0.08, 0.17, tone)
        elif kind == 1:
            canvas.line(np.array([(x, low), (x, low + 0.36)]), tone, 0.05, depth=0.05)
            _bead(canvas, x, low + 0.46, 0.17, tone)
        else:
            hoop = ellipse(x, low + 0.24, 0.24, 0.27)
            canvas.line(np.concatenate([hoop, hoop[:2]]), mix(tone, DARK, 0.2), 0.09, depth=0.05)
            canvas.line(hoop[12:20], WHITE, 0.03, 0.8, depth=0.05)


def _bead(canvas: Canvas, x: float, y: float, radius: float, tone: Tone) -> None:
    points: Points = ellipse(x, y, radius, radius, 16)
    canvas.fill(points, tone, depth=0.05)
    canvas.line(points, mix(tone, DARK, 0.6), 0.03, depth=0.05)
    canvas.fill(ellipse(x - 0.3 * radius, y - 0.3 * radius, 0.4 * radius, 0.4 * radius, 10), WHITE, 0.9, depth=0.05)
