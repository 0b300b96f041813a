"""The drawn dogs sample keeps its promises: measured on the written files, and on the pictures as they are drawn."""

import copy
import csv
import io
import json
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from scipy.io import loadmat
from torch import Tensor, nn

from tasks.dogs import sample, sample_drawing
from tasks.dogs.sample import BREEDS, LOOKS, draw_dogs_sample, draw_web_sample
from tasks.dogs.stanford import largest_box, read_stanford_dogs
from tasks.shared.errors import UserError

TRAIN, VAL, WEB = 3, 2, 20  # files of each breed
BROKEN, TINY = 4, 3  # of them, far more than by default: one of each kind
PICTURES = ("clean", "wrong_label", "duplicate")  # kinds of files that show a dog


class Shot(NamedTuple):
    """A picture as it was drawn, what it was asked to show, and the randomness that it was drawn from."""

    picture: Image.Image
    box: np.ndarray
    look: tuple[str, str]
    web: bool
    rng: np.random.Generator


class Drawn(NamedTuple):
    root: Path
    shots: list[Shot]  # in the order of drawing


def watch(patch: pytest.MonkeyPatch) -> list[Shot]:
    """The pictures that are drawn from now on."""
    shots: list[Shot] = []
    draw = sample.draw_picture

    def watched(rng: np.random.Generator, ears: str, tail: str, web: bool) -> tuple[Image.Image, np.ndarray]:
        before = copy.deepcopy(rng)
        picture, box = draw(rng, ears, tail, web)
        shots.append(Shot(picture, box, (ears, tail), web, before))
        return picture, box

    patch.setattr(sample, "draw_picture", watched)
    return shots


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> Drawn:
    root = tmp_path_factory.mktemp("dogs") / "stanford"
    with pytest.MonkeyPatch.context() as patch:
        shots = watch(patch)
        draw_dogs_sample(root, TRAIN, VAL)
    return Drawn(root, shots)


@pytest.fixture(scope="module")
def web(tmp_path_factory) -> Drawn:
    root = tmp_path_factory.mktemp("dogs") / "web"
    with pytest.MonkeyPatch.context() as patch:
        shots = watch(patch)
        patch.setattr(sample, "BROKEN", BROKEN / WEB)
        patch.setattr(sample, "TINY", TINY / WEB)
        draw_web_sample(root, TRAIN, VAL, WEB)
    return Drawn(root, shots)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def truth(root: Path) -> list[dict[str, str]]:
    with (root / "web_truth.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def in_list(root: Path, name: str) -> list[str]:
    return [str(cell[0].item()) for cell in loadmat(root / f"lists/{name}_list.mat")["file_list"]]


def look_of(breed: str) -> tuple[str, str]:
    """Ears and tail, from a folder such as n90000001-Flag-tailed_prick_ear."""
    tail, ears = breed.split("-", 1)[1].removesuffix("_ear").split("-tailed_")
    return ears, tail.lower()


def thumbnails(pictures: Sequence[Image.Image]) -> np.ndarray:
    """Grey, [n, 256], of mean 0 and length 1, so that products are correlations."""
    small = [picture.convert("L").resize((16, 16), Image.Resampling.BOX) for picture in pictures]
    values = np.stack([np.asarray(each, float).ravel() for each in small])
    values -= values.mean(1, keepdims=True)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def without_dog(shot: Shot) -> Image.Image:
    """The same picture with the dog left out."""
    draw = sample_drawing._draw_dog
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sample_drawing, "_draw_dog", lambda rng, picture, *look: draw(rng, picture.copy(), *look))
        return sample_drawing.draw_picture(copy.deepcopy(shot.rng), *shot.look, web=shot.web)[0]


def test_can_be_read_as_stanford_dogs(clean):
    dogs = read_stanford_dogs(clean.root, ("train", "val"), official=False)
    assert [breed.folder for breed in dogs.breeds] == BREEDS
    assert len(BREEDS) == 12 == len({look_of(breed) for breed in BREEDS})
    assert [look_of(breed) for breed in BREEDS] == LOOKS
    names = {split: [bytes(name).decode() for name in pictures.names] for split, pictures in dogs.pictures.items()}
    for split, count in (("train", TRAIN), ("val", VAL)):
        labels = dogs.pictures[split].labels
        assert np.bincount(labels).tolist() == [count] * 12
        assert [name.split("/")[0] for name in names[split]] == [BREEDS[label] for label in labels]
    listed = names["train"] + names["val"]
    assert len(set(listed)) == len(listed)
    assert {p.relative_to(clean.root / "Images").as_posix() for p in clean.root.glob("Images/*/*")} == set(listed)
    cut = read_stanford_dogs(clean.root, ("val",), official=False, box_crop=True)
    whole, boxed = dogs.pictures["val"].read(0), cut.pictures["val"].read(0)
    assert 0 < boxed.shape[-2] * boxed.shape[-1] < whole.shape[-2] * whole.shape[-1]


