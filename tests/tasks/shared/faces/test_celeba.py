"""CelebA's lists and images: read right, and every way in which they do not go together told."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tasks.shared.errors import UserError
from tasks.shared.faces.celeba import check_count
from tasks.shared.faces.data import celeba
from tasks.shared.faces.dataset import FaceData
from tasks.shared.faces.lists import indices_of, read_attributes, read_numbers
from tests.tasks.shared.faces.conftest import (
    NAMES,
    OPTIONS,
    PEOPLE,
    SIDES,
    pixels,
    truth,
    write_celeba,
    write_face_shard,
    write_lines,
)

ATTRIBUTES, PARTITION, IDENTITIES = "list_attr_celeba.txt", "list_eval_partition.txt", "identity_CelebA.txt"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_celeba(tmp_path / "celébA, v=1")


def make(root: Path, **options: Any) -> FaceData:
    return celeba(str(root), **{**OPTIONS, **options})


def edit(file: Path, change: Callable[[list[str]], Any]) -> None:
    """Change the lines of a file."""
    lines = file.read_text().splitlines()
    changed = change(lines)
    write_lines(file, lines if changed is None else changed)


def numbers(data: FaceData, split: str) -> list[int]:
    """Which images a split has, counted from 0."""
    images = data.images_of(split)
    return [int(Path(images.name(k)).stem) - 1 for k in range(len(images.labels))]


@pytest.mark.parametrize("side", ["val", "test", "train"])
def test_images_and_what_is_known_of_them(root: Path, side: str) -> None:
    data = make(root, evaluate_on=side)
    assert data.data_type == "faces" and data.num_classes == 3 and data.info == {"attributes": list(NAMES)}
    assert data.pairs is None and data.folds is None
    wanted = [k for k, number in enumerate(SIDES) if number == ("train", "val", "test").index(side)]
    seen = [target for batch in data.val_loader() for target in batch.targets]
    assert [int(Path(target["file"]).stem) - 1 for target in seen] == wanted
    for target in seen:
        number = int(Path(target["file"]).stem) - 1
        assert target["attributes"].dtype == torch.float32 and target["attributes"].tolist() == truth(number)
        assert target["size"] == (48, 40) and np.array_equal(data.image(target), pixels(number))
        assert "label" not in target and "class_id" not in target
    for a in seen:
        for b in seen:
            first, second = (PEOPLE[int(Path(t["file"]).stem) - 1] for t in (a, b))
            assert (a["identity"] == b["identity"]) == (first == second)
    trained = [target for batch in data.train_loader(0) for target in batch.targets]
    assert len(trained) == 4 and all(target["attributes"].tolist() == truth(int(Path(target["file"]).stem) - 1)
                                     for target in trained)  # fmt: skip
    assert {target["identity"] for target in trained} <= {0, 1}


def test_identities_may_be_unknown(tmp_path: Path) -> None:
    data = make(write_celeba(tmp_path, identities=False))
    assert data.identities("val") is None and "identity" not in next(iter(data.val_loader())).targets[0]


def test_the_archives_own_folders(root: Path) -> None:
    for folder, name in (("Img", "img_align_celeba"), ("Anno", ATTRIBUTES), ("Anno", IDENTITIES), ("Eval", PARTITION)):
        (root / folder).mkdir(exist_ok=True)
        (root / name).rename(root / folder / name)
    assert numbers(make(root), "val") == [5, 6, 7]


def test_lists_of_any_order_and_layout(root: Path) -> None:
    before = [t["attributes"].tolist() for b in make(root).val_loader() for t in b.targets]
    edit(root / PARTITION, lambda lines: lines[::-1])
    edit(root / ATTRIBUTES, lambda lines: [line.replace(" ", "\t") + " \r" for line in lines] + ["", " "])
    data = make(root)
    assert numbers(data, "val") == [5, 6, 7]
    assert [t["attributes"].tolist() for b in data.val_loader() for t in b.targets] == before


def test_unlabelled_images_to_train_on(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shard = write_face_shard(tmp_path / "more.tar", range(20, 26))
    data = make(root, unlabelled=str(shard), cache=str(tmp_path / "cache"))
    assert data.num_classes == 3 and len(data.images["train"].labels) == 6
    target = next(iter(data.train_loader(0))).targets[0]
    assert "attributes" not in target and "identity" not in target
    assert all("attributes" in target for batch in data.val_loader() for target in batch.targets)
    assert "trained on" not in caplog.text
    make(root, unlabelled=str(root / "img_align_celeba"))
    assert "3 of the images to evaluate on are trained on" in caplog.text


def test_only_what_is_needed_is_there(root: Path) -> None:
    for k in (0, 1, 2, 3, 4, 8, 9):
        (root / f"img_align_celeba/{k + 1:06d}.jpg").unlink()
    assert numbers(make(root, splits=("val",)), "val") == [5, 6, 7]


def row(number: int, line: str) -> Callable[[list[str]], None]:
    return lambda lines: lines.__setitem__(number, line)


MALFORMED: dict[str, tuple[str, Callable[[list[str]], Any], str]] = {
    "no count": (ATTRIBUTES, lambda s: s[1:], r"begins with 'Bald Eyeglasses Smiling'; expected the number of"),
    "a table": (ATTRIBUTES, row(0, "image_id,Bald"), r"begins with 'image_id,Bald'"),
    "empty": (ATTRIBUTES, lambda s: [], r"begins with ''; expected the number"),
    "no names": (ATTRIBUTES, lambda s: s[:1], r"its second line names 0 attributes"),
    "names twice": (ATTRIBUTES, row(1, "Bald Bald Smiling"), r"names 3 attributes, 2 different ones"),
    "too few values": (ATTRIBUTES, row(4, "000003.jpg 1 -1"), r"line 5, 000003\.jpg: has 2 values; expected 3"),
    "too many": (ATTRIBUTES, row(4, "000003.jpg 1 -1 1 1"), r"line 5, 000003\.jpg: has 4 values; expected 3"),
    "none": (ATTRIBUTES, row(4, "000003.jpg"), r"line 5, 000003\.jpg: has 0 values"),
    "a zero": (ATTRIBUTES, row(4, "000003.jpg 1 0 1"), r"line 5, 000003\.jpg: Eyeglasses=0; expected 1 or -1"),
    "two": (ATTRIBUTES, row(4, "000003.jpg 1 -1 2"), r"Smiling=2; expected 1 or -1"),
    "glued": (ATTRIBUTES, row(4, "000003.jpg 1 -11 1"), r"Eyeglasses=-11; expected 1 or -1"),
    "glued and short": (ATTRIBUTES, row(4, "000003.jpg 1-1 1"), r"has 2 values; expected 3"),
    "minus": (ATTRIBUTES, row(4, "000003.jpg 1 - 1"), r"Eyeglasses=-; expected 1 or -1"),
    "text": (ATTRIBUTES, row(4, "000003.jpg 1 x 1"), r"Eyeglasses=x; expected 1 or -1"),
    "a row twice": (ATTRIBUTES, row(4, "000002.jpg 1 1 1"), r"names 1 images more than once, such as 000002\.jpg"),
    "no rows": (ATTRIBUTES, lambda s: ["0", s[1]], r"its first line says 0 rows, but 0 follow"),
    "a side of its own": (PARTITION, row(2, "000003.jpg 3"), r"line 3 is '000003\.jpg 3'; expected an image and a "
                          r"side, one of 0, 1, 2"),
    "no side": (PARTITION, row(2, "000003.jpg"), r"line 3 is '000003\.jpg'"),
    "no number": (PARTITION, row(2, "000003.jpg train"), r"line 3 is '000003\.jpg train'"),
    "an empty list": (PARTITION, lambda s: [], r": is empty; expected"),
    "a side twice": (PARTITION, row(2, "000001.jpg 0"), r"names 1 images more than once, such as 000001\.jpg"),
    "nobody's": (PARTITION, lambda s: [line.replace(" 1", " 0") for line in s], r"has no images of 1, val"),
    "an identity": (IDENTITIES, row(2, "000003.jpg -4"), r": line 3 .*expected an image and an "
                    r"identity, a whole number"),
}  # fmt: skip


@pytest.mark.parametrize("data_type", MALFORMED)
def test_malformed_lists_are_told_whatever_is_skipped(root: Path, data_type: str) -> None:
    name, change, message = MALFORMED[data_type]
    edit(root / name, change)
    for on_corrupt in ("error", "skip"):
        with pytest.raises(UserError, match=rf"{name}.*{message}"):
            make(root, on_corrupt=on_corrupt)


SHORT: dict[str, tuple[str, Callable[[list[str]], Any], str, list[int]]] = {
    "rows": (ATTRIBUTES, lambda s: s[:-3], r"its first line says 10 rows, but 7 follow, the last of 000007\.jpg: 3 are "
             r"missing", [5, 6]),
    "sides": (PARTITION, lambda s: s[:6] + s[8:], r"list_eval_partition\.txt: lacks 2 of 10 images with attributes, "
              r"such as 000007\.jpg, 000008\.jpg", [5]),
    "people": (IDENTITIES, lambda s: s[:7] + s[8:], r"identity_CelebA\.txt: lacks 1 of 10 images with attributes, "
               r"such as 000008\.jpg", [5, 6, 7]),
}  # fmt: skip


@pytest.mark.parametrize("data_type", SHORT)
def test_short_lists_are_refused_or_left_out(root: Path, data_type: str, caplog: pytest.LogCaptureFixture) -> None:
    name, change, message, kept = SHORT[data_type]
    edit(root / name, change)
    with pytest.raises(UserError, match=message + r".*data\.on_corrupt=skip"):
        make(root, splits=("val",))
    data = make(root, splits=("val",), on_corrupt="skip")
    assert numbers(data, "val") == kept
    assert (data.identities("val") is None) == (data_type == "people")
    assert "left out" in caplog.text or "3 are missing" in caplog.text


def test_a_list_that_says_too_little(root: Path) -> None:
    edit(root / ATTRIBUTES, row(0, "9"))
    with pytest.raises(UserError, match=r"its first line says 9 rows, but 10 follow, .* 1 too many"):
        make(root)


def test_a_row_without_its_image(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "img_align_celeba/000007.jpg").unlink()
    message = r"list_attr_celeba\.txt: 1 of 8 rows have no image in .*img_align_celeba, such as row 7, 000007\.jpg"
    with pytest.raises(UserError, match=message):
        make(root)
    assert numbers(make(root, on_corrupt="skip"), "val") == [5, 7] and "left out" in caplog.text
    for file in (root / "img_align_celeba").iterdir():
        file.unlink()
    with pytest.raises(UserError, match="8 of 8 rows have no image"):
        make(root, on_corrupt="skip")


def test_a_damaged_image(root: Path) -> None:
    (root / "img_align_celeba/000007.jpg").write_bytes(b"\xff\xd8\xff no")
    with pytest.raises(UserError, match=r"000007\.jpg.*not a readable image"):
        list(make(root).val_loader())
    seen = list(make(root, on_corrupt="skip").val_loader())
    assert sum(batch.skipped for batch in seen) == 1 and sum(len(batch.targets) for batch in seen) == 2


@pytest.mark.parametrize("name", ["img_align_celeba", ATTRIBUTES, PARTITION])
def test_what_is_not_there_is_named(root: Path, name: str) -> None:
    (root / name).rename(root / "elsewhere")
    with pytest.raises(UserError, match=rf"data\.root=.* holds no {name}, but .*elsewhere"):
        make(root)


def test_wrong_values(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.root=.*gone: no such folder"):
        make(tmp_path / "gone")
    with pytest.raises(UserError, match=r"data\.evaluate_on='tests'; expected one of train, val, test"):
        make(root, evaluate_on="tests")


def test_a_list_of_real_size(tmp_path: Path) -> None:
    """202,599 rows of 40; a slow loop agrees with some of them."""
    rng = np.random.default_rng(0)
    drawn = rng.random((500, 40)) < 0.2
    rows = [" ".join(" 1" if value else "-1" for value in each) for each in drawn.tolist()]
    lines = [f"{k + 1:06d}.jpg {rows[k % 500]}" for k in range(202_599)]
    file = write_lines(tmp_path / "list.txt", ["202599", " ".join(f"A{k}" for k in range(40)), *lines])
    found = read_attributes(file)
    check_count(file, found, "error")
    assert found.values.shape == (202_599, 40) and found.values.dtype == np.uint8
    assert np.array_equal(found.values[500:1000], drawn) and np.array_equal(found.values[-99:], drawn[:99])
    write_lines(tmp_path / "sides.txt", [f"{k + 1:06d}.jpg {k % 3}" for k in range(202_598, -1, -1)])
    files, sides = read_numbers(tmp_path / "sides.txt", "a side", (0, 1, 2))
    assert np.array_equal(sides[indices_of(found.files, files)], np.arange(202_599) % 3)


def test_places_against_a_loop() -> None:
    rng = np.random.default_rng(0)
    files = rng.permutation(50)[:30].astype("S")
    wanted = rng.integers(0, 50, 40).astype("S")
    listed = files.tolist()
    assert indices_of(wanted, files).tolist() == [listed.index(w) if w in listed else -1 for w in wanted.tolist()]
