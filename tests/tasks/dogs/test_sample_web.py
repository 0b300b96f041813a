"""The drawn dogs of a noisy web."""

import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageOps

from tasks.dogs import sample
from tasks.dogs.sample import BREEDS
from tests.tasks.dogs.drawn import BROKEN, IMAGES, TINY, WEB, in_list, look_of, thumbnails, truth
from tests.tasks.shared.folders import contents


def test_web_files_are_as_many_as_asked_for_and_all_in_the_table(web):
    assert sorted(p.name for p in web.root.iterdir()) == sorted([*BREEDS, "sample.json", "web_truth.csv"])
    names = [f"{breed}/{number:05d}.jpg" for breed in BREEDS for number in range(1, WEB + 1)]
    assert sorted(row["path"] for row in truth(web.root)) == sorted(names)
    assert {name for name in contents(web.root) if "/" in name} == set(names)
    assert list(truth(web.root)[0]) == ["path", "kind", "class", "test_picture"]
    for breed in BREEDS:
        kinds = Counter(row["kind"] for row in truth(web.root) if row["path"].startswith(breed))
        assert (kinds["broken"], kinds["tiny"], kinds["duplicate"]) == (BROKEN, TINY, 2)
        assert kinds["clean"] + kinds["wrong_label"] == WEB - BROKEN - TINY - 2


def test_the_table_says_what_the_files_show(web):
    shots = thumbnails([shot.image for shot in web.shots])
    odd = 0
    for row in truth(web.root):
        folder, shown = row["path"].split("/")[0], row["class"]
        if row["kind"] not in IMAGES:
            assert shown == ""
            continue
        assert (shown != folder) == (row["kind"] == "wrong_label")
        assert (row["test_picture"] != "") == (row["kind"] == "duplicate")
        with Image.open(web.root / row["path"]) as image:
            assert image.format == "JPEG" and image.mode == "RGB" and min(image.size) > 64
            if row["kind"] != "duplicate":
                alike = (shots @ thumbnails([image])[0]).round(6)
                assert alike.max() > 0.99 > np.sort(alike)[-2]  # no image twice
                assert web.shots[alike.argmax()].look == look_of(shown) and web.shots[alike.argmax()].web
                odd += shown != folder
    assert odd > 12


def test_broken_files_do_not_open_and_tiny_ones_are_tiny(web):
    forms = []
    for row in truth(web.root):
        path = web.root / row["path"]
        if row["kind"] == "broken":
            with pytest.raises(OSError), Image.open(path) as image:
                image.load()
            forms.append(path.read_bytes()[:2])
        else:
            with Image.open(path) as image:
                image.load()
                assert (min(image.size) < 32) == (row["kind"] == "tiny")
    assert Counter(forms) == dict.fromkeys([b"\xff\xd8", b"", b"<!", b"a "], 12)  # cut short, empty, a page, a text


def test_duplicates_are_like_their_test_images_and_nothing_else_is(clean, web):
    tests = in_list(clean.root, "test")
    images = [Image.open(clean.root / "Images" / name) for name in tests]
    straight, mirrored = thumbnails(images), thumbnails([ImageOps.mirror(image) for image in images])
    guises: Counter[str] = Counter()
    twins = []
    for row in truth(web.root):
        if row["kind"] not in IMAGES:
            continue
        content = (web.root / row["path"]).read_bytes()
        image = Image.open(io.BytesIO(content))
        thumbnail = thumbnails([image])[0]
        alike = np.maximum(straight @ thumbnail, mirrored @ thumbnail)
        if row["kind"] == "duplicate":
            twin = tests.index(row["test_picture"])
            twins.append(row["test_picture"])
            assert row["test_picture"].split("/")[0] == row["class"] == row["path"].split("/")[0]
            assert alike[twin] > 0.95
            guises["mirrored"] += (mirrored @ thumbnail)[twin] > 0.95 > (straight @ thumbnail)[twin]
            guises["other size"] += image.size != images[twin].size
            guises["other bytes"] += content != (clean.root / "Images" / tests[twin]).read_bytes()
            alike = np.delete(alike, twin)
        assert alike.max() < 0.8
    assert sorted(twins) == sorted(tests)  # two of each breed
    assert guises["mirrored"] >= 4 and guises["other size"] >= 8 and guises["other bytes"] >= 22


def test_shares_of_the_kinds(monkeypatch):
    """Labels alone: nothing is drawn."""
    blank, asked = Image.new("RGB", (40, 40)), []

    def nothing(seed: int, part: int, label: int, index: int) -> tuple[Image.Image, np.ndarray, np.random.Generator]:
        asked.append((part, label, index))
        return blank, np.zeros(4), np.random.default_rng((seed, part, label, index))

    monkeypatch.setattr(sample, "_image", nothing)
    monkeypatch.setattr(sample, "_jpeg", lambda *_: b"")
    files = list(sample._web_files(seed=0, train=30, val=30, web=200))
    assert len(files) == 12 * 200 and len(set(asked)) == len(asked)  # no image twice
    kinds = Counter(file.kind for file in files)
    wrong = [file for file in files if file.kind == "wrong_label"]
    assert len(wrong) / (len(wrong) + kinds["clean"]) == pytest.approx(0.25, abs=0.03)
    assert (kinds["broken"], kinds["tiny"], kinds["duplicate"]) == (12 * 6, 12 * 2, 12 * 2)
    for counts in (Counter(file.breed for file in wrong), Counter(file.path.split("/")[0] for file in wrong)):
        assert set(counts) == set(BREEDS) and min(counts.values()) > 0.04 * len(wrong)
    assert len({(file.breed, file.path.split("/")[0]) for file in wrong}) > 100  # of 132
    first_half = [file.kind for file in files if file.path.split("/")[1] <= "00100.jpg"]
    assert 0.3 < first_half.count("broken") / kinds["broken"] < 0.7  # kinds are in random order
