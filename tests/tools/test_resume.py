"""Stopping and going on."""

import csv
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tools.conftest import TINY, TOOLS, Tool


def weights(run: Path, name: str = "last") -> dict[str, Any]:
    return torch.load(run / f"checkpoints/{name}.ckpt", weights_only=True)


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(TOOLS / "train.py"), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=cwd)


def equal(first: object, second: object) -> bool:
    """Nested containers of tensors and plain values, bit for bit."""
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(equal(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(map(equal, first, second))
    return first == second


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda s: s.name)
def test_a_stopped_run_resumes_bit_equal(stop: signal.Signals, tiny_run: Path, tool: Tool, tmp_path: Path) -> None:
    """However a run is stopped, in whatever epoch, it ends like the uninterrupted one of the same length."""
    sample = f"data.root={tiny_run.parent}/sample"
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    epochs = "trainer.max_epochs=4"
    assert tool("train", *TINY, sample, epochs, f"output={whole}").status == 0

    seen = ""
    with start(*TINY, sample, epochs, f"output={cut}", cwd=tmp_path) as process:
        assert process.stdout
        for line in process.stdout:
            seen += line
            if line.startswith("epoch 1/"):
                process.send_signal(stop)
    assert process.returncode != 0, seen
    assert "Traceback" not in seen, seen
    assert not (cut / "metrics.json").exists()
    stopped = weights(cut)
    assert 1 <= stopped["epoch"] + 1 < 4

    answer = tool("train", f"resume={cut}")
    assert answer.status == 0, answer.message
    a, b = weights(whole), weights(cut)
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "epoch"):
        assert equal(a[part], b[part]), part
    assert (whole / "metrics.json").read_text() == (cut / "metrics.json").read_text()


def test_a_run_killed_in_its_first_epoch_can_be_resumed(tiny_run: Path, tool: Tool, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    with start(*TINY, f"data.root={tiny_run.parent}/sample", f"output={cut}", cwd=tmp_path) as process:
        deadline = time.monotonic() + 60
        while not (cut / "checkpoints/last.ckpt").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        process.kill()
    assert tool("train", f"resume={cut}").status == 0
    assert equal(weights(cut)["state_dict"], weights(tiny_run)["state_dict"])


def test_resuming_goes_on_with_more_epochs_and_keeps_the_log(tiny_run: Path, tool: Tool, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    answer = tool("train", f"resume={run}", "trainer.max_epochs=3")
    assert answer.status == 0, answer.message
    assert weights(run)["epoch"] + 1 == 3
    logs = sorted(run.glob("logs/version_*/metrics.csv"))
    assert len(logs) == 2
    epochs = {row["epoch"] for row in csv.DictReader(logs[1].read_text().splitlines()) if row["epoch"]}
    assert epochs == {"2"}


def test_weights_alone_cannot_be_resumed(tiny_run: Path, tool: Tool) -> None:
    answer = tool("train", f"resume={tiny_run}/checkpoints/best.ckpt")
    assert answer.status == 1 and "last.ckpt" in answer.message


def test_resume_of_another_task_is_refused(tiny_run: Path, tool: Tool, tmp_path: Path) -> None:
    content = weights(tiny_run)
    content["mobilenet_toolkit"]["config"]["task"]["name"] = "classification"
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    torch.save(content, tmp_path / "run/checkpoints/last.ckpt")
    answer = tool("train", f"resume={tmp_path}/run/checkpoints/last.ckpt", "task=ssd")
    assert answer.status == 1
    assert "task=classification" in answer.message and "task=ssd" in answer.message
