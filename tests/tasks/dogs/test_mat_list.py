"""Lists in MATLAB's format: as scipy reads them, and those that stand for more than they hold."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from tasks.dogs.mat_list import LARGEST, read_mat_list
from tasks.shared.errors import UserError
from tests.limits import assert_refused

HEAD = b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM"


def content(count: int = 3) -> dict[str, Any]:
    names = np.empty((count, 1), object)
    names[:, 0] = [f"n02085620-Chihuahua/n02085620_{k}.jpg" for k in range(count)]
    return {"annotation_list": names, "file_list": names, "labels": np.arange(1, count + 1)[:, None]}


def element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


def matrix(name: str, kind: int, dims: tuple[int, ...] | bytes, *inside: bytes, flags: int = 8) -> bytes:
    sides = dims if isinstance(dims, bytes) else struct.pack(f"<{len(dims)}i", *dims)
    head = element(6, struct.pack("<II", kind, 0)[:flags]) + element(5, sides)
    return element(14, head + element(1, name.encode()) + b"".join(inside))


def text(value: str, length: int | None = None) -> bytes:
    return matrix("", 4, (1, len(value) if length is None else length), element(16, value.encode()))


LABELS = matrix("labels", 6, (1, 1), element(2, b"\1"))
NAMES = matrix("file_list", 1, (1, 1), text("a/b.jpg"))
ONE, TWO = element(2, b"\1"), element(2, b"\1\2")


def packed(data: bytes) -> bytes:
    squeezed = zlib.compress(data, 9)
    return struct.pack("<II", 15, len(squeezed)) + squeezed


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "f8"])
def test_it_reads_what_scipy_reads(compressed: bool, dtype: str, tmp_path: Path) -> None:
    file, made = tmp_path / "list.mat", content(700)
    savemat(file, made | {"labels": (made["labels"] % 200).astype(dtype), "more": {"a": [1, "b"]}},
            do_compression=compressed)  # fmt: skip
    files, labels = read_mat_list(file)
    wanted = loadmat(file)
    assert files == [str(np.asarray(cell).item()) for cell in wanted["file_list"].ravel()]
    assert labels.tolist() == wanted["labels"].ravel().astype(np.int64).tolist() and labels.dtype == np.int64


def test_what_is_written_by_hand_is_read(tmp_path: Path) -> None:
    file = tmp_path / "list.mat"
    file.write_bytes(HEAD + NAMES + packed(LABELS))
    files, labels = read_mat_list(file)
    assert files == ["a/b.jpg"] and labels.tolist() == [1]
    assert [str(cell.item()) for cell in loadmat(file)["file_list"].ravel()] == files


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (NAMES + packed(bytes(4 << 30 >> 6)), "stands for more than"),
        (b"".join([packed(matrix("x", 6, (1, 1), element(2, bytes(6 << 20))))] * 4), "stands for more than"),
        (matrix("file_list", 1, (1 << 30, 1), text("a")) + LABELS, "sides [1073741824, 1] and 1 values"),
        (matrix("file_list", 1, (65536, 65536, 65536, 65536), text("a")) + LABELS, "has the sides"),
        (matrix("file_list", 1, (-1, -1), text("a")) + LABELS, "has the sides"),
        (matrix("file_list", 1, (1, 1), text("a", 1 << 30)) + LABELS, "file_list[0] has the sides"),
        (matrix("file_list", 1, (1, 1), matrix("", 1, (1, 1), NAMES)) + LABELS, "file_list[0] is no text"),
        (matrix("file_list", 1, (1, 1 << 20), bytes(12 << 20)) + LABELS, "more than 100,000 parts"),
        (matrix("file_list", 1, (1, 100_000), *[element(14, b"")] * 100_000) + LABELS, "without a head"),
        (NAMES + matrix("labels", 6, (1, 1), element(9, struct.pack("<d", float("nan")))), "no whole numbers"),
        (NAMES + matrix("labels", 6, (1, 1), element(9, struct.pack("<d", 1e300))), "no whole numbers"),
        (NAMES + matrix("labels", 6, (1, 1), element(9, b"abc")), "cut off"),
        (NAMES + NAMES + LABELS, "file_list twice"),
        (NAMES, "holds no labels"),
        (struct.pack("<II", 14, 0xFFFFFFFF) + bytes(64), "longer than"),
        (packed(NAMES)[:-4], "longer than"),
        (element(15, zlib.compress(NAMES)[:-8]), "or is cut off"),
        (element(15, b"no zlib"), "not a MATLAB file, or damaged"),
        (NAMES + LABELS + b"\1\2\3", "it is cut off"),
        (NAMES + LABELS + struct.pack("<HHI", 2, 5, 0), "a short element with more than 4 bytes"),
        (NAMES + matrix("labels", 6, (1, 1), ONE, flags=4), "an array without a head"),
        (NAMES + matrix("labels", 6, b"\1" * 9, ONE), "an array without a head"),
        (NAMES + matrix("labels", 6, (1,), ONE), "an array without a head"),
        (NAMES + matrix("labels", 6, (1,) * 17, ONE), "an array without a head"),
        (NAMES + LABELS + matrix("x" * 65, 6, (1, 1), ONE), "an array without a head"),
        (NAMES + matrix("labels", 6, (-1, -1, 1), ONE), "labels has the sides [-1, -1, 1]"),
        (NAMES + matrix("labels", 6, (2, 2), TWO), "labels has the sides [2, 2] and 2 values"),
        (NAMES + matrix("labels", 6, (2, 2), element(2, b"\1\2\3\4")), "expected one row or column"),
        (NAMES + matrix("labels", 6, (5, 1), ONE), "labels has the sides [5, 1] and 1 values"),
        (NAMES + matrix("labels", 4, (1, 1), ONE), "labels are no numbers"),
        (NAMES + matrix("labels", 6, (1, 1), ONE, ONE), "labels are no numbers"),
        (NAMES + matrix("labels", 6, (1, 1), element(9, struct.pack("<d", 1.5))), "no whole numbers"),
        (matrix("file_list", 6, (1, 1), text("a/b.jpg")) + LABELS, "file_list is no cell array"),
        (matrix("file_list", 1, (1, 1), matrix("", 6, (1, 1), element(16, b"a"))) + LABELS, "file_list[0] is no text"),
        (matrix("file_list", 1, (1, 1), matrix("", 4, (1, 1), *[element(16, b"a")] * 2)) + LABELS, "[0] is no text"),
        (bytes(LARGEST), "more than 16,777,216 bytes"),
    ],
)  # fmt: skip
def test_lies_are_told_without_being_believed(data: bytes, words: str, tmp_path: Path) -> None:
    file = tmp_path / "list.mat"
    file.write_bytes(HEAD + data)
    assert_refused(lambda: read_mat_list(file), f"{file}: ", words)


@pytest.mark.parametrize("version", [b"\0\0IM", b"\0\2IM", b"\0\1XX"])
def test_other_versions_are_told(version: bytes, tmp_path: Path) -> None:
    file = tmp_path / "list.mat"
    file.write_bytes(HEAD[:124] + version + NAMES + LABELS)
    assert_refused(lambda: read_mat_list(file), "it is of no MATLAB 5 to 7")


def test_a_short_element_may_have_others_behind_it(tmp_path: Path) -> None:
    file, short = tmp_path / "list.mat", struct.pack("<HH4s", 2, 1, b"\1")
    file.write_bytes(HEAD + short + NAMES + matrix("labels", 6, (1, 1), short))
    files, labels = read_mat_list(file)
    assert files == ["a/b.jpg"] and labels.tolist() == [1]


def test_deep_nests_are_not_followed(tmp_path: Path) -> None:
    nest = text("a")
    for _ in range(3000):
        nest = matrix("", 1, (1, 1), nest)
    file = tmp_path / "list.mat"
    file.write_bytes(HEAD + matrix("file_list", 1, (1, 1), nest) + LABELS)
    assert_refused(lambda: read_mat_list(file), "file_list[0] is no text")


def test_any_changed_byte_and_cut_ends_in_a_list_or_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "list.mat"
    savemat(file, content())
    whole = file.read_bytes()
    for place in range(120, len(whole)):
        for data in (whole[:place], *(whole[:place] + bytes([b]) + whole[place + 1 :] for b in (0, 255, 128))):
            file.write_bytes(data)
            try:
                files, labels = read_mat_list(file)
                assert all(isinstance(each, str) for each in files) and labels.dtype == np.int64
            except UserError as error:
                assert "\n" not in str(error) and str(error).startswith(f"{file}: ")
