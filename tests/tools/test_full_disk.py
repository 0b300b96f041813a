"""Every tool against a full disk and a closed folder: one line that names path and key, and nothing half-written."""

import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import tasks.shared.training.callbacks as callbacks
from tasks.shared.config.compose import compose_config, plain
from tasks.shared.records.checkpoint import load_checkpoint, write_weights
from tests.faults import closed, files_up_to
from tests.tasks.shared.folders import contents
from tests.tools.conftest import TINY, TOOLS, Tool

TABLE = "lat,lon\n" + "".join(f"{k % 80},{k % 170}\n" for k in range(200))
COMMANDS: dict[str, tuple[str, ...]] = {
    "train": (*TINY, "data.root=IN/sample", "output=OUT/run"),
    "eval": ("checkpoint=IN/net.ckpt", "data.root=IN", "output=OUT/scores"),
    "predict": ("checkpoint=IN/net.ckpt", "input=IN", "output=OUT/answers"),
    "convert_weights": ("source=IN/net.ckpt", "format=safetensors", "output=OUT/net.safetensors"),
    "figures": ("output=OUT/figures",),
    "cost": ("table=6", "output=OUT/results.md"),
    "prepare_planet": ("source=IN/photos.csv", "output=OUT/cells.json"),
    "benchmark": ("suite=startup", "output=OUT/speed.json"),
}


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the tools read: a checkpoint whose network is never built, a table."""
    folder = tmp_path_factory.mktemp("given")
    (folder / "photos.csv").write_text(TABLE)
    config = plain(compose_config("train", ["task=ssd"]))
    del config["output"], config["resume"]
    write_weights(folder / "net.ckpt", config, {}, 3, {"a": torch.zeros(1)})
    return folder


def command(name: str, given: Path, out: Path) -> list[str]:
    return [a.replace("IN", str(given)).replace("OUT", str(out)) for a in COMMANDS[name]]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_closed_folder_is_told_before_work_starts(tool: Tool, given: Path, tmp_path: Path, name: str) -> None:
    before = contents(given)
    with closed(tmp_path / "closed"):
        answer = tool(name, *command(name, given, tmp_path / "closed"))
    assert answer.status == 1
    assert answer.message.startswith(f"error: output={tmp_path}/closed/")
    assert answer.message.endswith("cannot be written (Permission denied)") and "\n" not in answer.message
    assert contents(given) == before and not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_is_told_before_work_starts(tool: Tool, given: Path, tmp_path: Path, name: str) -> None:
    before = contents(given)
    with files_up_to(1000):
        answer = tool(name, *command(name, given, tmp_path))
    assert answer.status == 1
    assert answer.message.startswith(f"error: output={tmp_path}/")
    assert answer.message.endswith("cannot be written (File too large)") and "\n" not in answer.message
    assert contents(given) == before and not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["cost", "prepare_planet", pytest.param("figures", marks=pytest.mark.slow)])
def test_a_disk_that_fills_meanwhile_leaves_what_was_there(
    tool: Tool, given: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("paper.command", "paper.figures"):
        monkeypatch.setattr(
            f"tasks.shared.{module}.probe_f{'ile' if 'command' in module else 'older'}", lambda *_: None
        )
    monkeypatch.setattr("tasks.planet.prepare.probe_file", lambda *_: None)
    if name == "cost":
        (tmp_path / "results.md").write_text("old")
    before = contents(tmp_path)
    with files_up_to(100):
        answer = tool(name, *command(name, given, tmp_path))
    assert answer.status == 1
    assert answer.message.startswith(f"error: output={tmp_path}/")
    assert answer.message.endswith("cannot be written (File too large)") and "\n" not in answer.message
    assert contents(tmp_path) == before


def test_samples_are_not_drawn_where_they_cannot_be_kept(tool: Tool, tmp_path: Path) -> None:
    with closed(tmp_path / "closed"):
        answer = tool("train", *TINY, f"data.root={tmp_path}/closed/sample", f"output={tmp_path}/run")
    place = f"error: data.root={tmp_path}/closed"
    assert answer.status == 1 and answer.message.startswith(place) and "Permission denied" in answer.message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "written",
    ["last.ckpt", *(pytest.param(name, marks=pytest.mark.slow) for name in ("best.ckpt", "metrics.csv"))],
)
def test_a_run_on_a_full_disk_goes_on_when_there_is_room(
    tool: Tool, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    """In the second of two epochs the disk takes no more: what was there stays, and ends as if nothing had been."""
    run, sample = tmp_path / "run", tiny_run.parent / "sample"
    own = callbacks.Checkpoints.on_train_epoch_end
    kept: dict[str, bytes] = {}

    def fill(self: Any, trainer: Any, module: Any) -> None:
        if trainer.current_epoch == 0:
            own(self, trainer, module)
            return
        kept.update({p.name: p.read_bytes() for p in (run / "checkpoints").iterdir()})
        if written == "metrics.csv":
            with files_up_to((run / "logs/version_0/metrics.csv").stat().st_size + 5):
                trainer.loggers[0].log_metrics({"val/AP": 0.5}, 3)
                trainer.loggers[0].save()
        else:
            self.best = -1.0 if written == "best.ckpt" else math.inf
        with files_up_to(len(kept["best.ckpt"]) // 2):
            own(self, trainer, module)

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.Checkpoints, "on_train_epoch_end", fill)
        answer = tool("train", *TINY, f"data.root={sample}", f"output={run}")
    assert answer.status == 1
    assert answer.message.startswith(f"error: output={run}/")
    assert f"{written}: cannot be written (File too large)" in answer.message and "\n" not in answer.message
    assert {p.name: p.read_bytes() for p in (run / "checkpoints").iterdir()} == kept
    assert load_checkpoint(run / "checkpoints/last.ckpt").resumable
    assert not [p for p in run.rglob(".part-*")]

    assert tool("train", f"resume={run}").status == 0
    assert (run / "metrics.json").read_bytes() == (tiny_run / "metrics.json").read_bytes()
    ours, theirs = (load_checkpoint(folder / "checkpoints/last.ckpt").weights for folder in (run, tiny_run))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_full_standard_output_ends_in_one_line(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    command = [sys.executable, str(TOOLS / "train.py"), "--help"]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (ended.returncode, ended.stderr) == (1, "error: standard output: No space left on device\n")


def test_a_log_that_cannot_be_written_ends_no_work(capfd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import logging

    from tasks.shared.commands.cli import log_to_terminal, show_user_errors

    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    done: list[int] = []
    work: Callable[[int], None] = done.append
    before = logging.getLogger().handlers[:], logging.getLogger().level
    try:
        with Path("/dev/full").open("w") as full, pytest.raises(SystemExit, match="error: standard output: No space"):
            monkeypatch.setattr(sys, "stdout", full)
            with show_user_errors():
                log_to_terminal()
                for step in range(3):
                    logging.getLogger().info("step %d", step)
                    work(step)
    finally:
        logging.getLogger().handlers[:], logging.getLogger().level = before
    assert done == [0, 1, 2] and capfd.readouterr().err == ""
    assert os.environ.get("MOBILENET_TOOLKIT_TRACEBACK") is None
