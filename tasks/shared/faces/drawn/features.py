"""The parts of a face that everybody has."""

from functools import partial

import numpy as np

from tasks.shared.faces.drawn.canvas import Canvas, Points, Tone, band, both_sides, curve, ellipse, mirrored, mix, xy
from tasks.shared.faces.drawn.person import IRISES, Look, Person

DARK, WHITE = (26.0, 18.0, 16.0), (248.0, 244.0, 240.0)
LIP, BLOOD, BLUSH = (176.0, 62.0, 66.0), (62.0, 22.0, 18.0), (214.0, 74.0, 66.0)
T = np.linspace(-1, 1, 17)  # along lids, brows and lips
SIDES = (1, -1)


def outline(person: Person, wider: float = 0.0, top: float = 0.0) -> tuple[Points, Points]:
    """The head's outline (N, 2), from the top clockwise, and its depth (N,); wider: added all round, top: on top."""
    jaw, chin, skull = person.jaw, person.chin, person.skull
    right = [
        (0, -1.32 - top), (0.58 * skull, -1.2 - 0.9 * top), (0.92 * skull, -0.88 - 0.5 * top), (1.01 * skull, -0.45),
        (0.99, 0.02), (0.5 + 0.5 * jaw, 0.5), (jaw, 0.86), (0.55 * jaw + 0.45 * chin, 1.18), (chin, 1.37), (0, 1.43),
    ]  # fmt: skip
    line = curve(both_sides(right)) * (1 + wider)
    return line, 0.5 * ((line[:, 1] - 0.1) / 1.3).clip(0, 1)


def draw_neck(canvas: Canvas, person: Person, skin: Tone, cloth: Tone, collar: float) -> None:
    """Neck, shoulders and clothes; collar: 0 high to 1 low."""
    neck = 0.5 + 0.2 * person.jaw
    canvas.fill(curve([(-neck, 0.6), (neck, 0.6), (neck + 0.04, 1.7), (1.2, 2.5), (-1.2, 2.5), (-neck - 0.04, 1.7)]),
                mix(skin, DARK, 0.12), depth=-0.15)  # fmt: skip
    canvas.glow(curve([(-neck, 1.1), (neck, 1.1), (neck, 1.55), (0, 1.8), (-neck, 1.55)]), mix(skin, DARK, 0.6), 0.55,
                depth=0.1)  # fmt: skip
    deep = 0.2 + 0.6 * collar
    right = [(0, 1.72 + deep), (0.62 * neck, 1.72 + 0.4 * deep), (neck + 0.06, 1.62), (1.3, 1.95), (2.1, 2.25),
             (2.6, 3.2), (2.7, 5)]  # fmt: skip
    half = curve(right, closed=False)
    canvas.fill(np.concatenate([half, mirrored(half[::-1])]), cloth, depth=-0.3)
    for side in SIDES:
        canvas.line(half[:13] * (side, 1), mix(cloth, DARK, 0.4), 0.05, depth=-0.3)


def draw_ears(canvas: Canvas, person: Person, skin: Tone) -> None:
    size = person.ear
    ear = curve([(0.9, -0.14), (1.08, -0.2 * size), (1.17, 0.02), (1.1, 0.3 * size), (0.98, 0.44 * size), (0.9, 0.3)])
    inner = curve([(1.0, -0.06), (1.1, -0.06), (1.08, 0.15), (1.0, 0.24)])
    for side in SIDES:
        canvas.fill(ear * (side, 1), mix(skin, DARK, 0.1), depth=-0.05)
        canvas.line(ear * (side, 1), mix(skin, DARK, 0.35), 0.02, 0.7, depth=-0.05)
        canvas.fill(inner * (side, 1), mix(skin, DARK, 0.4), 0.6, depth=-0.05)


