"""A teacher that is a stage, kept for later runs; and what the tools do with a run that was taught."""

import json
import logging
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tasks.shared.config import targets
from tasks.shared.distillation import report
from tasks.shared.errors import UserError
from tasks.shared.training import stages
from tasks.shared.training.settings import RunConfig
from tests.runs import composed_run
from tests.tasks.classification.conftest import COLORS, write_folders
from tests.tasks.shared.distillation.pupils import HOME, OWN_TARGETS
from tests.tools.conftest import Tool

# A student of seconds, and its teacher: a classifier that was trained on the labels.
STUDENT = (
    "task=classification", f"task._target_={HOME}.ClassCopier", "backbone.alpha=0.25", "resolution=32",
    "data=image_folder", "data.batch_size=4", "data.workers=0", "trainer=cpu", "trainer.max_epochs=1",
    "trainer.val_every_epochs=1", "trainer.ema_decay=null",
)  # fmt: skip
OWN = ["teacher=none", "resolution=32", "backbone.alpha=0.25", "trainer.max_epochs=1", "trainer.val_every_epochs=1"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with images in set/; configs may name what tests define."""
    monkeypatch.setattr(targets, "declared_targets", lambda node: OWN_TARGETS)
    monkeypatch.setattr(report, "TIMED", 3)
    for seed, (split, count) in enumerate((("train", 4), ("val", 2))):
        write_folders(tmp_path / "set", split, dict.fromkeys(COLORS, count), seed=seed)
    return tmp_path


def test_the_teacher_is_made_once_and_outlives_the_run(place: Path, tool: Tool) -> None:
    stage = ", ".join(f'"{setting}"' for setting in [*OWN, f"output={place}/teachers"])
    taught = [*STUDENT, f"data.root={place}/set", f"teacher.cache_folder={place}/cache"]
    by_stage = [*taught, "teacher=run", "teacher.stage=teacher", f"stages={{teacher: [{stage}]}}"]
    answer = tool("train", *by_stage, f"output={place}/run")
    assert answer.status == 0, answer.message
    (kept,) = (folder for folder in (place / "teachers").iterdir() if folder.is_dir())
    assert f"teacher: is kept in {kept} for later runs" in answer.out
    assert {"metrics.json", "config.yaml", "checkpoints"} <= {file.name for file in kept.iterdir()}
    assert not (place / "run/stages").exists()
    metrics = json.loads((place / "run/metrics.json").read_text())
    assert metrics.keys() == {"level", "teacher_level", "closeness"}, "nothing of the stage's besides"
    assert f"run {kept}" in (place / "run/teacher_and_student.md").read_text()
    made = {file: file.stat().st_mtime_ns for file in kept.rglob("*")}

    # Another student, of another length and width, has the same teacher.
    other = [a for a in by_stage if not a.startswith(("backbone.alpha", "trainer.max_epochs"))]
    answer = tool("train", *other, "backbone.alpha=0.3", "trainer.max_epochs=2", f"output={place}/second")
    assert answer.status == 0, answer.message
    assert f"teacher: made before, in {kept}" in answer.out
    assert {file: file.stat().st_mtime_ns for file in kept.rglob("*")} == made

    # The run is scored anew with its teacher, goes on with it, and answers without.
    best = f"checkpoint={place}/run/checkpoints/best.ckpt"
    assert tool("eval", best, f"output={place}/eval").status == 0
    assert (place / "eval/metrics.json").read_text() == (place / "run/metrics.json").read_text()
    refused = tool("train", f"resume={place}/run", "teacher.path=elsewhere")
    assert refused.status == 1 and "teacher.path='elsewhere': a resumed run keeps its own" in refused.message
    answer = tool("train", f"resume={place}/run", "trainer.max_epochs=2", "teacher.cache=false")
    assert answer.status == 0, answer.message
    assert f"teacher: made before, in {kept}" in answer.out
    scored = json.loads((place / "run/metrics.json").read_text())
    shutil.move(kept, place / "moved")
    answer = tool("eval", best, f"output={place}/gone")
    assert answer.status == 0 and f"{kept}: no such file or run" in answer.out, answer.message
    assert json.loads((place / "gone/metrics.json").read_text()) == {"level": scored["level"]}
    answer = tool("eval", best, f"teacher.path={place}/moved", f"output={place}/found")
    assert answer.status == 0 and json.loads((place / "found/metrics.json").read_text()) == scored, answer.message
    answer = tool("eval", best, "teacher.path=typo", f"output={place}/typo")
    assert answer.status == 1 and "teacher.path=typo: no such file" in answer.message
    answer = tool("eval", best, "teacher=none", f"output={place}/none")
    assert answer.status == 0 and "no such file" not in answer.out, answer.message
    answer = tool("predict", best, f"input={place}/set/val", f"output={place}/answers")
    assert answer.status == 0 and "no such file" not in answer.out, answer.message


def test_another_teacher_takes_the_stages_place(place: Path, tool: Tool) -> None:
    labels = [a for a in STUDENT if not a.startswith("task._target_")]
    assert tool("train", *labels, f"data.root={place}/set", f"output={place}/mine").status == 0
    stage = ", ".join(f'"{setting}"' for setting in [*OWN, f"output={place}/teachers"])
    taught = [
        *STUDENT,
        f"data.root={place}/set",
        "teacher=run",
        "teacher.stage=teacher",
        f"stages={{teacher: [{stage}]}}",
    ]
    given = [f"teacher.path={place}/mine", "teacher.cache=false"]
    answer = tool("train", *taught, *given, f"output={place}/run")
    assert answer.status == 0, answer.message
    assert "stages teacher: left out, as teacher.path is given" in answer.out
    assert (
        not (place / "teachers").exists() and f"run {place}/mine" in (place / "run/teacher_and_student.md").read_text()
    )
    gone = tool("train", *taught, "stages=null", "teacher.stage=null", "teacher.path=gone", f"output={place}/none")
    assert gone.status == 1 and "gone" in gone.message and not (place / "none").exists()


def figures_of(config: RunConfig, folder: Path, resume: Any = None) -> dict[str, float]:
    """In place of training."""
    TRAINED.append((config.seed, resume is not None))
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text('{"level": 1.0}')
    return {"level": 1.0}


TRAINED: list[tuple[int, bool]] = []  # seed, and whether it went on


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    monkeypatch.setattr(stages, "train", figures_of)
    monkeypatch.setattr(stages, "load_checkpoint", lambda path: path)
    TRAINED.clear()
    return TRAINED


def stage_in(folder: Path) -> RunConfig:
    return replace(composed_run("seed=3"), output=str(folder))


def test_an_interrupted_stage_goes_on_in_its_folder(tmp_path: Path, training: list[tuple[int, bool]]) -> None:
    folder = tmp_path / "teachers/0123abcd"
    stages._train_stage("teacher", stage_in(folder), folder)
    assert training == [(3, False)] and {".mobilenet_toolkit", "config.yaml"} <= {f.name for f in folder.iterdir()}
    (folder / "metrics.json").unlink()
    stages._train_stage("teacher", stage_in(folder), folder)
    (folder / "metrics.json").unlink()
    (folder / "checkpoints/last.ckpt").touch()
    stages._train_stage("teacher", stage_in(folder), folder)
    stages._train_stage("teacher", stage_in(folder), folder)
    assert training == [(3, False), (3, False), (3, True)]


def test_a_stage_takes_nobodys_folder(tmp_path: Path, training: list[tuple[int, bool]]) -> None:
    folder = tmp_path / "teachers/0123abcd"
    folder.mkdir(parents=True)
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"stages\.teacher=.*0123abcd exists already"):
        stages._train_stage("teacher", stage_in(folder), folder)
    assert [file.name for file in folder.iterdir()] == ["thesis.txt"] and not training


def test_a_second_run_waits_for_the_first(
    tmp_path: Path, training: list[tuple[int, bool]], caplog: pytest.LogCaptureFixture
) -> None:
    """Which holds the lock, ends after the second has asked, and leaves the stage complete."""
    folder, done = tmp_path / "teachers/0123abcd", []
    folder.mkdir(parents=True)
    with caplog.at_level(logging.INFO), FileLock(folder.with_name("0123abcd.lock"), thread_local=False):
        thread = threading.Thread(target=lambda: done.append(stages._train_stage("teacher", stage_in(folder), folder)))
        thread.start()
        deadline = time.monotonic() + 60
        while "another run trains it" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.02)
        assert f"teacher: another run trains it in {folder}" in caplog.text and not done
        (folder / "metrics.json").write_text('{"level": 2.0}')
    with caplog.at_level(logging.INFO):
        thread.join(60)
    assert done == [{"level": 2.0}] and training == [] and "made meanwhile" in caplog.text


def test_a_second_run_goes_on_where_the_first_was_stopped(tmp_path: Path, training: list[tuple[int, bool]]) -> None:
    folder = tmp_path / "teachers/0123abcd"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints/last.ckpt").touch()
    with FileLock(folder.with_name("0123abcd.lock"), thread_local=False):
        thread = threading.Thread(target=stages._train_stage, args=("teacher", stage_in(folder), folder))
        thread.start()
    thread.join(60)
    assert training == [(3, True)]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, training: list[tuple[int, bool]]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"stages\.teacher: .*file cannot be written"):
        stages._train_stage("teacher", stage_in(tmp_path / "file/0123abcd"), tmp_path / "file/0123abcd")
