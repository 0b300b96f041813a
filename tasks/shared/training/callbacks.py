"""What happens around training: checkpoints and progress."""

import logging
import math
import signal
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.plugins.precision import MixedPrecision

from tasks.shared.files.writing import PART
from tasks.shared.processes.memory import peak_memory
from tasks.shared.records.checkpoint import read_archive, write_checkpoint
from tasks.shared.training.restored import check_restored

log = logging.getLogger(__name__)


def leading(monitored_metrics: Sequence[str], given: Collection[str]) -> str | None:
    """The metric that picks the best checkpoint: the first of `monitored_metrics` that the evaluator gives, if any."""
    return next((name for name in monitored_metrics if name in given), None)


def validated_as(trainer: pl.Trainer, monitored_metrics: Sequence[str]) -> tuple[str, float] | None:
    """The leading metric and its value at the last validation."""
    metrics = trainer.callback_metrics
    name = leading(monitored_metrics, [name.removeprefix("val/") for name in metrics if name.startswith("val/")])
    return None if name is None else (name, float(metrics[f"val/{name}"]))


class Checkpoints(Callback):
    """`last.ckpt` at the start and after every epoch, to resume from; `best.ckpt` by the task's metric, to use.

    Where the evaluator gives none of the task's `monitored_metrics`, there is no best one.

    Both appear whole (`WholeCheckpoints`), so that a stop at any moment, even a kill, leaves whole files: an
    interrupted run resumes at the beginning of the epoch that it was in.
    """

    def __init__(self, folder: Path, monitored_metrics: Sequence[str], resumed: bool):
        self.folder, self.monitored_metrics, self.resumed = folder, monitored_metrics, resumed
        self.best = -math.inf
        self.validated = False

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            for part in self.folder.glob(f"{PART}*"):  # of a process that was killed as it wrote
                part.unlink()
        if not self.resumed:
            self._save(trainer, "last")

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        module.next_epoch = trainer.current_epoch + 1  # type: ignore[assignment]
        found = validated_as(trainer, self.monitored_metrics) if self.validated else None
        self.validated = False
        if found is not None and found[1] > self.best:
            self.best = found[1]
            self._save(trainer, "best", weights_only=True)
        self._save(trainer, "last")

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]

    def _save(self, trainer: pl.Trainer, name: str, weights_only: bool = False) -> None:
        trainer.save_checkpoint(self.folder / f"{name}.ckpt", weights_only=weights_only)


class WholeCheckpoints(TorchCheckpointIO):
    """How Lightning reads and writes them: checked, and beside their place, synced, and moved there."""

    scaler = MixedPrecision.__qualname__

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        write_checkpoint(Path(path), checkpoint)

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: bool | None = None) -> Any:
        """Checked like everywhere, as Lightning opens the file that a run goes on from by itself."""
        return check_restored(read_archive(Path(path)), path, self.scaler)


class OwnSignals(Callback):
    """Signals end a run at once, as those who took them (commands/streams.py) have it.

    Lightning puts handlers of its own in front, which tell the other processes, and wait where one cannot hear.
    """

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        for number, handler in self.handlers.items():
            if handler is not None and signal.getsignal(number) != handler:
                signal.signal(number, handler)


class LineProgress(Callback):
    """A line an epoch, where there is no terminal to draw a bar on."""

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.start, self.validated = time.monotonic(), False
        self.total, self.steps = 0.0, 0

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, *_: Any) -> None:
        if outputs:  # nothing where every image of the batch was skipped
            self.total, self.steps = self.total + outputs["loss"], self.steps + 1

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.validated = True

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        found = validated_as(trainer, module.task.monitored_metrics) if self.validated else None  # type: ignore[union-attr, arg-type]
        shown = f"  {found[0]} {found[1]:.4f}" if found is not None else ""
        loss, seconds = float(self.total / max(self.steps, 1)), time.monotonic() - self.start
        epoch, peak = trainer.current_epoch + 1, peak_memory()
        memory = "" if peak is None else f", at most {peak:,} MB so far"
        log.info("epoch %d/%d  mean loss %.4f%s  (%.0f s%s)", epoch, trainer.max_epochs, loss, shown, seconds, memory)
