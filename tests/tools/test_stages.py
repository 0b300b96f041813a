"""Runs before a run."""

import json
import shutil
from pathlib import Path

import pytest

from tests.tools.conftest import TINY, Tool

STAGES = """stages={first: ["optim.lr=0.003"], other: ["seed=1", "trainer.max_epochs=1"]}"""


@pytest.fixture
def sample(tiny_run: Path) -> str:
    return f"data.root={tiny_run.parent}/sample"


def test_stages_come_first_and_are_compared(sample: str, tool: Tool, tmp_path: Path) -> None:
    run = tmp_path / "run"
    answer = tool("train", *TINY, sample, STAGES, "init.stage=first", f"output={run}")
    assert answer.status == 0, answer.message
    assert f"init: all weights of {run}/stages/first/checkpoints" in answer.out
    metrics, first, other = (
        json.loads((run / folder / "metrics.json").read_text()) for folder in (".", "stages/first", "stages/other")
    )
    assert metrics["first_AP"] == first["AP"] and metrics["other_AP"] == other["AP"]
    assert metrics["gain_over_first"] == pytest.approx(metrics["AP"] - first["AP"])
    assert "lr: 0.003" in (run / "stages/first/config.yaml").read_text()
    assert "max_epochs: 2" in (run / "stages/first/config.yaml").read_text(), "the command's settings reach stages"
    assert "max_epochs: 1" in (run / "stages/other/config.yaml").read_text()
    assert "stages" not in (run / "stages/other/config.yaml").read_text().replace("stages: {}", "")

    # Interrupted in the second stage.
    shutil.rmtree(run / "checkpoints")
    (run / "metrics.json").unlink()
    shutil.rmtree(run / "stages/other")
    finished = (run / "stages/first/checkpoints/last.ckpt").stat().st_mtime_ns
    assert "goes on as it was" in tool("train", f"resume={run}", "trainer.max_epochs=9").message
    again = tool("train", f"resume={run}")
    assert again.status == 0, again.message
    assert (run / "stages/first/checkpoints/last.ckpt").stat().st_mtime_ns == finished
    assert json.loads((run / "metrics.json").read_text()) == metrics

    # In the run itself.
    (run / "metrics.json").unlink()
    assert tool("train", f"resume={run}").status == 0
    assert json.loads((run / "metrics.json").read_text()) == metrics


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (['stages={bad: ["optim.lr=-1"]}'], "stages.bad.optim.lr=-1"),
        (['stages={bad: ["optim.rl=1"]}'], "stages.bad: unknown key 'optim.rl'"),
        (['stages={bad: ["data=nothing"]}'], "stages.bad: "),
        (['stages={good: ["seed=1"]}', "init.stage=gone"], "init.stage=gone: no such stage; there are good"),
        (["init.stage=gone"], "there are none"),
    ],
)
def test_a_bad_stage_is_found_before_the_first(
    settings: list[str], named: str, sample: str, tool: Tool, tmp_path: Path
) -> None:
    answer = tool("train", *TINY, sample, *settings, f"output={tmp_path}/run")
    assert answer.status == 1 and named in answer.message
    assert not (tmp_path / "run").exists()


def test_a_run_to_start_from_takes_the_place_of_stages(tiny_run: Path, sample: str, tool: Tool, tmp_path: Path) -> None:
    answer = tool("train", *TINY, sample, STAGES, "init.stage=first", f"init.run={tiny_run}", f"output={tmp_path}/run")
    assert answer.status == 0, answer.message
    assert "stages first, other: left out" in answer.out and not (tmp_path / "run/stages").exists()
