"""The drawn classification sample keeps its promises: everything is measured on the written files."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from tasks.classification import sample
from tasks.classification.sample import CLASSES, draw_classification_sample
from tasks.shared.errors import UserError
from tests.tasks.shared.folders import contents

COUNTS = {"train": 50, "val": 20}  # of each class
CHANCE = 1 / len(CLASSES)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("classification") / "sample"
    draw_classification_sample(folder, **COUNTS)
    return folder


@pytest.fixture(scope="module")
def images(root: Path) -> dict[str, list[Image.Image]]:
    """All images of a split, those of a class together, in the order of CLASSES."""
    files = {split: [p for name in CLASSES for p in sorted((root / split / name).iterdir())] for split in COUNTS}
    return {split: [Image.open(p).convert("RGB") for p in paths] for split, paths in files.items()}


def labels(split: str) -> Tensor:
    return torch.arange(len(CLASSES)).repeat_interleave(COUNTS[split])


def linear_top1(features: dict[str, Tensor]) -> float:
    """Share of val that logistic regression on standardised features (N, D) of train gets right, best L2 of four."""
    mean, std = features["train"].mean(0), features["train"].std(0) + 1e-6
    train, val = ((features[split] - mean) / std for split in ("train", "val"))
    best = 0.0
    for strength in (0.01, 0.1, 1.0, 3.0):
        weight = torch.zeros(train.shape[1], len(CLASSES), requires_grad=True)
        bias = torch.zeros(len(CLASSES), requires_grad=True)
        lbfgs = torch.optim.LBFGS([weight, bias], max_iter=60, line_search_fn="strong_wolfe")

        def closure(strength=strength, weight=weight, bias=bias, lbfgs=lbfgs) -> float:
            lbfgs.zero_grad()
            loss = (
                nn.functional.cross_entropy(train @ weight + bias, labels("train")) + strength * weight.square().sum()
            )
            loss.backward()
            return loss.item()

        lbfgs.step(closure)
        best = max(best, ((val @ weight + bias).argmax(1) == labels("val")).double().mean().item())
    return best


def thumbnail(image: Image.Image) -> np.ndarray:
    return np.asarray(image.resize((16, 16), Image.Resampling.BOX), np.float32).ravel()


def histogram(image: Image.Image) -> np.ndarray:
    """Square roots of shares: 64 colours together, then 32 levels of every RGB and HSV channel."""
    rgb, hsv = np.asarray(image), np.asarray(image.convert("HSV"))
    joint = np.bincount((rgb // 64 @ (16, 4, 1)).ravel(), minlength=64)
    single = [
        np.bincount(channel.ravel() // 8, minlength=32) for both in (rgb, hsv) for channel in both.transpose(2, 0, 1)
    ]
    return np.sqrt(np.concatenate([joint, *single]) / joint.sum()).astype(np.float32)


def test_writes_imagenets_layout_with_equal_classes(root):
    assert sorted(p.name for p in root.iterdir()) == ["sample.json", "train", "val"]
    assert len(CLASSES) == 10
    for split, count in COUNTS.items():
        assert sorted(p.name for p in (root / split).iterdir()) == sorted(CLASSES)
        for name in CLASSES:
            files = sorted(p.name for p in (root / split / name).iterdir())
            assert files == [f"{name}_{number:05d}.jpg" for number in range(1, count + 1)]


def test_images_are_jpegs_of_many_sizes_and_qualities(root):
    sizes, tables = [], set()
    for path in root.rglob("*.jpg"):
        with Image.open(path) as image:
            assert image.format == "JPEG" and image.mode == "RGB"
            sizes.append(image.size)
            tables.add(str(vars(image)["quantization"]))
    sides = np.array(sizes)
    assert sides.min() >= 96 and sides.max() <= 200 and sides.std(0).min() > 15
    assert (sides[:, 0] != sides[:, 1]).mean() > 0.9
    assert np.log(sides[:, 0] / sides[:, 1]).std() > 0.15
    assert len(tables) > 20


def test_things_have_the_size_and_place_that_they_are_asked_for():
    for label, name in enumerate(CLASSES):
        for seed in range(6):
            centre, radius = np.array([70.3, 62.8]), 45.0
            black, white = (Image.new("RGB", (140, 120), colour) for colour in ("black", "white"))
            for image in (black, white):
                sample._draw_thing(np.random.default_rng((seed, label)), image, name, centre, radius)
            opacity = 1 - (np.asarray(white, float) - np.asarray(black, float)).mean(2) / 255
            rows, columns = np.nonzero(opacity > 0.8)
            reach = np.hypot(columns + 0.5 - centre[0], rows + 0.5 - centre[1]).max()
            assert 0.8 * radius < reach < 1.25 * radius, name  # a plate's corners reach beyond its axes
            tones = np.asarray(black.convert("L"), float)[opacity > 0.98]
            assert np.subtract(*np.percentile(tones, [97, 3])) > 50, name


@pytest.mark.parametrize("feature", [thumbnail, histogram])
def test_neither_thumbnails_nor_colours_tell_the_class(images, feature: Callable[[Image.Image], np.ndarray]):
    features = {split: torch.tensor(np.stack([feature(p) for p in images[split]])) for split in COUNTS}
    assert linear_top1(features) < 0.3 < 0.45  # MobileNet learns to tell more than 0.9
    # The same regression finds a class that is in the features, behind as much noise as they hold.
    spread = features["train"].std(0)
    told = {split: values.clone() for split, values in features.items()}
    for split, values in told.items():
        values[:, : len(CLASSES)] += 4 * spread[: len(CLASSES)] * nn.functional.one_hot(labels(split), len(CLASSES))
    assert linear_top1(told) > 0.7


def test_same_seed_gives_the_same_bytes(tmp_path):
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        draw_classification_sample(tmp_path / name, train=2, val=1, seed=seed)
    one, two, other = (contents(tmp_path / name) for name in ("one", "two", "other"))
    assert one == two
    assert one.keys() == other.keys()
    assert all(one[name] != other[name] for name in one)
    assert len(one) == 31 == len(set(one.values()))  # the splits differ, too


def test_a_image_does_not_depend_on_the_count(root, tmp_path):
    draw_classification_sample(tmp_path / "few", train=2, val=1)
    few, many = contents(tmp_path / "few"), contents(root)
    assert all(many[name] == content for name, content in few.items() if name.endswith(".jpg"))


def test_a_complete_set_is_left_alone(tmp_path, monkeypatch):
    draw_classification_sample(tmp_path / "sample", train=1, val=1)
    monkeypatch.setattr(sample, "_draw_into", lambda *_: pytest.fail("drawn again"))
    draw_classification_sample(tmp_path / "sample", train=1, val=1)


def test_a_lost_image_other_parameters_or_another_version_replace_the_set(tmp_path, monkeypatch):
    root = tmp_path / "sample"
    draw_classification_sample(root, train=1, val=1)
    whole = contents(root)
    (root / "train/star/star_00001.jpg").unlink()
    draw_classification_sample(root, train=1, val=1)
    assert contents(root) == whole
    draw_classification_sample(root, train=1, val=1, seed=1)
    assert not set(contents(root).values()) & set(whole.values())
    monkeypatch.setattr(sample, "VERSION", sample.VERSION + 1)
    draw_classification_sample(root, train=2, val=1)
    marker = json.loads((root / "sample.json").read_text())
    assert marker == {"format": sample.FORMAT, "version": sample.VERSION, "train": 2, "val": 1, "seed": 0}
    assert len(contents(root)) == 31
    assert list(tmp_path.iterdir()) == [root]


def test_an_interrupted_drawing_leaves_nothing_behind(tmp_path, monkeypatch):
    draw_classification_sample(tmp_path / "whole", train=1, val=1)
    whole = contents(tmp_path / "whole")
    draw = sample._draw_image

    def interrupted(seed: int, split: int, label: int, index: int):
        if label == 3:
            raise KeyboardInterrupt
        return draw(seed, split, label, index)

    monkeypatch.setattr(sample, "_draw_image", interrupted)
    for root in (tmp_path / "new", tmp_path / "whole"):
        with pytest.raises(KeyboardInterrupt):
            draw_classification_sample(root, train=2, val=1)
    assert list(tmp_path.iterdir()) == [tmp_path / "whole"]
    assert contents(tmp_path / "whole") == whole


@pytest.mark.parametrize("name", ["notes.txt", "train/star/mine.jpg", "train/dog/star_00001.jpg"])
def test_foreign_files_are_refused(tmp_path, name):
    for root in (tmp_path / "drawn", tmp_path / "precious"):
        if root.name == "drawn":
            draw_classification_sample(root, train=1, val=1)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("mine")
        before = contents(root)
        with pytest.raises(UserError, match=root.name):
            draw_classification_sample(root, train=2, val=1)
        assert contents(root) == before


@pytest.mark.parametrize("numbers", [{"train": 0}, {"val": 0}, {"seed": -1}])
def test_numbers_out_of_range_are_refused(tmp_path, numbers):
    with pytest.raises(UserError, match=r"data\.train"):
        draw_classification_sample(tmp_path / "sample", **{"train": 1, "val": 1} | numbers)
    assert not list(tmp_path.iterdir())


def test_is_silent_without_a_terminal(tmp_path, capfd):
    draw_classification_sample(tmp_path / "sample", train=1, val=1)
    assert capfd.readouterr() == ("", "")
