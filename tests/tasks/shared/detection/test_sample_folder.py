"""The drawn detection sample as a folder: repeatable, replaced where it is incomplete, never in the way of others."""

import json
import subprocess
import sys

import pytest

from tasks.shared.detection import sample
from tasks.shared.detection.sample import draw_detection_sample
from tests.tasks.shared.folders import contents


def test_same_seed_gives_the_same_bytes(tmp_path):
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        draw_detection_sample(tmp_path / name, train=4, val=2, seed=seed)
    one, two, other = (contents(tmp_path / name) for name in ("one", "two", "other"))
    assert one == two
    assert one.keys() == other.keys()
    assert all(one[name] != other[name] for name in one)
    images = [content for name, content in one.items() if name.endswith(".jpg")]
    assert len(images) == 6 == len(set(images))  # the splits differ, too


def test_a_image_does_not_depend_on_the_count(tmp_path):
    draw_detection_sample(tmp_path / "few", train=2, val=1)
    draw_detection_sample(tmp_path / "many", train=4, val=3)
    few, many = contents(tmp_path / "few"), contents(tmp_path / "many")
    assert all(many[name] == content for name, content in few.items() if name.endswith(".jpg"))


def test_a_complete_set_is_left_alone(tmp_path, monkeypatch):
    root = tmp_path / "sample"
    draw_detection_sample(root, train=2, val=1)
    times = {p: p.stat().st_mtime_ns for p in root.rglob("*")}
    monkeypatch.setattr(sample, "_draw_into", lambda *_: pytest.fail("drawn again"))
    draw_detection_sample(root, train=2, val=1)
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*")} == times


@pytest.mark.parametrize("lost", ["train/000002.jpg", "annotations/instances_val.json"])
def test_an_incomplete_set_is_drawn_again(tmp_path, lost):
    root = tmp_path / "sample"
    draw_detection_sample(root, train=2, val=1)
    before = contents(root)
    (root / lost).unlink()
    draw_detection_sample(root, train=2, val=1)
    assert contents(root) == before
    assert list(tmp_path.iterdir()) == [root]


def test_other_parameters_or_another_version_replace_the_set(tmp_path, monkeypatch):
    root = tmp_path / "sample"
    draw_detection_sample(root, train=2, val=1)
    draw_detection_sample(root, train=1, val=1)
    instances = json.loads((root / "annotations/instances_train.json").read_text())
    assert len(instances["images"]) == 1 == len(list((root / "train").iterdir()))
    monkeypatch.setattr(sample, "VERSION", sample.VERSION + 1)
    draw_detection_sample(root, train=1, val=1)
    assert json.loads((root / "sample.json").read_text())["version"] == sample.VERSION
    assert list(tmp_path.iterdir()) == [root]


def test_an_interrupted_drawing_leaves_nothing_behind(tmp_path, monkeypatch):
    draw_detection_sample(tmp_path / "whole", train=3, val=1)
    whole = contents(tmp_path / "whole")
    draw = sample._draw_image

    def interrupted(seed: int, split: int, index: int):
        if index == 2:
            raise KeyboardInterrupt
        return draw(seed, split, index)

    with monkeypatch.context() as patch:
        patch.setattr(sample, "_draw_image", interrupted)
        for root in (tmp_path / "new", tmp_path / "whole"):
            with pytest.raises(KeyboardInterrupt):
                draw_detection_sample(root, train=4, val=1)
    assert list(tmp_path.iterdir()) == [tmp_path / "whole"]
    assert contents(tmp_path / "whole") == whole
    draw_detection_sample(tmp_path / "new", train=3, val=1)
    assert contents(tmp_path / "new") == whole


def test_an_empty_folder_is_filled(tmp_path):
    draw_detection_sample(tmp_path, train=1, val=1)
    assert {"sample.json", "train/000001.jpg", "val/000001.jpg"} < contents(tmp_path).keys()


@pytest.mark.parametrize("name", ["notes.txt", "train/000001.jpg", "sample.json"])
def test_a_foreign_folder_is_refused(tmp_path, name):
    root = tmp_path / "precious"
    (root / name).parent.mkdir(parents=True)
    (root / name).write_text("{}")
    with pytest.raises(ValueError, match="precious"):
        draw_detection_sample(root, train=1, val=1)
    assert contents(tmp_path) == {f"precious/{name}": b"{}"}


def test_a_foreign_file_in_a_drawn_set_is_never_deleted(tmp_path):
    root = tmp_path / "sample"
    draw_detection_sample(root, train=1, val=1)
    (root / "train" / "best.pt").write_text("mine")
    before = contents(root)
    with pytest.raises(ValueError, match="sample"):
        draw_detection_sample(root, train=2, val=1)
    assert contents(root) == before


def test_is_silent_without_a_terminal(tmp_path, capfd):
    draw_detection_sample(tmp_path / "sample", train=1, val=1)
    assert capfd.readouterr() == ("", "")


def test_drawing_needs_nothing_heavy():
    program = "import sys, tasks.shared.detection.sample; print(*{name.split('.')[0] for name in sys.modules})"
    modules = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    assert {"numpy", "PIL"} <= set(modules)
    assert not {"torch", "torchvision", "lightning", "pyarrow", "scipy", "cv2", "pycocotools"} & set(modules)
