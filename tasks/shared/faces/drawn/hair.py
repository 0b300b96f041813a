"""Hair, on heads and on faces."""

import numpy as np

from tasks.shared.faces.drawn.canvas import Canvas, Tone, both_sides, curve, ellipse, mirrored, mix, surface, xy
from tasks.shared.faces.drawn.features import DARK, SIDES, mouth_width, outline
from tasks.shared.faces.drawn.person import Look, Person

LONG = {"bob": 0.95, "long": 2.3}  # y at which hair ends
LOW = {"short": 0.0, "swept": 0.1, "bun": -0.1, "curly": 0.1, "bob": 0.25, "long": 0.25}  # the same beside the ears
SHINE = (255.0, 240.0, 220.0)


def draw_hair_behind(rng: np.random.Generator, canvas: Canvas, person: Person, look: Look, tone: Tone) -> None:
    """What hangs or stands behind head and neck."""
    dark, size = mix(tone, DARK, 0.3), 1.12 + 0.16 * person.volume
    if person.style in LONG:
        end = LONG[person.style] + 0.25 * person.volume
        right = [(0, -1.45), (0.75, -1.25), (size, -0.6), (size + 0.04, 0.2), (size + 0.1, 0.6 * end), (size, end),
                 (0.55, end + 0.1), (0, end - 0.1)]  # fmt: skip
        canvas.fill(curve(both_sides(right)), dark, depth=-0.3)
        _strands(rng, canvas, (-0.95 * size, 0.95 * size), (0.2, end - 0.1), tone, -0.3)
    elif person.style == "curly":
        _locks(rng, canvas, dark, 0.98 + 0.3 * person.volume, 0.3, (-0.15, np.pi + 0.15))
    elif person.style == "bun" and not look.hat:
        canvas.fill(ellipse(0.2 * person.parting, -1.56, 0.4, 0.34), tone, depth=-0.3)
        canvas.line(curve([(-0.2, -1.65), (0, -1.5), (0.25, -1.55)], closed=False), dark, 0.03, depth=-0.3)


def _shades(rng: np.random.Generator, tone: Tone, count: int) -> list[Tone]:
    """Of single hairs, lighter and darker."""
    return [mix(tone, SHINE if share < 0.14 else DARK, 0.08 + share) for share in rng.uniform(0, 0.28, count)]


def _locks(
    rng: np.random.Generator, canvas: Canvas, tone: Tone, radius: float, size: float, turn: tuple[float, float]
) -> None:
    """Curls around the skull; turn: from and to, radians, counted from the right over the top."""
    for angle, share in zip(np.linspace(*turn, 15), rng.random(15), strict=True):
        x, y = radius * np.cos(angle), -0.35 - 1.08 * radius * np.sin(angle)
        wide = size * (0.8 + 0.35 * share)
        canvas.fill(ellipse(x, y, wide, wide, 14), mix(tone, SHINE, 0.12 * share), depth=-0.1)


def _strands(
    rng: np.random.Generator, canvas: Canvas, x: tuple[float, float], y: tuple[float, float], tone: Tone, depth: float
) -> None:
    """Lines that hang down, between two x, from one y to another."""
    starts, sway = x[0] + (x[1] - x[0]) * rng.random(12), rng.normal(0, 0.04, (12, 3))
    rows = [xy(starts + sway[:, k], np.full(12, level)) for k, level in enumerate((y[0], (y[0] + y[1]) / 2, y[1]))]
    canvas.hairs(curve(np.stack(rows, 1), closed=False, fine=4), _shades(rng, tone, 12), 0.03, 0.6, depth)


def draw_hair(rng: np.random.Generator, canvas: Canvas, person: Person, look: Look, tone: Tone) -> None:
    """What grows from the skull forwards."""
    if person.style == "bald":
        return
    flat = person.style == "bun"
    line, _ = outline(person, 0.05, 0.05 if flat else 0.09 + 0.17 * person.volume)
    low, high, part = LOW[person.style], person.hairline, person.parting
    front = [(1.06, low), (0.9, low), (0.9, -0.32)]
    if person.style == "swept":
        front += [(0.72, high + 0.12), (0.3, high - 0.02), (0.55 * part, high - 0.2), (-0.3, high - 0.06),
                  (-0.72, high + 0.12)]  # fmt: skip
    elif person.style in LONG:
        front += [(0.72, -0.6), (0.5 + 0.2 * part, high), (0.5 * part, -1.1), (0.2 * part - 0.45, high), (-0.72, -0.6)]
    else:
        front += [(0.74, -0.62), (0.55, high + 0.06), (0, high), (-0.55, high + 0.06), (-0.74, -0.62)]
    front += [(-0.9, -0.32), (-0.9, low), (-1.06, low)]
    hairline = curve(front, closed=False)
    above = line[line[:, 1] < low]
    above = above[np.argsort(np.arctan2(above[:, 0], 0.01 - above[:, 1]))]  # from the left over the top to the right
    depth = np.concatenate([np.zeros(len(above)), surface(hairline)])
    canvas.fill(np.concatenate([above, hairline]), tone, depth=depth)
    if person.style == "curly":
        _locks(rng, canvas, tone, 0.9 + 0.2 * person.volume, 0.24, (0.1, np.pi - 0.1))
    if person.style in LONG:
        end = min(LONG[person.style], 1.6)
        lock = curve([(0.86, -0.9), (1.05, -0.6), (1.16, 0.1), (1.2, 0.7 * end), (1.06, end), (0.93, 0.7 * end),
                      (0.9, 0.15), (0.82, -0.45)])  # fmt: skip
        for side in SIDES:
            canvas.fill(lock * (side, 1), tone, depth=0.1)
            _strands(rng, canvas, (0.97 * side, 1.1 * side), (-0.6, 0.8 * end), tone, 0.1)
    crown = np.array([0.5 * part, -1.24])
    ends = above[rng.integers(0, len(above), 20)] * (0.95, 0.93)
    middles = (crown + ends) / 2 + (0, -0.12) + rng.normal(0, 0.05, (20, 2))
    lines = np.stack([crown + rng.normal(0, 0.07, (20, 2)), middles, ends], 1)
    canvas.hairs(curve(lines, closed=False, fine=5), _shades(rng, tone, 20), 0.03, 0.55, 0.15)
    if look.bangs:
        _draw_bangs(rng, canvas, person, tone)


