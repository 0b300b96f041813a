"""Drawn faces show what their parameters say, where a face has it; the head turns as heads do."""

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from tasks.shared.faces.drawn.canvas import DEEP, FINE, Canvas, Pose, curve, surface, xy
from tasks.shared.faces.drawn.face import CELEBA, LFW, draw_face
from tasks.shared.faces.drawn.person import (
    ATTRIBUTES,
    BIG_NOSE,
    BUSHY,
    NARROW,
    OVAL,
    PALE,
    SMILE,
    Look,
    Person,
    attributes_of,
    draw_look,
    draw_person,
)

PLAIN = draw_person(np.random.default_rng(4))._replace(
    style="short", hair="brown", skin=0.3, bangs=False, beard="none", moustache=False, long=1.0, nose_wide=0.18,
    brow_thick=0.06, eye_open=0.65, age=0.2, moles=(), freckles=(), hairline=-0.8, ear=1.0,
)  # fmt: skip
STRAIGHT = draw_look(np.random.default_rng(4), PLAIN)._replace(
    shift=(0.0, 0.0), size=1.0, turn=0.0, nod=0.0, tilt=0.0, smile=0.1, open=0.0, squint=1.0, bangs=False, beard="none",
    moustache=False, glasses="", hat="", earrings=False, light=(0.0, 0.0, 1.0), hardness=0.3,
)  # fmt: skip


def draw(person: Person, look: Look, seed: int = 0) -> np.ndarray:
    """(H, W, 3), 0 to 255."""
    return np.asarray(draw_face(np.random.default_rng(seed), person, look, CELEBA), float)


def units(changed: np.ndarray) -> np.ndarray:
    """Where (H, W) is true, (N, 2), in the head's units: x from its middle, y from the eyes."""
    rows, columns = np.nonzero(changed)
    return np.stack([columns + 0.5 - CELEBA.eyes_x, rows + 0.5 - CELEBA.eyes_y], 1) / CELEBA.scale


# What makes an attribute, and where it is seen: x0, y0, x1, y1 in units of half a head, with room for shift and size.
SEEN: dict[str, tuple[dict, dict, tuple[float, float, float, float]]] = {
    "Bald": ({"style": "bald"}, {}, (-1.4, -2.0, 1.4, 0.5)),
    "Bangs": ({}, {"bangs": True}, (-1.1, -1.6, 1.1, 0.0)),
    "Big_Nose": ({"nose_wide": 0.3}, {}, (-0.5, -0.3, 0.5, 0.9)),
    "Black_Hair": ({"hair": "black"}, {}, (-1.4, -2.0, 1.4, 0.4)),
    "Blond_Hair": ({"hair": "blond"}, {}, (-1.4, -2.0, 1.4, 0.4)),
    "Bushy_Eyebrows": ({"brow_thick": 0.13}, {}, (-1.0, -0.7, 1.0, 0.0)),
    "Eyeglasses": ({}, {"glasses": "square"}, (-1.3, -0.5, 1.3, 0.6)),
    "Mustache": ({}, {"moustache": True}, (-0.7, 0.4, 0.7, 1.2)),
    "Narrow_Eyes": ({"eye_open": 0.35}, {}, (-0.9, -0.35, 0.9, 0.3)),
    "No_Beard": ({}, {"beard": "full"}, (-1.3, -0.1, 1.3, 1.9)),
    "Smiling": ({}, {"smile": 0.95}, (-1.1, -0.35, 1.1, 1.5)),
    "Wearing_Earrings": ({}, {"earrings": True}, (-1.6, 0.1, 1.6, 1.4)),
    "Wearing_Hat": ({}, {"hat": "beanie"}, (-1.4, -2.0, 1.4, -0.2)),
}


