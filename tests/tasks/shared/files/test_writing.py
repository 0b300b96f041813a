"""Files and folders that appear whole, whatever the disk says."""

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import tasks.shared.files.writing as writing
from tasks.shared.errors import UserError
from tasks.shared.files.writing import (
    PROBE,
    cannot_write,
    fault_of,
    make_folder,
    probe_file,
    probe_folder,
    report_faults,
    whole_file,
    whole_folder,
    write_bytes,
    write_rows,
    write_text,
)
from tests.faults import closed, files_up_to
from tests.tasks.shared.folders import contents


def test_a_file_is_what_was_written_and_nothing_is_beside_it(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "één\nlijn\n")
    write_rows(tmp_path / "b.csv", [["é", 1], ["x,y", None]])
    write_bytes(tmp_path / "c", b"\0\r\n")
    expected = {"a.txt": "één\nlijn\n".encode(), "b.csv": 'é,1\r\n"x,y",\r\n'.encode(), "c": b"\0\r\n"}
    assert contents(tmp_path) == expected


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, RuntimeError, UserError])
def test_a_block_that_is_left_early_leaves_the_old_file(tmp_path: Path, stop: type[BaseException]) -> None:
    write_text(tmp_path / "a", "old")
    with pytest.raises(stop), whole_file(tmp_path / "a") as part:
        part.write_text("half")
        assert (tmp_path / "a").read_text() == "old"
        raise stop
    assert contents(tmp_path) == {"a": b"old"}


def test_a_process_that_is_killed_leaves_the_old_file(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "old")
    if (child := os.fork()) == 0:
        with whole_file(tmp_path / "a") as part:
            part.write_text("half")
            os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [p.name[:6] for p in tmp_path.iterdir() if p.name != "a"] == [".part-"]


def test_a_link_is_replaced_and_what_it_points_to_stays(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / "ours").symlink_to(tmp_path / "theirs")
    write_text(tmp_path / "ours", "ours")
    assert not (tmp_path / "ours").is_symlink()
    assert contents(tmp_path) == {"theirs": b"theirs", "ours": b"ours"}


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_are_those_that_the_umask_leaves(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_text(tmp_path / "a", "")
        with whole_folder(tmp_path / "b") as folder:
            (folder / "c").touch()
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666 & ~mask
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o777 & ~mask


@pytest.mark.parametrize("size", [0, 1, 4095])
def test_a_full_disk_is_told_with_key_and_path(tmp_path: Path, size: int) -> None:
    write_text(tmp_path / "a", "old")
    with files_up_to(size), pytest.raises(UserError) as told:
        write_bytes(tmp_path / "a", bytes(4096), "output")
    assert str(told.value) == f"output={tmp_path}/a: cannot be written (File too large)"
    assert contents(tmp_path) == {"a": b"old"}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_what_only_syncing_finds_out_is_told_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    write_text(tmp_path / "a", "old")
    monkeypatch.setattr(writing.os, "fsync", fail)
    with pytest.raises(UserError, match=f"a: cannot be written .{os.strerror(code)}"):
        write_text(tmp_path / "a", "new")
    with pytest.raises(UserError, match=os.strerror(code)):
        probe_folder("output", tmp_path)
    assert contents(tmp_path) == {"a": b"old"}


def test_a_file_system_that_cannot_sync_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EINVAL, "")

    monkeypatch.setattr(writing.os, "fsync", fail)
    write_text(tmp_path / "a", "new")
    assert contents(tmp_path) == {"a": b"new"}


def test_images_by_the_thousand_wait_for_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    monkeypatch.setattr(writing.os, "fsync", lambda _: pytest.fail("synced"))
    writing.write_image(tmp_path / "a.jpg", Image.new("RGB", (8, 8)))
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.format == "JPEG"


@pytest.mark.parametrize(
    "write",
    [
        lambda folder: write_text(folder / "a", "new", "output"),
        lambda folder: make_folder(folder / "b", "output"),
        lambda folder: probe_folder("output", folder),
        lambda folder: probe_folder("output", folder / "b/c"),
        lambda folder: probe_file("output", folder / "c.txt"),
        lambda folder: whole_folder(folder / "d", "output").__enter__(),
    ],
)
def test_a_closed_folder_is_told(tmp_path: Path, write: Callable[[Path], None]) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    (folder / "a").write_text("old")
    with closed(folder), pytest.raises(UserError, match=f"^output={folder}.* cannot be written .Permission denied"):
        write(folder)
    assert contents(tmp_path) == {"closed/a": b"old"}


