"""What happens around training: checkpoints and progress."""

import logging
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from tasks.shared.checkpoint import replace_file

log = logging.getLogger(__name__)


class Checkpoints(Callback):
    """`last.ckpt` at the start and after every epoch, to resume from; `best.ckpt` by the task's metric, to use.

    Both are written beside and moved into place, so that a stop at any moment, even a kill, leaves whole files:
    an interrupted run resumes at the beginning of the epoch that it was in.
    """

    def __init__(self, folder: Path, metric: str, resumed: bool):
        self.folder, self.metric, self.resumed = folder, f"val/{metric}", resumed
        self.best = -1.0
        self.validated = False

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if not self.resumed:
            self._save(trainer, "last")

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        score = float(trainer.callback_metrics.get(self.metric, 0.0))
        module.next_epoch = trainer.current_epoch + 1  # type: ignore[assignment]
        improved = self.validated and score > self.best
        self.validated = False
        if improved:
            self.best = score
            self._save(trainer, "best", weights_only=True)
        self._save(trainer, "last")

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]

    def _save(self, trainer: pl.Trainer, name: str, weights_only: bool = False) -> None:
        temporary = self.folder / f"{name}.ckpt.part"
        trainer.save_checkpoint(temporary, weights_only=weights_only)
        if trainer.is_global_zero:
            replace_file(temporary, self.folder / f"{name}.ckpt")


class LineProgress(Callback):
    """A line an epoch, where there is no terminal to draw a bar on."""

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.start, self.validated = time.monotonic(), False
        self.total, self.steps = 0.0, 0

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, *_: Any) -> None:
        if outputs:  # nothing where every picture of the batch was skipped
            self.total, self.steps = self.total + outputs["loss"], self.steps + 1

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.validated = True

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        metric = module.task.curves[0]  # type: ignore[union-attr, index]
        score = trainer.callback_metrics.get(f"val/{metric}")
        shown = f"  {metric} {float(score):.4f}" if self.validated and score is not None else ""
        loss, seconds = float(self.total / max(self.steps, 1)), time.monotonic() - self.start
        epoch = trainer.current_epoch + 1
        log.info("epoch %d/%d  mean loss %.4f%s  (%.0f s)", epoch, trainer.max_epochs, loss, shown, seconds)
