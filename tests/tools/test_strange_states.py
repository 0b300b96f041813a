"""Resuming a checkpoint whose states are not what a run restores; training/test_restored.py tries all."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.shared.records.checkpoint import KEY
from tests.tools.conftest import Tool


@pytest.mark.parametrize(
    ("place", "wrong", "words"),
    [
        (("optimizer_states", 0, "state", 0, "exp_avg"), torch.zeros(7), "optimizer_states[0].state[0].exp_avg=a"),
        (("lr_schedulers", 0, "last_epoch"), "x", "lr_schedulers[0].last_epoch='x'"),
        (("loops", "fit_loop", "epoch_progress"), 3, "loops.fit_loop.epoch_progress=3"),
        (("callbacks", "Checkpoints", "best"), "good", "callbacks.Checkpoints.best='good'"),
        (("state_dict", "ema.updates"), torch.tensor(-10), "ema.updates=-10"),
        (("state_dict", "ema.updates"), torch.zeros(4, dtype=torch.int64), "differs in shape 1: ema.updates"),
        (("state_dict", "task.head.heads.0.classes.weight"), "x", "expected tensors by name"),
        (("state_dict", 5), torch.zeros(1), "expected tensors by name"),
        ((KEY, "next_epoch"), -2, "next_epoch=-2"),
        ((KEY, "contents"), {"train": {"pictures": torch.zeros(2)}}, "contents="),
    ],
)  # fmt: skip
def test_a_resumed_run_tells_file_and_key(
    place: tuple[Any, ...], wrong: Any, words: str, tiny_run: Path, tmp_path: Path, tool: Tool
) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    content = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    node = content
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = wrong
    torch.save(content, run / "checkpoints/last.ckpt")
    answer = tool("train", f"resume={run}", "trainer.max_epochs=3")
    assert answer.status == 1 and words in answer.message and "\n" not in answer.message, answer
    assert f"{run}/checkpoints/last.ckpt" in answer.message
