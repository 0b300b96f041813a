"""LFW's layout and pairs.txt: against a slow reading of the file, and mistakes told by their line."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.shared.errors import UserError
from tasks.shared.faces.data import lfw
from tasks.shared.faces.dataset import FaceData
from tasks.shared.faces.lfw import read_pairs
from tests.tasks.shared.faces.conftest import OPTIONS, pixels, write_face_shard, write_lines, write_people

COUNTS = {"Ada_Bo": 3, "Bo": 1, "Cy_De": 2, "Di": 2}
PAIRS = [
    "2\t2",
    "Ada_Bo\t1\t3", "Ada_Bo\t2\t3", "Ada_Bo\t1\tBo\t1", "Bo\t1\tAda_Bo\t3",
    "Cy_De\t1\t2", "Di\t2\t1", "Cy_De\t1\tDi\t1", "Di\t2\tCy_De\t2",
]  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = write_people(tmp_path / "lfw, ö=1", COUNTS)
    write_lines(folder / "pairs.txt", PAIRS)
    return folder


def make(root: Path, **options: Any) -> FaceData:
    return lfw(str(root), **{"splits": ("val",), **OPTIONS, **options})


def stems(data: FaceData, split: str = "val") -> list[str]:
    images = data.images_of(split)
    return [Path(images.name(k)).stem for k in range(len(images.labels))]


def test_pairs_are_those_of_the_file(root: Path) -> None:
    data = make(root)
    assert data.data_type == "faces" and data.info == {} and data.num_classes == 0
    names = stems(data)
    assert len(names) == 8 and sorted(names) == names, "each image that is named, once"
    assert data.pairs is not None and data.folds is not None
    for line, (a, b, same), fold in zip(PAIRS[1:], data.pairs.tolist(), data.folds.tolist(), strict=True):
        parts = line.split("\t")
        first, second = (parts[0], parts[1]), (parts[-2] if len(parts) == 4 else parts[0], parts[-1])
        assert names[a] == f"{first[0]}_{int(first[1]):04d}" and names[b] == f"{second[0]}_{int(second[1]):04d}"
        assert same == (len(parts) == 3) and fold == (PAIRS.index(line) - 1) // 4
    seen = [target for batch in data.val_loader() for target in batch.targets]
    assert [target["index"] for target in seen] == list(range(8))
    for a, b, same in data.pairs.tolist():
        assert (seen[a]["identity"] == seen[b]["identity"]) == bool(same)
    order = [f"{name}_{k + 1:04d}" for name, count in COUNTS.items() for k in range(count)]
    for target in seen:
        assert np.array_equal(data.image(target), pixels(order.index(Path(target["file"]).stem)))


def test_only_images_that_pairs_name_are_evaluated_on(root: Path) -> None:
    write_lines(root / "few.txt", ["1", "Ada_Bo\t1\t3", "Bo\t1\tDi\t2"])
    data = make(root, pairs="few.txt")
    assert stems(data) == ["Ada_Bo_0001", "Ada_Bo_0003", "Bo_0001", "Di_0002"]
    assert data.folds is not None and data.folds.tolist() == [0, 0], "one number in the first line is one fold"
    elsewhere = write_lines(root.parent / "pairs of mine.txt", ["1 1", "Ada_Bo 1 3", "Bo 1 Di 2"])
    assert stems(make(root, pairs=str(elsewhere))) == stems(data)


def test_without_a_file_all_pairs_count(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = make(root, pairs=None)
    assert data.pairs is None and len(stems(data)) == 8 and "1 of the 4 people to evaluate on have one" in caplog.text
    people = data.identities("val")
    assert people is not None and np.bincount(people).tolist() == [3, 1, 2, 2]
    write_people(root.parent / "alone", {"A": 1, "B": 1})
    with pytest.raises(UserError, match=r"data\.root=.*alone: 2 people to evaluate on, of whom 0 have two images"):
        make(root.parent / "alone", pairs=None)


def test_nobody_is_trained_and_evaluated_on(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_people(root, {"Eve": 3, "Flo": 1}, 50)
    data = make(root, train={"root": str(root)}, splits=("train", "val"))
    assert stems(data, "train") == ["Eve_0001", "Eve_0002", "Eve_0003", "Flo_0001"] and data.num_classes == 0
    assert "4 of 6 people are left out, such as Ada_Bo: they are evaluated on" in caplog.text
    identities = [t["identity"] for batch in data.train_loader(0) for t in batch.targets]
    assert sorted(identities) == [0, 0, 0, 1]
    others = write_people(root.parent / "others", {"Bo": 2})
    with pytest.raises(UserError, match=r"others: all 1 people to train on are left out"):
        make(root, train={"root": str(others)}, splits=("train", "val"))
    trained = make(root, train={"root": str(root)}, evaluate_on="train")
    assert trained.pairs is None and len(stems(trained)) == 4


def test_unlabelled_images_to_train_on(root: Path, tmp_path: Path) -> None:
    write_face_shard(tmp_path / "faces-0.tar", range(20, 25))
    data = make(root, unlabelled=str(tmp_path / "faces-*.tar"), cache=str(tmp_path / "c"), splits=("train", "val"))
    assert data.num_classes == 0 and len(stems(data, "train")) == 5 and data.identities("train") is None
    assert all(target.keys() == {"index", "file", "size"} for b in data.train_loader(0) for target in b.targets)
    with pytest.raises(UserError, match=r"data\.train\.root is not set: LFW is there to evaluate on"):
        make(root, splits=("train", "val"))


MALFORMED: dict[str, tuple[Callable[[list[str]], list[str]], str]] = {
    "empty": (lambda s: [], r"begins with ''; expected the number of folds"),
    "no header": (lambda s: s[1:], r"begins with 'Ada_Bo 1 3'"),
    "zero folds": (lambda s: ["0\t2", *s[1:]], r"begins with '0 2'"),
    "short": (lambda s: s[:-2], r"its first line says 2 folds of 2 \+ 2 pairs, 8 lines, but 6 follow"),
    "long": (lambda s: [*s, s[-1]], r"its first line says .* 8 lines, but 9 follow"),
    "two people for one": (lambda s: [s[0], "Ada_Bo\t1\tBo\t1", *s[2:]],
                           r"line 2 is 'Ada_Bo\\t1\\tBo\\t1'; expected a pair of one person: name, number, number"),
    "one person for two": (lambda s: [*s[:3], "Di\t1\t2", *s[4:]], r"line 4 is .*expected a pair of two people"),
    "no number": (lambda s: [s[0], "Ada_Bo\t1\tthree", *s[2:]], r"line 2 is .*expected a pair of one person"),
    "number zero": (lambda s: [s[0], "Ada_Bo\t0\t1", *s[2:]], r"line 2 is .*expected a pair of one person"),
    "a name alone": (lambda s: [*s[:3], "Di", *s[4:]], r"line 4 is 'Di'; expected a pair of two people"),
    "itself": (lambda s: [s[0], "Ada_Bo\t2\t2", *s[2:]], r"line 2 is .*an image with itself"),
    "the same as two": (lambda s: [*s[:3], "Di\t1\tDi\t2", *s[4:]],
                        r"line 4 is .*two images of one person; expected a pair of two people"),
}  # fmt: skip


@pytest.mark.parametrize("data_type", MALFORMED)
def test_malformed_pairs_are_told(root: Path, data_type: str) -> None:
    change, message = MALFORMED[data_type]
    write_lines(root / "pairs.txt", change(PAIRS))
    for on_corrupt in ("error", "skip"):
        with pytest.raises(UserError, match=rf"data\.pairs=.*pairs\.txt: {message}"):
            make(root, on_corrupt=on_corrupt)


def test_a_pair_without_its_image(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "Bo/Bo_0001.png").unlink()
    message = r"2 of 8 pairs name images that are not in .*, such as line 4: Bo/Bo_0001\.jpg"
    with pytest.raises(UserError, match=message + r".*data\.on_corrupt=skip"):
        make(root)
    data = make(root, on_corrupt="skip")
    assert data.pairs is not None and data.folds is not None
    assert len(data.pairs) == 6 and data.folds.tolist() == [0, 0, 1, 1, 1, 1] and "Bo_0001" not in stems(data)
    assert "left out" in caplog.text
    for file in root.glob("*/*"):
        file.unlink()
    with pytest.raises(UserError, match="8 of 8 pairs name"):
        make(root, on_corrupt="skip")


def test_what_is_not_there(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.pairs=no\.txt: no such file, nor .*no\.txt; expected LFW's pairs\.txt"):
        make(root, pairs="no.txt")
    with pytest.raises(UserError, match=r"data\.root=.*gone: no such folder; expected LFW's"):
        make(tmp_path / "gone")
    with pytest.raises(UserError, match=r"data\.train\.root=.*gone: no such folder"):
        make(root, train={"root": str(tmp_path / "gone")}, splits=("train",))
    (root / "bytes.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"bytes\.txt: is no text in UTF-8"):
        make(root, pairs="bytes.txt")


def test_a_file_of_official_size(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["10\t300"]
    for fold in range(10):
        lines += [f"P{fold}_{k}\t{rng.integers(1, 4)}\t{rng.integers(4, 9)}" for k in range(300)]
        lines += [f"P{fold}_{k}\t{rng.integers(1, 9)}\tQ{k}\t{rng.integers(1, 9)}" for k in range(300)]
    found = read_pairs(write_lines(tmp_path / "pairs.txt", lines))
    assert np.bincount(found.folds).tolist() == [600] * 10
    assert sum(a[0] == b[0] for a, b in found.shots) == 3000 and found.lines[-1] == 6001


def test_a_quiet_reading(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    make(root)
    assert not caplog.records