def test_lists_have_the_official_fields(clean):
    for name, count in (("train", TRAIN), ("test", VAL), ("file", TRAIN + VAL)):
        content = loadmat(clean.root / f"lists/{name}_list.mat")
        assert {key for key in content if not key.startswith("__")} == {"file_list", "annotation_list", "labels"}
        for key in ("file_list", "annotation_list", "labels"):
            assert content[key].shape == (12 * count, 1), key
        files = in_list(clean.root, name)
        assert [str(cell[0].item()) for cell in content["annotation_list"]] == [f.removesuffix(".jpg") for f in files]
        assert [BREEDS[int(label) - 1] for label in content["labels"][:, 0]] == [f.split("/")[0] for f in files]
    assert in_list(clean.root, "file") == sorted(in_list(clean.root, "train") + in_list(clean.root, "test"))


def test_files_are_jpegs_of_many_sizes_and_qualities(clean):
    sizes, tables = [], set()
    for path in clean.root.glob("Images/*/*.jpg"):
        with Image.open(path) as picture:
            assert picture.format == "JPEG" and picture.mode == "RGB"
            sizes.append(picture.size)
            tables.add(str(vars(picture)["quantization"]))
    sides = np.array(sizes)
    assert sides.min() >= 118 and sides.max() <= 202 and sides.std(0).min() > 10
    assert np.log(sides[:, 0] / sides[:, 1]).std() > 0.08
    assert len(tables) > 20


def test_annotations_are_those_of_their_pictures(clean):
    for path in clean.root.glob("Annotation/*/*"):
        tree = ElementTree.parse(path)
        number, name = path.parent.name.split("-", 1)
        assert (tree.findtext("folder"), tree.findtext("filename")) == (number[1:], path.name)
        assert [thing.findtext("name") for thing in tree.iterfind("object")] == [name]
        with Image.open(clean.root / "Images" / path.parent.name / f"{path.name}.jpg") as picture:
            assert tree.findtext("size/width") == str(picture.width)
            assert tree.findtext("size/height") == str(picture.height)


def test_boxes_are_around_the_dogs_of_the_right_breed(clean):
    names = [name for breed in BREEDS for split in ("train", "test") for name in in_list(clean.root, split)
             if name.startswith(breed)]  # fmt: skip
    assert len(names) == len(clean.shots)
    for name, shot in zip(names, clean.shots, strict=True):
        assert shot.look == look_of(name.split("/")[0]) and not shot.web
        with Image.open(clean.root / "Images" / name) as file:
            assert np.prod(thumbnails([file, shot.picture]), axis=0).sum() > 0.99
        left, top, right, bottom = box = largest_box(clean.root / "Annotation" / name.removesuffix(".jpg"))
        width, height = shot.picture.size
        assert 0 <= left < right <= width and 0 <= top < bottom <= height
        assert all(float(end).is_integer() for end in box)
        changed = np.asarray(shot.picture, int) - np.asarray(without_dog(shot), int)
        rows, columns = (np.flatnonzero((abs(changed).max(2) > 20).any(axis)) for axis in (1, 0))
        ends = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        np.testing.assert_allclose(box, ends, atol=6)  # a dog has a halo of three pixels
        assert 0.4 * min(width, height) < max(right - left, bottom - top)
        inside = abs(changed).max(2)[round(top) : round(bottom), round(left) : round(right)]
        assert 0.3 < (inside > 20).mean() < 0.8


def test_dogs_are_in_the_picture_at_many_places_and_face_either_way():
    beyond, middles, facing = [], [], []
    for label, look in enumerate(LOOKS):
        for seed in range(25):
            size = np.array([(150, 150), (170, 140), (130, 160)][seed % 3])
            picture = Image.new("RGB", tuple(size.tolist()))
            box = sample_drawing._draw_dog(np.random.default_rng((seed, label)), picture, *look)
            beyond.append(max(-box.min(), (box[2:] - size).max()) / size.min())
            middles.append(((box[:2] + box[2:]) - size) / 2 / size.min())
            if look[1] == "bob":  # the head is higher than the rump
                top = np.flatnonzero(np.asarray(picture).max(2)[max(round(box[1]), 0) + 4])
                facing.append(top.mean() > (box[0] + box[2]) / 2)
    assert max(beyond) <= 0, "no dog is cut"
    assert 0.35 < np.mean(facing) < 0.65
    assert np.std(middles, axis=0).min() > 0.02 and abs(np.mean(middles, axis=0)).max() < 0.02


