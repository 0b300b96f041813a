"""What a run that fails in its first epoch leaves: nothing of its own, and all that was there before."""

import math
import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.shared.errors import Lost, UserError
from tasks.shared.training import callbacks, stages
from tasks.shared.training import train as engine
from tests.faults import closed, files_up_to
from tests.runs import composed_run
from tests.tasks.shared.folders import contents
from tests.tools.conftest import TINY, TOOLS, Tool

KILLED = """
import os, signal
from pathlib import Path
from tasks.shared.training.module import TrainingModule
own = TrainingModule.training_step
def step(self, *arguments):
    if self.global_rank == 1 and not Path("killed").exists():
        Path("killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return own(self, *arguments)
TrainingModule.training_step = step
"""


def fail_in(monkeypatch: pytest.MonkeyPatch, epoch: int, error: BaseException | None = None) -> None:
    """At the end of an epoch: with this error, or as a disk that takes no checkpoint more."""
    own = callbacks.Checkpoints.on_train_epoch_end

    def fail(self: Any, trainer: Any, module: Any) -> None:
        if trainer.current_epoch < epoch:
            own(self, trainer, module)
            return
        if error is not None:
            raise error
        self.best = math.inf  # last.ckpt is what does not fit
        with files_up_to(100_000):
            own(self, trainer, module)

    monkeypatch.setattr(callbacks.Checkpoints, "on_train_epoch_end", fail)


@pytest.fixture
def command(tiny_run: Path, tmp_path: Path) -> list[str]:
    return [*TINY, f"data.root={tiny_run.parent}/sample", f"output={tmp_path}/runs/run"]