@pytest.mark.parametrize("name", SEEN)
def test_an_attribute_is_seen_in_its_place_alone(name: str) -> None:
    of_person, of_look, (left, top, right, bottom) = SEEN[name]
    person, look = PLAIN._replace(**of_person), STRAIGHT._replace(**of_look)
    before, after = (
        dict(zip(ATTRIBUTES, attributes_of(*each), strict=True)) for each in ((PLAIN, STRAIGHT), (person, look))
    )
    assert {key for key in ATTRIBUTES if before[key] != after[key]} == {name}
    assert before[name] == (name == "No_Beard")
    for seed in range(4):
        changed = np.abs(draw(person, look, seed) - draw(PLAIN, STRAIGHT, seed)).max(2) > 30
        x, y = units(changed).T
        assert changed.sum() > 20, f"{name} shows"
        inside = (x > left) & (x < right) & (y > top) & (y < bottom)
        assert inside.mean() > 0.98, f"{name} shows where it belongs"


def test_a_face_is_longer_and_paler() -> None:
    """Of a bald head before the same background the skin ends lower, or is brighter."""
    bald = PLAIN._replace(style="bald")
    chin = {}
    for long in (0.95, 1.15):
        person = bald._replace(long=long)
        assert attributes_of(person, STRAIGHT)[ATTRIBUTES.index("Oval_Face")] == (long > OVAL)
        changed = np.abs(draw(person, STRAIGHT) - draw(person._replace(chin=0.3, jaw=0.7), STRAIGHT)).max(2) > 30
        chin[long] = units(changed)[:, 1].max()
    assert chin[1.15] > chin[0.95] + 0.15
    levels = [draw(bald._replace(skin=skin), STRAIGHT)[60:170, 60:120].mean() for skin in (0.05, 0.4, 0.8)]
    assert levels[0] > levels[1] + 15 > levels[2] + 30
    assert [attributes_of(bald._replace(skin=s), STRAIGHT)[ATTRIBUTES.index("Pale_Skin")] for s in (0.05, 0.4)] == [
        1,
        0,
    ]


def test_attributes_begin_where_they_say() -> None:
    for key, limit, name, above in (
        ("nose_wide", BIG_NOSE, "Big_Nose", True), ("brow_thick", BUSHY, "Bushy_Eyebrows", True),
        ("eye_open", NARROW, "Narrow_Eyes", False), ("long", OVAL, "Oval_Face", True),
        ("skin", PALE, "Pale_Skin", False),
    ):  # fmt: skip
        for step in (-1e-6, 1e-6):
            person = PLAIN._replace(**{key: limit + step})  # type: ignore[arg-type]
            assert attributes_of(person, STRAIGHT)[ATTRIBUTES.index(name)] == ((step > 0) == above), name
    smiling = [
        attributes_of(PLAIN, STRAIGHT._replace(smile=SMILE + d))[ATTRIBUTES.index("Smiling")] for d in (-1e-6, 1e-6)
    ]
    assert smiling == [False, True]
    assert list(ATTRIBUTES) == sorted(ATTRIBUTES), "CelebA's names are in the order of the alphabet"


def test_every_attribute_is_neither_rare_nor_everywhere() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(1500):
        person = draw_person(rng)
        found.append(attributes_of(person, draw_look(rng, person)))
    shares = dict(zip(ATTRIBUTES, np.mean(found, 0), strict=True))
    assert all(0.09 < share < 0.82 for share in shares.values()), shares
    assert 0.4 < shares["Smiling"] < 0.6


def test_a_person_stays_and_looks_change() -> None:
    person = draw_person(np.random.default_rng(0))
    assert person == draw_person(np.random.default_rng(0)) != draw_person(np.random.default_rng(1))
    rng = np.random.default_rng(0)
    looks = [draw_look(rng, person) for _ in range(60)]
    assert {look.beard for look in looks} == {person.beard}
    assert len({look.hat for look in looks}) == 4 and np.std([look.turn for look in looks]) > 0.1
    assert all(abs(np.linalg.norm(look.light) - 1) < 1e-9 for look in looks)
    assert not any(look.bangs for look in looks if look.hat)