def test_every_kind_of_tail_has_its_own_shape():
    ends: dict[str, list[float]] = {"bob": [], "flag": [], "curl": []}
    lengths = copy.deepcopy(ends)
    for kind, found in ends.items():
        for seed in range(20):
            middle, _ = sample_drawing._tail(np.random.default_rng(seed), kind, np.zeros(2))
            lengths[kind].append(np.linalg.norm(np.diff(middle, axis=0), axis=1).sum())
            found.append(float(np.linalg.norm(middle[-1] - middle[0])) / lengths[kind][-1])
    assert max(lengths["bob"]) < 0.5 * min(lengths["flag"])
    assert min(ends["flag"]) > 0.85  # nearly straight
    assert max(ends["curl"]) < 0.5 and min(lengths["curl"]) > 2 * max(lengths["bob"])


def test_every_kind_of_ear_has_its_own_shape():
    for seed in range(20):
        # Height above the root, depth below it, and how wide the ear is near its highest point.
        shape, parts = {}, {}
        for kind in sample_drawing.EARS:
            groups = sample_drawing._ear(np.random.default_rng(seed), kind, np.zeros(2))
            parts[kind] = len(groups)
            corners = np.concatenate([sample_drawing._outline(stroke, 0) for group in groups for stroke in group])
            top = corners[corners[:, 1] < corners[:, 1].min() + 0.05]
            shape[kind] = (-corners[:, 1].min(), corners[:, 1].max(), np.ptp(top[:, 0]))
        standing = [shape[kind][0] for kind in ("prick", "round", "folded")]
        assert shape["drop"][0] < min(standing) and shape["drop"][1] > 2 * shape["prick"][1]
        assert shape["round"][2] > 3 * shape["prick"][2]
        assert shape["folded"][0] < 0.85 * shape["prick"][0]
        assert parts == {"prick": 1, "round": 1, "drop": 1, "folded": 2}


def fit_and_score(train: Tensor, val: Tensor, labels: Tensor, answers: Tensor) -> float:
    """Share of `val` (N, D) that logistic regression on standardised features gets right, best L2 of three."""
    mean, std = train.mean(0), train.std(0) + 1e-6
    train, val = (train - mean) / std, (val - mean) / std
    best = 0.0
    for strength in (0.01, 0.1, 1.0):
        model = nn.Linear(train.shape[1], len(BREEDS))
        nn.init.zeros_(model.weight)
        nn.init.zeros_(model.bias)
        lbfgs = torch.optim.LBFGS(model.parameters(), max_iter=60, line_search_fn="strong_wolfe")

        def closure(strength=strength, model=model, lbfgs=lbfgs) -> float:
            lbfgs.zero_grad()
            loss = nn.functional.cross_entropy(model(train), labels) + strength * model.weight.square().sum()
            loss.backward()
            return loss.item()

        lbfgs.step(closure)
        best = max(best, (model(val).argmax(1) == answers).double().mean().item())
    return best


def test_thumbnails_do_not_tell_the_breed():
    features, labels = [], []
    for part, count in enumerate((20, 10)):
        pictures = [
            sample_drawing.draw_picture(np.random.default_rng((1, part, label, index)), *look, web=False)[0]
            for label, look in enumerate(LOOKS)
            for index in range(count)
        ]
        small = [picture.resize((16, 16), Image.Resampling.BOX) for picture in pictures]
        features.append(torch.tensor(np.stack([np.asarray(each, np.float32).ravel() for each in small])))
        labels.append(torch.arange(len(LOOKS)).repeat_interleave(count))
    assert fit_and_score(*features, *labels) < 0.3
    # The same regression finds a breed that shows in five of its 768 values.
    shown, spread = 5 * len(LOOKS), features[0].std(0)
    for values, label in zip(features, labels, strict=True):
        values[:, :shown] += 4 * spread[:shown] * nn.functional.one_hot(label, len(LOOKS)).repeat(1, 5)
    assert fit_and_score(*features, *labels) > 0.7


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
    shots = thumbnails([shot.picture for shot in web.shots])
    odd = 0
    for row in truth(web.root):
        folder, shown = row["path"].split("/")[0], row["class"]
        if row["kind"] not in PICTURES:
            assert shown == ""
            continue
        assert (shown != folder) == (row["kind"] == "wrong_label")
        assert (row["test_picture"] != "") == (row["kind"] == "duplicate")
        with Image.open(web.root / row["path"]) as picture:
            assert picture.format == "JPEG" and picture.mode == "RGB" and min(picture.size) > 64
            if row["kind"] != "duplicate":
                alike = (shots @ thumbnails([picture])[0]).round(6)
                assert alike.max() > 0.99 > np.sort(alike)[-2]  # no picture twice
                assert web.shots[alike.argmax()].look == look_of(shown) and web.shots[alike.argmax()].web
                odd += shown != folder
    assert odd > 12