def test_a_full_disk_in_the_first_epoch_takes_this_run_alone(
    command: list[str], tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs/other").mkdir(parents=True)
    (tmp_path / "runs/other/metrics.json").write_text("{}")
    before = contents(tmp_path / "runs")
    with monkeypatch.context() as patch:
        fail_in(patch, 0)
        answer = tool("train", *command)
    assert answer.status == 1 and answer.message.endswith("last.ckpt: cannot be written (File too large)")
    assert contents(tmp_path / "runs") == before and not (tmp_path / "runs/run").exists()


def test_after_an_epoch_it_stays(
    command: list[str], tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_in(monkeypatch, 1, UserError("the image"))
    answer = tool("train", *command)
    assert (answer.status, answer.message) == (1, "error: the image")
    assert (tmp_path / "runs/run/checkpoints/last.ckpt").exists()


def test_a_folder_with_somebodys_files_is_never_taken(command: list[str], tool: Tool, tmp_path: Path) -> None:
    run = tmp_path / "runs/run"
    run.mkdir(parents=True)
    (run / "thesis.txt").write_text("mine")
    answer = tool("train", *command)
    assert answer.status == 1 and f"output={run} exists already and is not empty" in answer.message
    assert contents(run) == {"thesis.txt": b"mine"}


def test_a_run_that_goes_on_stays_whatever_happens(
    command: list[str], tiny_run: Path, tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was stopped before its first checkpoint, and fails in its first epoch when it goes on."""
    run = tmp_path / "runs/run"

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(engine, "build_data", interrupt)
        assert tool("train", *command).message == "interrupted"
    (run / "notes.txt").write_text("mine")
    again = ("train", f"resume={run}", f"data.root={tiny_run.parent}/sample")
    with monkeypatch.context() as patch:
        fail_in(patch, 0, UserError("the image"))
        answer = tool(*again)
    assert (answer.status, answer.message) == (1, "error: the image")
    assert (run / "notes.txt").read_text() == "mine" and not list(run.rglob("*.ckpt"))
    assert tool(*again).status == 0
    assert (run / "metrics.json").read_bytes() == (tiny_run / "metrics.json").read_bytes()


def test_the_checkpoint_of_a_run_that_goes_on_stays(
    command: list[str], tiny_run: Path, tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was stopped in its first epoch, and fails in it when it goes on."""
    run = tmp_path / "runs/run"
    with monkeypatch.context() as patch:
        fail_in(patch, 0, KeyboardInterrupt())
        assert tool("train", *command).status == 1
    last = (run / "checkpoints/last.ckpt").read_bytes()
    with monkeypatch.context() as patch:
        fail_in(patch, 0, UserError("the image"))
        answer = tool("train", f"resume={run}")
    assert (answer.status, answer.message) == (1, "error: the image")
    assert (run / "checkpoints/last.ckpt").read_bytes() == last
    assert tool("train", f"resume={run}").status == 0
    assert (run / "metrics.json").read_bytes() == (tiny_run / "metrics.json").read_bytes()


def test_a_run_that_is_only_lost_goes_on(
    command: list[str], tiny_run: Path, tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that trained with it was killed, in the first epoch too."""
    run = tmp_path / "runs/run"
    with monkeypatch.context() as patch:
        fail_in(patch, 0, Lost("a process that trains with this one was killed"))
        answer = tool("train", *command)
    assert answer.status == 1 and (run / "checkpoints/last.ckpt").exists()
    assert tool("train", f"resume={run}").status == 0
    assert (run / "metrics.json").read_bytes() == (tiny_run / "metrics.json").read_bytes()


@pytest.mark.parametrize("error", [UserError("the image"), Lost("killed")], ids=["wrong", "lost"])
@pytest.mark.parametrize("begun", [False, True], ids=["new", "begun"])
@pytest.mark.parametrize("trained", [False, True], ids=["untrained", "trained"])
def test_a_kept_stage(
    error: UserError, begun: bool, trained: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes where it is this run's own, and nothing was learnt in it."""
    folder, other = tmp_path / "teachers/0123abcd", tmp_path / "teachers/other"
    other.mkdir(parents=True)
    (other / "metrics.json").write_text("{}")
    if begun:
        folder.mkdir()
        (folder / "config.yaml").write_text("{}")

    def fail(*_: Any) -> None:
        if trained:
            (folder / "checkpoints").mkdir()
            (folder / "checkpoints/last.ckpt").touch()
        raise error

    monkeypatch.setattr(stages, "train", fail)
    with pytest.raises(type(error)):
        stages._train_stage("teacher", replace(composed_run(), output=str(folder)), folder)
    assert folder.exists() == (begun or trained or error.lost)
    assert (other / "metrics.json").exists()


def test_a_kept_stage_that_is_made_may_be_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is not is told before anything is trained, the lock of its folder with it."""
    run = composed_run()
    monkeypatch.setattr(stages, "build_data", interrupt_here)
    folder = tmp_path / "teachers/0123abcd"
    stage = replace(run, output=str(folder))
    folder.parent.mkdir()
    with closed(folder.parent):
        with pytest.raises(UserError, match=rf"stage teacher: output={folder}: cannot be written"):
            stages._check(replace(run, stages={"teacher": stage}))
        with pytest.raises(UserError, match=rf"stages\.teacher: {folder.parent} cannot be written \(Permission denied"):
            stages._train_stage("teacher", stage, folder)
    folder.mkdir()
    (folder / "metrics.json").write_text('{"level": 1.0}')
    folder.chmod(0o555)
    with closed(folder.parent):
        with pytest.raises(UserError, match="stage teacher: built"):
            stages._check(replace(run, stages={"teacher": stage}))
        figures = stages._train_stage("teacher", stage, folder)
    assert figures == {"level": 1.0}


def interrupt_here(*_: Any) -> None:
    raise UserError("built")


def test_a_folder_that_cannot_be_removed_is_emptied(command: list[str], tool: Tool, tmp_path: Path) -> None:
    """As one that is mounted; and the message is of what was wrong."""
    run = tmp_path / "runs/run"
    run.mkdir(parents=True)
    with closed(tmp_path / "runs"):
        answer = tool("train", *command, "data.batch_size=0")
    assert answer.status == 1 and answer.message.startswith("error: data.batch_size=0"), answer.message
    assert list(run.iterdir()) == []


@pytest.mark.slow
def test_two_processes_go_on_after_one_was_killed_in_the_first_epoch(tiny_run: Path, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(KILLED + (TOOLS / "train.py").read_text())
    ddp = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "data.batch_size=2"]
    tiny = [a for a in TINY if not a.startswith(("data.batch_size", "trainer.accelerator"))]
    command = [sys.executable, str(script)]
    environment = os.environ | {"PYTHONPATH": str(TOOLS.parent)}
    options: dict[str, Any] = {
        "env": environment,
        "cwd": tmp_path,
        "capture_output": True,
        "text": True,
        "timeout": 300,
    }
    killed = subprocess.run([*command, *tiny, *ddp, f"data.root={tiny_run.parent}/sample", "output=run"], **options)
    assert killed.returncode == 1 and "was killed (SIGKILL)" in killed.stderr, killed.stderr
    assert killed.stderr.count("error: ") == 1 and "Traceback" not in killed.stderr
    (advice,) = re.findall(r"go on with: python tools/train.py (.*)", killed.stderr)
    done = subprocess.run([*command, *shlex.split(advice)], **options)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run/metrics.json").exists()