def _draw_bangs(rng: np.random.Generator, canvas: Canvas, person: Person, tone: Tone) -> None:
    """A fringe down to the brows, of locks."""
    x = np.linspace(-0.84, 0.84, 11)
    tips = -person.brow_high - 0.06 + rng.uniform(-0.14, 0.05, 11) + 0.1 * np.abs(x) ** 3
    zigzag = np.stack([xy(x - 0.05, tips - 0.1), xy(x, tips)], 1).reshape(-1, 2)
    over = [(-0.9, -0.3), (-0.92, -0.8), (-0.6, -1.16), (0, -1.28), (0.6, -1.16), (0.92, -0.8), (0.9, -0.3)]
    shape = np.concatenate([over, zigzag[::-1]])
    canvas.fill(shape, tone, depth=surface(shape) + 0.02)
    lines = np.stack([xy(0.55 * x, np.full(11, -1.15)), xy(0.9 * x, np.full(11, -0.8)), xy(x, tips - 0.03)], 1)
    canvas.hairs(curve(lines, closed=False, fine=4), _shades(rng, tone, 11), 0.03, 0.6)


def draw_beard(rng: np.random.Generator, canvas: Canvas, person: Person, look: Look, tone: Tone) -> None:
    """Beard and moustache; the mouth comes after them."""
    tone, wide = mix(tone, DARK, 0.2), mouth_width(person, look)
    y, jaw, chin = person.mouth_low, person.jaw, person.chin
    if look.beard in ("full", "stubble"):
        full = look.beard == "full"
        far = 0.06 * full
        outer = curve([(0, 1.44 + 2.5 * far), (chin + 0.02, 1.38 + 2.2 * far),
                       (0.55 * jaw + 0.45 * chin + far, 1.18 + far), (jaw + far, 0.86), (0.52 + 0.5 * jaw, 0.5),
                       (0.99, 0.1)], closed=False)  # fmt: skip
        inner = curve([(0.9, 0.1), (0.82, 0.45), (0.62, 0.72), (wide + 0.1, y - 0.12), (wide + 0.06, y + 0.05),
                       (0.1, y + 0.2), (0, y + 0.19)], closed=False)  # fmt: skip
        half = np.concatenate([outer, inner])
        depth = np.concatenate([0.45 * ((outer[:, 1] - 0.1) / 1.3).clip(0, 1), surface(inner)])
        shape, depths = np.concatenate([half, mirrored(half[::-1])]), np.concatenate([depth, depth[::-1]])
        canvas.fill(shape, tone, 0.92 if full else 0.38, depths)
        x, share = rng.uniform(-0.9, 0.9, 60) * jaw, rng.random(60)
        start = xy(x, 0.75 + share * (0.6 - 0.75 * x**2))
        start = start[(np.abs(x) > wide + 0.06) | (start[:, 1] > y + 0.22)]
        lines = np.stack([start, start + xy(0.02 * np.sign(start[:, 0]), np.full(len(start), 0.07))], 1)
        canvas.hairs(lines, _shades(rng, tone, len(start)), 0.024, 0.55 if full else 0.4, 0.55)
    elif look.beard == "goatee":
        patch = [(-0.26, y + 0.22), (0, y + 0.17), (0.26, y + 0.22), (0.3, 1.34), (0.12, 1.52), (-0.12, 1.52),
                 (-0.3, 1.34)]  # fmt: skip
        canvas.fill(curve(patch), tone, 0.93)
    if look.moustache:
        low = person.nose_long + 0.12
        half = np.array([(0, low), (0.14, low - 0.01), (0.8 * wide, y - 0.07),
                         (wide + 0.1, y + 0.06 - 0.1 * look.smile), (0.7 * wide, y + 0.02), (0.1, y - 0.055),
                         (0, y - 0.05)])  # fmt: skip
        canvas.fill(curve(both_sides(half), fine=3), tone, 0.95)
        x = np.linspace(-0.8, 0.8, 11) * wide
        lines = np.stack([xy(0.7 * x, np.full(11, low + 0.04)), xy(1.15 * x, y - 0.05 + 0.05 * np.abs(x))], 1)
        canvas.hairs(lines, _shades(rng, tone, 11), 0.024, 0.5)