def draw_head(canvas: Canvas, person: Person, look: Look, skin: Tone) -> None:
    """Skull and jaw, soft shades, and what the skin has of its own: lines, moles, freckles."""
    line, depth = outline(person)
    canvas.fill(line, skin, depth=depth)
    shadow, warm = mix(skin, BLOOD, 0.55), mix(skin, BLUSH, 0.6)
    wide, smile = mouth_width(person, look), look.smile
    fold = curve([(0.2, 0.48), (0.5 * wide + 0.22, 0.68), (wide + 0.12, person.mouth_low)], closed=False)
    pouch = curve([(0.6, 0.22), (1.0, 0.3), (1.35, 0.2)], closed=False) * (person.eye_apart, 1)
    for side in SIDES:
        canvas.glow(ellipse(0.52 * side, 0.5 - 0.06 * smile, 0.36, 0.27), warm, 0.28 + 0.15 * smile)
        canvas.glow(ellipse(person.eye_apart * side, -0.06, 1.6 * person.eye_wide, 0.24), shadow, 0.32)
        canvas.glow(ellipse(0.8 * side, 0.7, 0.22, 0.55), shadow, 0.25)
        canvas.line(fold * (side, 1), shadow, 0.028, 0.06 + 0.3 * person.age + 0.42 * smile)
        canvas.line(pouch * (side, 1), shadow, 0.022, 0.12 + 0.4 * person.age)
    canvas.glow(ellipse(0, 1.28, 0.28, 0.1), mix(skin, WHITE, 0.4), 0.3)
    canvas.glow(ellipse(0, -0.75, 0.62, 0.34), mix(skin, WHITE, 0.5), 0.25)
    canvas.line(curve([(-0.13, 1.18), (0, 1.15), (0.13, 1.18)], closed=False), shadow, 0.03, 0.3)
    for x, y in person.freckles:
        canvas.fill(ellipse(x, y, 0.018, 0.018, 6), mix(skin, (140, 70, 40), 0.6), 0.7)
    for x, y in person.moles:
        canvas.fill(ellipse(x, y, 0.035, 0.035, 10), mix(skin, DARK, 0.75))
    if person.age > 0.45:
        for y in (-0.8, -0.69, -0.58):
            canvas.line(curve([(-0.42, y + 0.03), (0, y), (0.42, y + 0.03)], closed=False), shadow, 0.018,
                        0.6 * person.age - 0.18)  # fmt: skip


def draw_eyes(canvas: Canvas, person: Person, look: Look, skin: Tone) -> None:
    high = person.eye_wide * person.eye_open * look.squint * (1 - 0.12 * look.smile)
    up, down = 0.95 * high * (1 - np.abs(T + 0.1) ** 2.2 / 1.2).clip(0), 0.6 * high * (1 - np.abs(T) ** 2.4)
    lid, radius = mix(skin, DARK, 0.6), 0.105
    for side in SIDES:
        place = partial(_of_eye, person, side)
        canvas.fill(place(band(T, -up, down)), WHITE)
        canvas.fill(place(band(T, -up, -0.6 * up)), lid, 0.3)
        for share, tone in ((1.0, mix(IRISES[person.iris], DARK, 0.55)), (0.8, IRISES[person.iris]), (0.42, DARK)):
            round_ = ellipse(0.3 * side * look.gaze, -0.1 * high, share * radius / person.eye_wide, share * radius)
            inside = np.clip(round_[:, 1], -np.interp(round_[:, 0], T, up), np.interp(round_[:, 0], T, down))
            canvas.fill(place(xy(round_[:, 0], inside)), tone)
        canvas.line(place(xy(T, -up)), DARK, 0.045)
        canvas.line(place(xy(T[8:], -up[8:] - 0.012)), DARK, 0.055)
        canvas.line(place(xy(T, down)), lid, 0.02, 0.7)
        canvas.line(place(xy(0.95 * T, -up - 0.075)), lid, 0.022, 0.6)
        canvas.fill(place(ellipse(side * (0.3 * look.gaze - 0.18), -0.35 * high, 0.13, 0.026, 8)), WHITE, 0.9)


def _of_eye(person: Person, side: int, points: Points) -> Points:
    """On the head, of points (N, 2) of an eye: x outwards in half widths of it, y down in units."""
    x, y = points[:, 0], points[:, 1]
    return xy(side * (person.eye_apart + person.eye_wide * x), y - 0.8 * person.eye_turn * person.eye_wide * x)


def draw_brows(canvas: Canvas, person: Person, look: Look, hair: Tone) -> None:
    tone = mix(hair, DARK, 0.5)
    middle = -person.brow_high - 0.04 * look.open - person.brow_arch * (1 - (T - 0.25) ** 2) - person.brow_slope * T
    half = 0.5 * person.brow_thick * (1 - 0.75 * T.clip(0) ** 1.5) * (1 - 0.3 * (T < -0.8))
    x = person.eye_apart + 1.3 * person.eye_wide * T
    shape = band(x, middle - half, middle + half)
    hairs = np.stack([xy(x - 0.01, middle + half), xy(x + 0.05, middle - 1.15 * half)], 1)[1:-1:2]
    for side in SIDES:
        canvas.fill(shape * (side, 1), tone, 0.9)
        canvas.hairs(hairs * (side, 1), [tone] * len(hairs), 0.024, 0.8)


