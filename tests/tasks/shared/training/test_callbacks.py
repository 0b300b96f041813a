"""Which checkpoint is the best, and what a line says of an epoch."""

import logging
import math
import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tasks.shared.processes.memory import peak_memory
from tasks.shared.training.callbacks import Checkpoints, LineProgress, leading

NOTHING: dict[str, float] = {}


def saved(epochs: Sequence[dict[str, float] | None], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The epochs whose checkpoint was the best so far. epochs: what each one's validation gave, None without one."""
    best: list[int] = []
    checkpoints = Checkpoints(Path(), ("first", "second"), resumed=False)
    trainer: Any = SimpleNamespace(callback_metrics={"train/loss": torch.tensor(1.0)}, sanity_checking=False)
    module: Any = SimpleNamespace()

    def save(_: Any, name: str, weights_only: bool = False) -> None:
        if name == "best":
            best.append(trainer.current_epoch)

    monkeypatch.setattr(checkpoints, "_save", save)
    for trainer.current_epoch, figures in enumerate(epochs):
        if figures is not None:
            trainer.callback_metrics |= {f"val/{name}": torch.tensor(value) for name, value in figures.items()}
            checkpoints.on_validation_end(trainer, module)
        checkpoints.on_train_epoch_end(trainer, module)
        assert module.next_epoch == trainer.current_epoch + 1
    return best


@pytest.mark.parametrize(
    ("epochs", "best"),
    [
        ([{"first": 0.1}, {"first": 0.3}, {"first": 0.2}], [0, 1]),
        ([{"first": -5.0}, {"first": -9.0}, {"first": -2.0}], [0, 2]),
        ([{"first": -5.0}, None, {"first": -2.0}, None], [0, 2]),
        ([{"second": 1.0, "third": 9.0}, {"second": 2.0, "third": 8.0}], [0, 1]),
        ([{"first": 1.0, "second": 5.0}, {"first": 2.0, "second": 4.0}], [0, 1]),
        ([{"first": math.nan}, {"first": 0.0}], [1]),
        ([{"third": 1.0}, NOTHING], []),
        ([None, None], []),
    ],
)
def test_the_best_epoch_is_by_the_first_curve_that_is_given(
    epochs: Sequence[dict[str, float] | None], best: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert saved(epochs, monkeypatch) == best


def test_the_leading_metric() -> None:
    assert leading(("a", "b"), {"b": 1.0, "a": 2.0}) == "a"
    assert leading(("a", "b"), ["b", "c"]) == "b"
    assert leading(("a",), []) is None


@pytest.mark.parametrize(("figures", "told"), [({"val/b": -1.25}, "  b -1.2500  ("), ({"val/c": 1.0}, "0.5000  (")])
def test_a_line_tells_it(figures: dict[str, float], told: str, caplog: pytest.LogCaptureFixture) -> None:
    line = LineProgress()
    metrics = {name: torch.tensor(value) for name, value in figures.items()}
    trainer: Any = SimpleNamespace(callback_metrics=metrics, current_epoch=0, max_epochs=3)
    module: Any = SimpleNamespace(task=SimpleNamespace(monitored_metrics=("a", "b")))
    line.on_train_epoch_start(trainer, module)
    line.on_train_batch_end(trainer, module, {"loss": torch.tensor(0.5)})
    line.on_validation_end(trainer, module)
    with caplog.at_level(logging.INFO):
        line.on_train_epoch_end(trainer, module)
    assert "epoch 1/3  mean loss 0.5000" in caplog.text and told in caplog.text
    assert bool(re.search(r" s, at most [\d,]+ MB so far\)", caplog.text)) == (peak_memory() is not None)