def test_the_same_chance_gives_the_same_image() -> None:
    first, again, other = (draw(PLAIN, STRAIGHT, seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and np.abs(first - other).mean() > 5
    assert draw_face(np.random.default_rng(0), PLAIN, STRAIGHT, LFW).size == (250, 250)


def test_all_kinds_of_people_can_be_drawn() -> None:
    rng = np.random.default_rng(5)
    for style in ("bald", "short", "swept", "bob", "long", "curly", "bun"):
        for hat in ("", "cap", "beanie", "brim"):
            person = draw_person(rng)._replace(style=style)
            look = draw_look(rng, person)._replace(
                hat=hat, turn=0.45, nod=-0.18, tilt=0.25, glasses="round", earrings=True
            )
            assert 10 < draw(person, look).std() < 110


def test_poses_against_rotations() -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        turn, nod, tilt, long = (*rng.uniform(-0.5, 0.5, 3), rng.uniform(0.9, 1.2))
        pose = Pose(turn, nod, tilt, 40.0, 90.0, 110.0, long)
        points = rng.uniform(-1, 1, (5, 3))
        turned = Rotation.from_euler("yxz", [turn, nod, tilt]).apply(points * (1, long, 1))
        found = np.concatenate([points, np.ones((5, 1))], 1) @ pose.matrix()
        assert np.allclose(found, 40 * turned[:, :2] + (90, 110))
    assert np.allclose(surface(np.array([(0.0, 0.0), (5.0, 0.0)])), [DEEP, 0])


def test_turning_moves_what_stands_out_the_most() -> None:
    """The nose's tip further than the cheeks, and the near cheek looks wider than the far one."""
    canvas = [Canvas(Image.new("RGB", (100, 100)), Pose(turn, 0, 0, 20, 25, 25, 1)) for turn in (0.0, 0.3)]
    nose, cheeks = np.array([(0.0, 0.5)]), np.array([(-0.7, 0.5), (0.7, 0.5)])
    moved = canvas[1].place(nose, 1.3) - canvas[0].place(nose, 1.3)
    beside = canvas[1].place(cheeks) - canvas[0].place(cheeks)
    assert moved[0, 0] > beside[:, 0].max() > 0
    left, right = np.diff(np.sort([*canvas[1].place(cheeks)[:, 0], canvas[1].place(nose)[0, 0]]))
    assert left > right


def test_what_is_drawn_lies_where_it_should() -> None:
    canvas = Canvas(Image.new("RGB", (40 * FINE, 40 * FINE)), Pose(0, 0, 0, 10, 20, 20, 1))
    canvas.fill(np.array([(-1.0, -0.5), (1.0, -0.5), (1.0, 0.5), (-1.0, 0.5)]), (255, 255, 255), depth=0.0)
    white = np.asarray(canvas.finished())[..., 0] > 128
    assert np.array_equal(np.flatnonzero(white.any(0)), np.arange(10, 30))
    assert np.array_equal(np.flatnonzero(white.any(1)), np.arange(15, 25))


@pytest.mark.parametrize("closed", [True, False])
def test_curves_pass_through_their_knots(closed: bool) -> None:
    knots = np.random.default_rng(0).normal(size=(7, 2))
    line = curve(knots, closed, fine=5)
    assert np.allclose(line[::5][:7], knots) and len(line) == (35 if closed else 31)
    steps = np.diff(line, axis=0)
    turns = np.abs(np.diff(steps, axis=0)).max()
    assert turns < np.abs(np.diff(knots, axis=0)).max(), "without corners"
    straight = curve(xy(np.arange(5.0), 2 * np.arange(5.0)), closed=False)
    assert np.allclose(straight[:, 1], 2 * straight[:, 0])
    assert np.allclose(curve(np.stack([knots, knots + 1]), closed, 5)[1], line + 1)
