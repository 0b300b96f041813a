"""Minutes long: `pytest -m slow`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tools.conftest import TINY, TOOLS

pytestmark = pytest.mark.slow


def run(*arguments: str, cwd: Path) -> str:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_readmes_run_learns_the_sample(tmp_path: Path) -> None:
    run(str(TOOLS / "train.py"), "task=ssd", "backbone.alpha=1.0", f"output={tmp_path}/run", cwd=tmp_path)
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["AP50"] >= 0.6 and metrics["AP"] >= 0.3, metrics
    run(str(TOOLS / "eval.py"), f"checkpoint={tmp_path}/run/checkpoints/best.ckpt", "output=eval", cwd=tmp_path)
    assert (tmp_path / "eval/metrics.json").read_text() == (tmp_path / "run/metrics.json").read_text()


def test_two_processes_train_together(tmp_path: Path) -> None:
    """DDP on the CPU: one run folder, every picture scored once."""
    ddp = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "data.batch_size=2", "data.val_batch_size=1"]
    tiny = [a for a in TINY if not a.startswith(("data.batch_size", "trainer.accelerator"))]
    out = run(str(TOOLS / "train.py"), *tiny, *ddp, "output=run", cwd=tmp_path)
    assert "evaluated 4 pictures" in out
    assert {"AP", "AP50"} <= json.loads((tmp_path / "run/metrics.json").read_text()).keys()
    detections = json.loads((tmp_path / "run/detections.json").read_text())
    assert len({d["image_id"] for d in detections}) == 4
    run(str(TOOLS / "eval.py"), "checkpoint=run", "output=eval", cwd=tmp_path)
    assert (tmp_path / "eval/metrics.json").read_text() == (tmp_path / "run/metrics.json").read_text()