def test_broken_files_do_not_open_and_tiny_ones_are_tiny(web):
    forms = []
    for row in truth(web.root):
        path = web.root / row["path"]
        if row["kind"] == "broken":
            with pytest.raises(OSError), Image.open(path) as picture:
                picture.load()
            forms.append(path.read_bytes()[:2])
        else:
            with Image.open(path) as picture:
                picture.load()
                assert (min(picture.size) < 32) == (row["kind"] == "tiny")
    assert Counter(forms) == dict.fromkeys([b"\xff\xd8", b"", b"<!", b"a "], 12)  # cut short, empty, a page, a text


def test_duplicates_are_like_their_test_pictures_and_nothing_else_is(clean, web):
    tests = in_list(clean.root, "test")
    pictures = [Image.open(clean.root / "Images" / name) for name in tests]
    straight, mirrored = thumbnails(pictures), thumbnails([ImageOps.mirror(picture) for picture in pictures])
    guises: Counter[str] = Counter()
    twins = []
    for row in truth(web.root):
        if row["kind"] not in PICTURES:
            continue
        content = (web.root / row["path"]).read_bytes()
        picture = Image.open(io.BytesIO(content))
        thumbnail = thumbnails([picture])[0]
        alike = np.maximum(straight @ thumbnail, mirrored @ thumbnail)
        if row["kind"] == "duplicate":
            twin = tests.index(row["test_picture"])
            twins.append(row["test_picture"])
            assert row["test_picture"].split("/")[0] == row["class"] == row["path"].split("/")[0]
            assert alike[twin] > 0.95
            guises["mirrored"] += (mirrored @ thumbnail)[twin] > 0.95 > (straight @ thumbnail)[twin]
            guises["other size"] += picture.size != pictures[twin].size
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

    monkeypatch.setattr(sample, "_picture", nothing)
    monkeypatch.setattr(sample, "_jpeg", lambda *_: b"")
    files = list(sample._web_files(seed=0, train=30, val=30, web=200))
    assert len(files) == 12 * 200 and len(set(asked)) == len(asked)  # no picture twice
    kinds = Counter(file.kind for file in files)
    wrong = [file for file in files if file.kind == "wrong_label"]
    assert len(wrong) / (len(wrong) + kinds["clean"]) == pytest.approx(0.25, abs=0.03)
    assert (kinds["broken"], kinds["tiny"], kinds["duplicate"]) == (12 * 6, 12 * 2, 12 * 2)
    for counts in (Counter(file.breed for file in wrong), Counter(file.path.split("/")[0] for file in wrong)):
        assert set(counts) == set(BREEDS) and min(counts.values()) > 0.04 * len(wrong)
    assert len({(file.breed, file.path.split("/")[0]) for file in wrong}) > 100  # of 132
    first_half = [file.kind for file in files if file.path.split("/")[1] <= "00100.jpg"]
    assert 0.3 < first_half.count("broken") / kinds["broken"] < 0.7  # kinds are in random order


def test_same_seed_gives_the_same_bytes_at_any_time(tmp_path, monkeypatch):
    numbers = (("one", 3), ("two", 3), ("other", 4))
    for name, seed in numbers:
        monkeypatch.setattr(time, "asctime", lambda name=name: f"at {name} o'clock")  # scipy writes it
        draw_dogs_sample(tmp_path / name / "stanford", train=1, val=1, seed=seed)
        draw_web_sample(tmp_path / name / "web", train=1, val=1, web=3, seed=seed)
    one, two, other = (contents(tmp_path / name) for name, _ in numbers)
    assert one == two
    assert one.keys() == other.keys()
    pictures = [name for name in one if name.endswith(".jpg")]
    assert len(pictures) == 12 * 5 and not {one[name] for name in pictures} & {other[name] for name in pictures}
    assert len({content for name, content in one.items() if name.startswith("stanford/Images")}) == 12 * 2


def test_a_picture_does_not_depend_on_the_count(clean, tmp_path):
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
    monkeypatch.setattr(sample, "draw_picture", lambda *_, **__: pytest.fail("drawn again"))
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
    picture = sample.draw_picture

    def interrupted(rng: np.random.Generator, ears: str, tail: str, web: bool) -> tuple[Image.Image, np.ndarray]:
        if (ears, tail) == LOOKS[2]:
            raise KeyboardInterrupt
        return picture(rng, ears, tail, web)

    monkeypatch.setattr(sample, "draw_picture", interrupted)
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
