"""Either drawn set as a folder: repeatable, replaced where it is incomplete, never in the way of others."""

import json
import time
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from tasks.dogs import sample
from tasks.dogs.sample import BREEDS, LOOKS, draw_dogs_sample, draw_web_sample
from tasks.shared.errors import UserError
from tests.tasks.dogs.drawn import TRAIN, VAL, in_list, truth
from tests.tasks.shared.folders import contents


def test_same_seed_gives_the_same_bytes_at_any_time(tmp_path, monkeypatch):
    numbers = (("one", 3), ("two", 3), ("other", 4))
    for name, seed in numbers:
        monkeypatch.setattr(time, "asctime", lambda name=name: f"at {name} o'clock")  # scipy writes it
        draw_dogs_sample(tmp_path / name / "stanford", train=1, val=1, seed=seed)
        draw_web_sample(tmp_path / name / "web", train=1, val=1, web=3, seed=seed)
    one, two, other = (contents(tmp_path / name) for name, _ in numbers)
    assert one == two
    assert one.keys() == other.keys()
    images = [name for name in one if name.endswith(".jpg")]
    assert len(images) == 12 * 5 and not {one[name] for name in images} & {other[name] for name in images}
    assert len({content for name, content in one.items() if name.startswith("stanford/Images")}) == 12 * 2


def test_a_image_does_not_depend_on_the_count(clean, tmp_path):
    draw_dogs_sample(tmp_path / "few", train=1, val=1)
    for split, count in (("train", TRAIN), ("test", VAL)):
        few, many = in_list(tmp_path / "few", split), in_list(clean.root, split)[::count]
        for name, other in zip(few, many, strict=True):
            assert (tmp_path / "few/Images" / name).read_bytes() == (clean.root / "Images" / other).read_bytes()


Draw = Callable[..., None]


@pytest.fixture(params=["clean", "web"])
def draw(request) -> Draw:
    """Either sample, as small as it can be."""
    if request.param == "clean":
        return lambda root, **more: draw_dogs_sample(root, **{"train": 1, "val": 1} | more)
    return lambda root, **more: draw_web_sample(root, **{"train": 1, "val": 1, "web": 1} | more)


def test_a_complete_set_is_left_alone(draw: Draw, tmp_path, monkeypatch):
    draw(tmp_path / "sample")
    monkeypatch.setattr(sample, "draw_image", lambda *_, **__: pytest.fail("drawn again"))
    draw(tmp_path / "sample")


def test_a_lost_file_other_parameters_or_another_version_replace_the_set(draw: Draw, tmp_path, monkeypatch):
    root = tmp_path / "sample"
    draw(root)
    whole = contents(root)
    for lost in (next(root.rglob("*.jpg")), next(p for p in root.rglob("*") if p.suffix in (".mat", ".csv"))):
        lost.unlink()
        draw(root)
        assert contents(root) == whole
    monkeypatch.setattr(sample, "VERSION", sample.VERSION + 1)
    draw(root, seed=1)
    marker = json.loads((root / "sample.json").read_text())
    assert (marker["version"], marker["seed"], marker["train"], marker["val"]) == (sample.VERSION, 1, 1, 1)
    assert contents(root).keys() == whole.keys()
    assert not {p.read_bytes() for p in root.rglob("*.jpg")} & set(whole.values())
    assert list(tmp_path.iterdir()) == [root]


def test_an_interrupted_drawing_leaves_nothing_behind(draw: Draw, tmp_path, monkeypatch):
    draw(tmp_path / "whole")
    whole = contents(tmp_path / "whole")
    image = sample.draw_image

    def interrupted(rng: np.random.Generator, ears: str, tail: str, web: bool) -> tuple[Image.Image, np.ndarray]:
        if (ears, tail) == LOOKS[2]:
            raise KeyboardInterrupt
        return image(rng, ears, tail, web)

    monkeypatch.setattr(sample, "draw_image", interrupted)
    for root in (tmp_path / "new", tmp_path / "whole"):
        with pytest.raises(KeyboardInterrupt):
            draw(root, seed=1)
    assert list(tmp_path.iterdir()) == [tmp_path / "whole"]
    assert contents(tmp_path / "whole") == whole


@pytest.mark.parametrize(
    "name", ["notes.txt", f"{BREEDS[0]}/mine.jpg", f"Images/{BREEDS[0]}/mine.jpg", f"Annotation/{BREEDS[0]}/mine",
             "lists/my_list.mat"]
)  # fmt: skip
def test_foreign_files_are_refused(draw: Draw, tmp_path, name):
    for root in (tmp_path / "drawn", tmp_path / "precious"):
        if root.name == "drawn":
            draw(root)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("mine")
        before = contents(root)
        with pytest.raises(UserError, match=root.name):
            draw(root, seed=1)
        assert contents(root) == before


def test_neither_sample_replaces_the_other(tmp_path):
    draw_dogs_sample(tmp_path, 1, 1)
    before = contents(tmp_path)
    with pytest.raises(UserError, match="not part of a drawn noisy dogs sample"):
        draw_web_sample(tmp_path, 1, 1, 1)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(("number", "key"), [({"train": 0}, "train=0"), ({"val": 0}, "val=0"),
                                             ({"seed": -1}, "draw_seed=-1")])  # fmt: skip
def test_numbers_out_of_range_are_refused(draw: Draw, tmp_path, number, key):
    with pytest.raises(UserError, match=rf"data\.{key}"):
        draw(tmp_path / "sample", **number)
    assert not list(tmp_path.iterdir())


def test_no_web_files_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"data\.web=0"):
        draw_web_sample(tmp_path / "sample", train=1, val=1, web=0)
    assert not list(tmp_path.iterdir())


def test_few_web_files_are_duplicates_first(tmp_path):
    draw_web_sample(tmp_path / "sample", train=1, val=3, web=2)
    assert {row["kind"] for row in truth(tmp_path / "sample")} == {"duplicate"}


def test_is_silent_without_a_terminal(draw: Draw, tmp_path, capfd):
    draw(tmp_path / "sample")
    assert capfd.readouterr() == ("", "")
