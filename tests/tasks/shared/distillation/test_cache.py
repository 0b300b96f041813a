"""Answers on disk: there, or unknown, and never wrong."""

import errno
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.shared.distillation import cache
from tasks.shared.distillation.cache import ABOUT, ANSWERS, SEALS, PredictionCache, checksum_of, open_cache
from tasks.shared.errors import UserError

ABOUT_IT = {"fingerprint": "abc", "size": [8, 8]}
ROW = np.array([1.5, -2.0, 65504.0], np.float16)


@pytest.fixture
def answers(tmp_path: Path) -> PredictionCache:
    return open_cache(tmp_path / "cache", "colours", ABOUT_IT, 5, 3)


def test_what_was_written_is_read_and_nothing_else(answers: PredictionCache) -> None:
    assert all(answers.read(index, 77) is None for index in range(5))
    answers.write(2, 77, ROW)
    read = answers.read(2, 77)
    assert read is not None and read.dtype == np.float16 and np.array_equal(read, ROW)
    assert type(read) is np.ndarray and read.flags.writeable, "a copy, which no later write changes"
    assert answers.read(2, 78) is None, "other pixels under the same name"
    assert answers.read(1, 77) is None and answers.read(3, 77) is None
    answers.write(2, 78, ROW * 0)
    assert answers.read(2, 77) is None and np.array_equal(answers.read(2, 78), ROW * 0)  # type: ignore[arg-type]


def test_an_answer_of_zeros_is_told_from_none(answers: PredictionCache) -> None:
    answers.write(0, 0, np.zeros(3, np.float16))
    assert answers.read(0, 0) is not None
    assert answers.read(1, 1) is None


@pytest.mark.parametrize(("name", "offset"), [(ANSWERS, 2 * 3 * 2 + 3), (SEALS, 4 * 2)])
def test_a_torn_write_counts_as_none(answers: PredictionCache, name: str, offset: int) -> None:
    answers.write(2, 77, ROW)
    with (answers.folder / name).open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 1]))
    assert answers.read(2, 77) is None


def test_a_copy_in_another_process_sees_later_answers(answers: PredictionCache) -> None:
    copy = pickle.loads(pickle.dumps(answers))
    assert len(pickle.dumps(answers)) < 1000, "not the answers themselves"
    answers.write(4, 5, ROW)
    assert np.array_equal(copy.read(4, 5), ROW)


def test_the_same_teacher_finds_its_answers_again(answers: PredictionCache, tmp_path: Path) -> None:
    answers.write(1, 9, ROW)
    again = open_cache(tmp_path / "cache", "colours", dict(ABOUT_IT), 5, 3)
    assert again.folder == answers.folder and np.array_equal(again.read(1, 9), ROW)  # type: ignore[arg-type]
    moved = open_cache(tmp_path / "cache", "colours elsewhere", ABOUT_IT, 5, 3)
    assert moved.folder == answers.folder, "what it is called does not matter"
    other = open_cache(tmp_path / "cache", "colours", ABOUT_IT | {"fingerprint": "abd"}, 5, 3)
    assert other.folder != answers.folder and other.read(1, 9) is None
    assert json.loads((answers.folder / ABOUT).read_text()) == {"teacher": "colours", **ABOUT_IT}
    assert sorted(p.name for p in (tmp_path / "cache").iterdir()) == sorted([answers.folder.name, other.folder.name])


def test_files_are_plain_arrays(answers: PredictionCache) -> None:
    answers.write(3, 9, ROW)
    assert np.array_equal(np.fromfile(answers.folder / ANSWERS, "<f2").reshape(5, 3)[3], ROW)
    assert np.fromfile(answers.folder / SEALS, "<u4").shape == (5,)


def test_a_faster_process_wins(answers: PredictionCache) -> None:
    answers.write(3, 9, ROW)
    cache._make(answers.folder, ABOUT_IT, 5, 3)
    assert answers.read(3, 9) is not None and PredictionCache(answers.folder, 5, 3).read(3, 9) is not None
    assert len(list(answers.folder.parent.iterdir())) == 1


def test_a_full_disk_names_the_key_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache.os, "fsync", full)
    with pytest.raises(
        UserError, match=r"teacher\.cache_folder=.*No space left.*2,000 answers of 500 numbers, 2\.0 MB"
    ):
        open_cache(tmp_path, "colours", ABOUT_IT, 2000, 500)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_names_the_key(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"teacher\.cache_folder=.*is a file; expected a folder"):
        open_cache(tmp_path / "file" / "cache", "colours", ABOUT_IT, 1, 1)
    with pytest.raises(UserError, match=r"teacher\.cache_folder="):
        open_cache(tmp_path / "file", "colours", ABOUT_IT, 1, 1)


def test_a_file_of_another_size_is_named(answers: PredictionCache) -> None:
    with (answers.folder / ANSWERS).open("ab") as file:
        file.write(b"x")
    with pytest.raises(UserError, match=r"answers\.f16: holds 31 bytes, expected 30"):
        PredictionCache(answers.folder, 5, 3)


def test_no_images_need_no_map(tmp_path: Path) -> None:
    assert open_cache(tmp_path, "colours", ABOUT_IT, 0, 3).predictions.shape == (0, 3)


@pytest.mark.parametrize("change", [lambda p: p.T, lambda p: p[::2], lambda p: p + 1])
def test_checksums_tell_images_apart(change: Any) -> None:
    image = np.random.default_rng(0).integers(0, 255, (6, 6), np.uint8)
    assert checksum_of(image) == checksum_of(image.copy()) != checksum_of(change(image))


@pytest.mark.parametrize("name", [ANSWERS, SEALS])
@pytest.mark.parametrize("how", ["link", "second name", "pipe"])
def test_answers_are_written_to_no_file_elsewhere(
    answers: PredictionCache, name: str, how: str, tmp_path: Path
) -> None:
    """A cache that came with somebody's run may hold links to files of the right size: answers would overwrite them."""
    file, other = answers.folder / name, tmp_path / "precious"
    other.write_bytes(b"x" * file.stat().st_size)
    before = other.read_bytes()
    file.unlink()
    if how == "link":
        file.symlink_to(other)
    elif how == "second name":
        file.hardlink_to(other)
    else:
        os.mkfifo(file)
    with pytest.raises(UserError, match=f"{name}: is no plain file.*delete its folder"):
        open_cache(tmp_path / "cache", "colours", ABOUT_IT, 5, 3).write(1, 7, ROW)
    assert other.read_bytes() == before
