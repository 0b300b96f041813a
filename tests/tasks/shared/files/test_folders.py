"""One folder, one process; and nothing is removed that this toolkit has not made."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.shared.errors import UserError
from tasks.shared.files.folders import MARK, Taken, check_plain, claimed, held, remove

CLAIM = """
import sys, time
from pathlib import Path
from tasks.shared.errors import UserError
from tasks.shared.files.folders import claimed
while time.time() < float(sys.argv[3]):
    pass
try:
    with claimed(Path(sys.argv[1]), lambda folder: {"config.yaml": folder.name}, free=sys.argv[2] == "free") as folder:
        (folder / "mine").touch(exist_ok=False)
        time.sleep(1)
    print(folder.name)
except UserError as error:
    sys.exit(str(error))
"""


def race(folder: Path, how: str, count: int = 8) -> list[tuple[int, str]]:
    """Exit status and words of processes that claim the same folder in the same moment."""
    start = str(time.time() + 2.0)
    command = [sys.executable, "-c", CLAIM, str(folder), how, start]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(count)
    ]
    words = [process.communicate(timeout=60)[0].strip() for process in running]
    return [(process.returncode, said) for process, said in zip(running, words, strict=True)]


@pytest.mark.parametrize("there", [False, True], ids=["new", "empty"])
def test_of_those_that_ask_for_one_folder_one_gets_it(there: bool, tmp_path: Path) -> None:
    folder = tmp_path / "above" / "run"
    if there:
        folder.mkdir(parents=True)
    ended = race(folder, "this")
    assert sorted(status for status, _ in ended) == [0] + [1] * 7, ended
    assert all("run exists already and is not empty" in words for status, words in ended if status)
    assert {file.name for file in folder.iterdir()} == {MARK, "config.yaml", "mine"}
    assert [each.name for each in folder.parent.iterdir()] == ["run"], "the losers leave nothing"


def test_folders_without_a_name_are_one_each(tmp_path: Path) -> None:
    ended = race(tmp_path / "run", "free")
    assert all(status == 0 for status, _ in ended), ended
    names = {words for _, words in ended}
    assert names == {"run", *(f"run_{number}" for number in range(2, 9))}
    assert all((tmp_path / name / "config.yaml").read_text() == name for name in names)


def test_it_appears_whole(tmp_path: Path) -> None:
    def files(folder: Path) -> dict[str, str]:
        assert not folder.exists()
        return {"config.yaml": "seed: 1"}

    with claimed(tmp_path / "run", files) as folder:
        assert {file.name for file in folder.iterdir()} == {MARK, "config.yaml"}
    with pytest.raises(Taken, match=r"resume=.*run"), claimed(tmp_path / "run"):
        pass


@pytest.mark.parametrize("error", [UserError("bad"), KeyboardInterrupt()])
def test_a_folder_with_nothing_in_it_goes_with_the_block(error: BaseException, tmp_path: Path) -> None:
    with pytest.raises(type(error)), claimed(tmp_path / "a/out"):
        raise error
    assert not (tmp_path / "a/out").exists()
    with pytest.raises(type(error)), claimed(tmp_path / "a/out") as folder:
        (folder / "result").touch()
        raise error
    assert (tmp_path / "a/out/result").exists()


def test_what_a_killed_process_left_without_a_result_can_be_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / MARK).touch()
    with claimed(tmp_path / "out") as folder:
        (folder / "result").touch()
    with pytest.raises(Taken), claimed(tmp_path / "out"):
        pass


def test_a_link_that_the_user_names_is_followed(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    with claimed(tmp_path / "link"):
        pass
    assert (tmp_path / "link").is_symlink() and (tmp_path / "disk" / MARK).is_file()


@pytest.mark.parametrize("what", ["file", "folder"])
def test_somebodys_is_refused_and_left(what: str, tmp_path: Path) -> None:
    place = tmp_path / "mine"
    if what == "file":
        place.write_text("mine")
    else:
        place.mkdir()
        (place / "thesis").write_text("mine")
    with pytest.raises(Taken, match="mine exists already"), claimed(place):
        pass
    assert "mine" in (place if what == "file" else place / "thesis").read_text()
    assert list(tmp_path.iterdir()) == [place]


def test_a_run_is_held_by_one_process_and_by_none_that_was_killed(tmp_path: Path) -> None:
    code = "import sys, time; from pathlib import Path; from tasks.shared.files.folders import held\n"
    code += "with held(Path(sys.argv[1]), 'resume'): print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout and other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=r"resume=.*: another process trains this run"), held(tmp_path, "resume"):
            pass
        other.kill()
    with held(tmp_path, "resume"):
        pass


def test_only_what_carries_the_mark_is_removed_and_no_link_followed(tmp_path: Path) -> None:
    mine, run = tmp_path / "mine", tmp_path / "run"
    for folder in (mine, run):
        folder.mkdir()
        (folder / "file").touch()
    assert not remove(mine) and (mine / "file").exists()
    (run / MARK).touch()
    (run / "inner").symlink_to(mine)
    (tmp_path / "link").symlink_to(run)
    assert not remove(tmp_path / "link") and run.exists()
    (mine / MARK).symlink_to(run / MARK)
    assert not remove(mine), "a mark is no link"
    assert remove(run) and not run.exists() and (mine / "file").exists()
    assert not remove(tmp_path / "gone")


def link(path: Path) -> None:
    path.symlink_to("/etc")


def fifo(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("place", ["checkpoints", "logs/version_0", "stages/a/pictures", "metrics.json", MARK])
@pytest.mark.parametrize("plant", [link, fifo])
def test_a_runs_folder_holds_no_links(place: str, plant: Callable[[Path], None], tmp_path: Path) -> None:
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    check_plain(tmp_path, "resume")
    plant(tmp_path / place)
    with pytest.raises(UserError, match=place):
        check_plain(tmp_path, "resume")