def draw_nose(canvas: Canvas, person: Person, skin: Tone) -> None:
    wide, tip, out = person.nose_wide, person.nose_long, 0.95 + person.nose_out
    shadow, light = mix(skin, BLOOD, 0.6), mix(skin, WHITE, 0.55)
    flush = mix(skin, BLUSH, min(max(3.2 * wide - 0.42, 0.06), 0.7))  # large ones are rosy
    away = -1 if canvas.pose.turn > 0 else 1  # the side that the nose hides a little
    slope = np.array([(0.13, -0.12), (0.1, 0.1), (0.6 * wide, tip - 0.2), (wide, tip),
                      (0.03, tip), (0.02, tip - 0.25), (0.03, 0.05), (0.06, -0.12)])  # fmt: skip
    depth = np.array([0.93, 0.93, 0.95, 0.92, out, 0.95 + 0.6 * person.nose_out, 1.0, 0.98])
    canvas.fill(slope * (away, 1), shadow, 0.25, depth)
    canvas.glow(ellipse(0, tip + 0.1, 1.25 * wide, 0.1), shadow, 0.45, depth=0.95)
    canvas.fill(ellipse(0, tip - 0.06, 0.72 * wide, 0.13), flush, depth=out - 0.05)
    wing = curve([(0.5 * wide, tip - 0.12), (0.95 * wide, tip - 0.1), (wide, tip + 0.03), (0.6 * wide, tip + 0.07)])
    edge = curve([(0.82 * wide, tip - 0.14), (1.02 * wide, tip - 0.03), (0.86 * wide, tip + 0.07)], closed=False)
    for side in SIDES:
        canvas.fill(wing * (side, 1), flush, depth=0.98)
        canvas.line(edge * (side, 1), shadow, 0.036, 0.9, 0.98)
        hole = ellipse(0.45 * wide * side, tip + 0.045, 0.27 * wide, 0.02 + 0.09 * wide, 12)
        canvas.fill(hole, mix(skin, DARK, 0.85), depth=out - 0.12)
    canvas.glow(ellipse(0, tip - 0.09, 0.3 * wide, 0.06), light, 0.75, depth=out)
    ridge = np.array([(-0.03, -0.1), (0.03, -0.1), (0.04, tip - 0.2), (-0.04, tip - 0.2)])
    canvas.glow(ridge, light, 0.4, 3, 0.5 * (1 + out))


def mouth_width(person: Person, look: Look) -> float:
    """Half of it."""
    return person.mouth_wide * (1 + 0.28 * look.smile - 0.06 * look.open)


def draw_mouth(canvas: Canvas, person: Person, look: Look, skin: Tone) -> None:
    wide, y = mouth_width(person, look), person.mouth_low
    x, bend = wide * T, y + 0.02 + 0.1 * look.smile - (0.36 * look.smile - 0.08) * T**2  # where the lips meet
    gap = look.open * (0.12 + 0.08 * look.smile) * (1 - T**2) ** 0.8
    upper = 0.85 * person.lips * (1 - T**2) ** 0.7 * (1 - 0.3 * np.exp(-((T / 0.16) ** 2))) * (1 - 0.3 * look.smile)
    lower = 1.15 * person.lips * (1 - T**2) ** 0.6 * (1 - 0.25 * look.smile)
    top, bottom, tone = bend - 0.35 * gap, bend + 0.65 * gap, mix(skin, LIP, 0.5)
    canvas.glow(ellipse(0, y + 1.9 * person.lips + 0.12, 0.7 * wide, 0.06), mix(skin, DARK, 0.6), 0.35)
    canvas.fill(band(x, top - upper, top + 0.004), mix(tone, DARK, 0.14))
    canvas.fill(band(x, bottom - 0.004, bottom + lower), tone)
    canvas.glow(band(0.6 * x, bottom + 0.3 * lower, bottom + 0.7 * lower), mix(tone, WHITE, 0.6), 0.4, 3)
    if look.open > 0:
        canvas.fill(band(x, top, bottom), BLOOD)
        canvas.fill(band(0.93 * x, top, np.minimum(bottom, top + (0.13 if look.smile > 0.3 else 0.0))), WHITE, 0.95)
    else:
        canvas.line(xy(x, bend), mix(tone, DARK, 0.7), 0.03)
    corner = np.array([(0.96 * wide, bend[-1] + 0.01), (wide + 0.05, bend[-1] - 0.03 * look.smile)])
    for side in SIDES:
        canvas.line(corner * (side, 1), mix(skin, DARK, 0.6), 0.035, 0.7)