def test_names_that_are_too_long_are_told(tmp_path: Path) -> None:
    long = "ü" * 128  # 256 bytes
    for write in (
        lambda: write_text(tmp_path / long, "", "output"),
        lambda: probe_folder("output", tmp_path / long),
        lambda: probe_folder("output", tmp_path / long / "a"),
        lambda: probe_file("output", tmp_path / long),
    ):
        with pytest.raises(UserError, match=r"^output=.*File name too long"):
            write()
    write_text(tmp_path / long[:-1], "", "output")  # the longest that there is
    write_text(tmp_path / ("a." + long[:100]), "", "output")
    assert len(contents(tmp_path)) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux")
def test_names_that_are_no_text_are_written_and_told(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt"))
    write_text(path, str(path.name))
    assert [os.fsencode(p.name) for p in tmp_path.iterdir()] == [b"caf\xe9.txt"]
    assert path.read_text("ascii") == r"caf\udce9.txt"
    assert (
        str(cannot_write(path, OSError(errno.ENOSPC, "")))
        .encode()
        .endswith(rb"caf\xe9.txt: cannot be written (No space left on device)")
    )


def test_what_is_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for place in ("file", "file/a/b"):
        with pytest.raises(UserError, match="file is a file; expected a folder"):
            probe_folder("output", tmp_path / place)
    with pytest.raises(UserError, match="dangling is a link that leads nowhere; expected a folder"):
        probe_folder("output", tmp_path / "dangling/a")
    with pytest.raises(UserError, match="is a folder; expected a file"):
        probe_file("output", tmp_path)
    with pytest.raises(UserError, match="Is a directory"):
        write_text(tmp_path, "", "output")


def test_probing_leaves_nothing_and_makes_nothing(tmp_path: Path) -> None:
    probe_folder("output", tmp_path / "a/b")
    probe_file("output", tmp_path / "a/b")
    assert not list(tmp_path.iterdir())
    with files_up_to(PROBE - 1), pytest.raises(UserError, match="File too large"):
        probe_folder("output", tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), whole_folder(tmp_path / "a/b") as folder:
        (folder / "c").write_text("half")
        raise KeyboardInterrupt
    assert contents(tmp_path) == {}
    with whole_folder(tmp_path / "a/b") as folder:
        (folder / "c").write_text("first")
    with pytest.raises(UserError, match=r"^output=.*not empty"), whole_folder(tmp_path / "a/b", "output") as folder:
        (folder / "d").write_text("second")
    assert contents(tmp_path) == {"a/b/c": b"first"}
    with whole_folder(tmp_path / "a/b", replace=True, unless=lambda: True) as folder:
        (folder / "d").write_text("second")
    assert contents(tmp_path) == {"a/b/c": b"first"}
    with whole_folder(tmp_path / "a/b", replace=True) as folder:
        (folder / "d").write_text("second")
    assert contents(tmp_path) == {"a/b/d": b"second"}
    with (
        files_up_to(2),
        pytest.raises(UserError, match=f"^output={tmp_path}/a/b: cannot be written .File too large"),
        whole_folder(tmp_path / "a/b", "output", replace=True) as folder,
    ):
        write_text(folder / "e", "third")  # the place is told that was asked for, not the one beside it
    assert contents(tmp_path) == {"a/b/d": b"second"}


def test_what_libraries_make_of_a_full_disk_is_seen_through(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "full")
    for raising in (ValueError("wrapped"), RuntimeError("its own words")):
        with pytest.raises(UserError, match=r"^output=.*No space"), report_faults(tmp_path, "output"):
            raise raising from full
    first = UserError("what went wrong first")
    with pytest.raises(UserError, match=r"^what went wrong first$"), report_faults(tmp_path, "output"):
        try:
            raise first
        finally:
            raise full  # as it cleaned up
    for other in (FileNotFoundError(errno.ENOENT, "", "a"), ValueError("a bug")):
        with pytest.raises(type(other)) as told, report_faults(tmp_path, "output"):
            raise other
        assert told.value is other and fault_of(other) is None
