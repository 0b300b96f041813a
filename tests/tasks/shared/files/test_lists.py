"""Lists of names and numbers that are none: bounded lines, digits that are no decimal ones, arrays of one wide name."""

import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tasks.dogs.stanford import Breed
from tasks.dogs.web import list_folders
from tasks.shared.data.image_set import read_class_folders
from tasks.shared.data.shards import Beside, read_shard_index
from tasks.shared.detection.data import _read_ids
from tasks.shared.errors import UserError
from tasks.shared.faces.lfw import read_pairs
from tasks.shared.faces.lists import read_attributes, read_numbers
from tasks.shared.faces.people import read_people
from tasks.shared.faces.unlabelled import read_unlabelled
from tasks.shared.files import packing
from tasks.shared.files.names import read_classes
from tasks.shared.files.packing import joined, packed
from tasks.shared.files.reading import read_lines, read_names, whole_number
from tasks.shared.inference.video import is_camera
from tests.limits import assert_refused, cost_of_reading

READERS: dict[str, Callable[[Path], object]] = {
    "classes": lambda file: read_classes(file, "classes"),
    "pairs": read_pairs,
    "attributes": read_attributes,
    "identities": lambda file: read_numbers(file, "its identity"),
    "pictures": lambda file: read_unlabelled(str(file), "data.unlabelled", file.parent, "error"),
    "minival": _read_ids,
}
ODD = ("²", "٣", "³", "1" * 5000, "9" * 19, "+1", "-1", "1.0", "1_0", " 1", "", "Ⅷ", "0x1")


@pytest.mark.parametrize("text", ODD)
def test_only_decimal_digits_are_a_number(text: str) -> None:
    assert whole_number(text) is None and whole_number(text.encode()) is None
    assert not is_camera(text)


def test_numbers_and_cameras() -> None:
    assert [whole_number(text) for text in ("0", "007", b"12", "9" * 18)] == [0, 7, 12, 10**18 - 1]
    assert is_camera("0") and is_camera("12") and not is_camera("99999999999")


@pytest.mark.parametrize("number", ["²", "٣", "1" * 5000, "9" * 19])
def test_odd_digits_in_lists_are_told_with_their_file(number: str, tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    rows = {
        "pairs": [f"{number}\t1", "1\t1\nAda\t1\t2\nAda\t1\tBob\t" + number],
        "attributes": [f"{number}\nBald\na.jpg 1"],
        "identities": [f"a.jpg {number}"],
        "minival": [number],
    }
    for name, texts in rows.items():
        for text in texts:
            file.write_text(text + "\n", encoding="utf-8")
            with pytest.raises(UserError) as error:
                READERS[name](file)
            assert str(file) in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize("name", READERS)
def test_a_line_without_end_and_a_device_are_refused(name: str, tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    with file.open("wb") as sparse:
        sparse.truncate(3 << 30)  # zeros, and no line ends
    assert_refused(lambda: READERS[name](file), str(file), "more than")
    file.unlink()
    file.symlink_to("/dev/zero")
    assert_refused(lambda: READERS[name](file), "list.txt")


def test_many_doubled_names_do_not_take_long(tmp_path: Path) -> None:
    file = tmp_path / "classes.txt"
    file.write_text("".join(f"n{k % 200_000}\n" for k in range(400_000)))
    cost = cost_of_reading(lambda: read_classes(file, "classes"))
    assert cost.error and "names 200000 classes twice: n0, n1" in cost.error


def test_lines_and_names_are_those_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_bytes("\ufeffä b\r\n\n  c \nlast".encode())
    assert read_names(file) == ["ä b", "", "c", "last"]
    assert list(read_lines(file)) == [(1, "\ufeffä b\r\n".encode()), (2, b"\n"), (3, b"  c \n"), (4, b"last")]


def test_one_wide_name_among_many_makes_no_wide_array(tmp_path: Path) -> None:
    many = [b"a%d" % k for k in range(100_000)]
    assert (
        packed(many, "list.txt").tolist() == many == joined([packed(many[:5], ""), packed(many[5:], "")], "").tolist()
    )
    assert packed([], "list.txt").tolist() == []
    wide = [*many, b"x" * 8000]
    assert_refused(lambda: packed(wide, "list.txt"), "list.txt: names 100,001 images, one of them in 8,000 bytes")
    parts = [packed(many, ""), np.array([b"x" * 8000])]
    assert_refused(lambda: joined(parts, "list.txt"), "list.txt: names 100,001 images")
    assert_refused(lambda: packed([b"x" * 9000], "list.txt"), "9,000 bytes")
    file = tmp_path / "list.txt"
    (tmp_path / "a").write_bytes(b"")
    file.write_bytes(b"a\n" * 200_000 + b"x" * 8000 + b"\n")
    assert_refused(lambda: READERS["pictures"](file), "of 500 images that were looked for 1 are not there")
    assert_refused(lambda: read_unlabelled(str(file), "data.x", tmp_path, "skip"), "names 200,001 images")


@pytest.mark.parametrize("reader", ["class folders", "people", "a folder", "web images", "shards"])
def test_one_wide_name_is_told_of_folders_and_shards_too(
    reader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder may have been unpacked of a stranger's archive."""
    monkeypatch.setattr(packing, "FREE", 0)
    deep = tmp_path / "a" / "/".join(["b" * 250] * 8)
    deep.mkdir(parents=True)
    files = [*(tmp_path / f"a/{k}.jpg" for k in range(200)), deep / "c.jpg"]
    for file in files:
        file.touch()
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        for file in files:
            tar.add(file)
    read: dict[str, Callable[[], object]] = {
        "class folders": lambda: read_class_folders(tmp_path, ["a"]),
        "people": lambda: read_people(tmp_path, "data.root"),
        "a folder": lambda: read_unlabelled(str(tmp_path), "data.unlabelled", tmp_path, "error"),
        "web images": lambda: list_folders(tmp_path, [Breed("a", "a", "a")]),
        "shards": lambda: read_shard_index([tmp_path / "x.tar"], "the shards", Beside(), tmp_path / "cache", "error"),
    }
    assert_refused(read[reader], "names 201 images, one of them in 2,0")
