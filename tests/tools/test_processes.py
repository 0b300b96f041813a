"""Several processes that train one run: one voice, and one end."""

import logging
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from torch.distributed import DistBackendError

from tasks.shared.commands.cli import log_to_terminal
from tasks.shared.errors import AlreadyReported, UserError
from tasks.shared.processes.ranks import failing_as_one
from tests.tools.conftest import TINY, TOOLS, Tool


def test_one_that_fails_says_why_and_ends_all(tiny_run: Path, tmp_path: Path) -> None:
    """The second process finds a truncated image in its share of the first epoch."""
    shutil.copytree(tiny_run.parent / "sample", tmp_path / "sample")
    second = np.random.default_rng((0, 0)).permutation(8)[1]
    broken = sorted((tmp_path / "sample/train").iterdir())[second]
    broken.write_bytes(broken.read_bytes()[:300])
    arguments = [*TINY, "trainer=ddp", "trainer.devices=2", f"data.root={tmp_path}/sample", f"output={tmp_path}/run"]
    done = subprocess.run(
        [sys.executable, TOOLS / "train.py", *arguments], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {broken}: not a readable image") and done.stderr.count("\n") == 1
    first_lines = [line.split(":")[0] for line in done.stdout.splitlines()]
    assert first_lines == ["recipe", "data", "run"], "every line once"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("split", "purpose", "devices"), [("train", "train on", 9), ("val", "validate on", 5)]
)  # of 8 and 4 images
def test_a_process_without_a_image_is_told_before_any_starts(
    tool: Tool, tiny_run: Path, tmp_path: Path, split: str, purpose: str, devices: int
) -> None:
    more = ["trainer=ddp", f"trainer.devices={devices}", f"data.root={tiny_run.parent}/sample"]
    answer = tool("train", *TINY, *more, f"output={tmp_path}/run")
    count = len(list((tiny_run.parent / "sample" / split).iterdir()))
    told = f"error: trainer.devices: {devices} processes, but {count} images to {purpose}; expected at least one for"
    assert answer.status == 1 and answer.message == f"{told} each; give fewer"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("rank", "level"), [("0", logging.INFO), ("1", logging.WARNING)])
def test_only_the_first_process_reports(rank: str, level: int, monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    monkeypatch.setenv("LOCAL_RANK", rank)
    log_to_terminal()
    assert root.getEffectiveLevel() == level


def trainer_of(rank: int, *processes: subprocess.Popen) -> Any:
    launcher = SimpleNamespace(procs=list(processes))
    return SimpleNamespace(world_size=2, is_global_zero=rank == 0, strategy=SimpleNamespace(launcher=launcher))


def test_the_others_have_nothing_to_add(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="the image"), failing_as_one(trainer_of(1), tmp_path):
        raise UserError("the image")
    monkeypatch.setenv("LOCAL_RANK", "2")
    gloo, nccl = (
        RuntimeError("Connection closed by peer [127.0.0.1]"),
        DistBackendError("NCCL was aborted"),
    )
    for consequence in (gloo, nccl, UserError("another image")):
        with pytest.raises(AlreadyReported), failing_as_one(trainer_of(2), tmp_path):
            raise consequence
    with pytest.raises(ZeroDivisionError), failing_as_one(trainer_of(2), tmp_path):
        raise ZeroDivisionError  # a bug is never hidden


def test_a_process_that_was_lost_without_a_word_is_not_hidden(tmp_path: Path) -> None:
    (tmp_path / "failed").touch()  # of an earlier part of the run
    with pytest.raises(RuntimeError, match="by peer"), failing_as_one(trainer_of(0), tmp_path):
        raise RuntimeError("Connection closed by peer [127.0.0.1]")


def test_the_first_process_ends_those_that_wait_for_it(tmp_path: Path) -> None:
    waiting = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    start = time.monotonic()
    with pytest.raises(UserError), failing_as_one(trainer_of(0, waiting), tmp_path):
        raise UserError("the image")
    assert waiting.wait(30) != 0 and time.monotonic() - start < 30
