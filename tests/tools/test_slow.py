"""Minutes long: `pytest -m slow`."""

import csv
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


def test_three_processes_validate_seven_photos_as_one_does(tmp_path: Path) -> None:
    """What the log says of the last epoch is what one process says of its network; eval is one process anyway."""
    planet = (
        "task=planet", "backbone.alpha=0.25", "resolution=64", "data.train=30", "data.val=7", "data.workers=0",
        "data.partition.min_photos=1", "data.partition.max_photos=10", "data.batch_size=4", "data.val_batch_size=2",
        "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=3", "trainer.max_epochs=1", "output=run",
        f"data.root={tmp_path}/sample",
    )  # fmt: skip
    run(str(TOOLS / "train.py"), *planet, cwd=tmp_path)
    last = list(csv.DictReader((tmp_path / "run/logs/version_0/metrics.csv").read_text().splitlines()))[-1]
    logged = {name.removeprefix("val/"): float(value) for name, value in last.items() if name.startswith("val/")}
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert logged == pytest.approx(metrics, rel=1e-4) and len(logged) == 7
    run(str(TOOLS / "eval.py"), "checkpoint=run", "output=eval", "trainer=ddp", "trainer.devices=3", cwd=tmp_path)
    for name in ("metrics.json", "predictions.csv"):
        assert (tmp_path / "eval" / name).read_bytes() == (tmp_path / "run" / name).read_bytes()


def test_two_processes_train_together(tmp_path: Path) -> None:
    """DDP on the CPU: one run folder, every image scored once."""
    ddp = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "data.batch_size=2", "data.val_batch_size=1"]
    tiny = [a for a in TINY if not a.startswith(("data.batch_size", "trainer.accelerator"))]
    out = run(str(TOOLS / "train.py"), *tiny, *ddp, "output=run", cwd=tmp_path)
    assert "evaluated 4 images" in out
    assert {"AP", "AP50"} <= json.loads((tmp_path / "run/metrics.json").read_text()).keys()
    detections = json.loads((tmp_path / "run/detections.json").read_text())
    assert len({d["image_id"] for d in detections}) == 4
    run(str(TOOLS / "eval.py"), "checkpoint=run", "output=eval", cwd=tmp_path)
    assert (tmp_path / "eval/metrics.json").read_text() == (tmp_path / "run/metrics.json").read_text()
