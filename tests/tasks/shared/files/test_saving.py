"""What every task's evaluator writes, on a disk that is full: one line with key and path, and files old or new."""

from pathlib import Path

import pytest

from tasks.shared.errors import UserError
from tests.faults import closed, files_up_to
from tests.tasks.shared.every_task import TASKS, ready
from tests.tasks.shared.folders import contents

SLOW = ("dogs", "faster_rcnn")  # whose evaluators are others' too
MORE = {"facenet as parquet": ("facenet", "task.embeddings=parquet")}
REMOVED = {"confused.jpg", "mistakes.jpg"}  # before they are made anew: there may be nothing to show


@pytest.mark.parametrize(
    "name", [*(pytest.param(each, marks=pytest.mark.slow) if each in SLOW else each for each in TASKS), *MORE]
)
def test_a_full_disk_is_told_at_every_file(name: str, tmp_path: Path) -> None:
    task, *overrides = MORE.get(name, (name,))
    evaluator = (made := ready(task, tmp_path / "sample", *overrides)).evaluator
    made.evaluate(11)
    whole, folder = tmp_path / "whole", tmp_path / "full"
    for each in (whole, folder):
        each.mkdir()
    evaluator.save(whole)
    expected, told = contents(whole), set()
    for size in sorted({0, *(len(data) - 1 for data in expected.values())}):
        for file in expected:
            (folder / file).write_bytes(b"old")
        with files_up_to(size), pytest.raises(UserError) as caught:
            evaluator.save(folder)
        line = str(caught.value)
        assert line.endswith(": cannot be written (File too large)") and "\n" not in line
        told.add(line.removeprefix(f"output={folder}/").split(":")[0])
        for file, data in contents(folder).items():
            assert data in (b"old", expected[file]), file
        assert expected.keys() - contents(folder).keys() <= REMOVED
    assert told and told <= expected.keys()
    for file in expected.keys() - REMOVED:  # each of them is one that cannot be moved to its place
        (folder / file).unlink()
        (folder / file / "taken").mkdir(parents=True)
        with pytest.raises(UserError, match=rf"output={folder}/{file}: cannot be written \(Is a directory\)"):
            evaluator.save(folder)
        (folder / file / "taken").rmdir()
        (folder / file).rmdir()
        (folder / file).touch()
        assert not [part for part in folder.iterdir() if part.name not in expected]
    with closed(folder), pytest.raises(UserError, match=f"output={folder}/.*: cannot be written"):
        evaluator.save(folder)
