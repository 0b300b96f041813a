"""The Lightning module that trains any task."""

import logging
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from tasks.shared.config.typed import plain_of
from tasks.shared.contract import Batch, Evaluator, Task
from tasks.shared.distillation.teacher_targets import TeacherTargets
from tasks.shared.errors import UserError
from tasks.shared.records.checkpoint import KEY
from tasks.shared.training.ema import Ema
from tasks.shared.training.optim import make_schedule, optimizer_of
from tasks.shared.training.restored import check_progress, check_state
from tasks.shared.training.settings import RunConfig

log = logging.getLogger(__name__)


class TrainingModule(pl.LightningModule):
    """Trains a task; validates its moving average where `trainer.ema_decay` is given.

    config: the run's. loader: of the training data. info, num_classes, contents (what the splits hold): plain data that
    its checkpoints carry, with the config. frozen: parts of the task that stay in eval mode. lessons: of a teacher, by
    split, that the data's loaders hand out.
    """

    def __init__(
        self,
        task: Task,
        evaluator: Evaluator,
        config: RunConfig,
        info: dict[str, Any],
        num_classes: int,
        loader: DataLoader,
        *,
        contents: dict[str, Any] | None = None,
        frozen: Sequence[nn.Module] = (),
        teacher_targets: dict[str, TeacherTargets] | None = None,
    ):
        super().__init__()
        ema_decay, channels_last = config.trainer.ema_decay, config.trainer.channels_last
        self.task = task.to(memory_format=torch.channels_last) if channels_last else task  # type: ignore[call-overload]
        self.ema = Ema(self.task, ema_decay) if ema_decay is not None else None
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.evaluator = evaluator
        self.config, self.loader = config, loader
        self.frozen, self.teacher_targets = tuple(frozen), teacher_targets or {}
        self.carried = {"config": plain_of(config), "info": info, "num_classes": num_classes, "contents": contents}
        self.next_epoch = 0  # that a run goes on with from a checkpoint of now
        self.restoring: dict[str, Any] | None = None  # the checkpoint to go on from, until its states are checked
        self.skipped = 0  # images, in this epoch

    def configure_optimizers(self) -> Any:
        optim, epochs = self.config.optim, self.config.trainer.max_epochs
        optimizer = optimizer_of(self.task, optim, fused=self.trainer.precision != "16-mixed")
        steps = self.trainer.estimated_stepping_batches / epochs
        schedule = make_schedule(optimizer, steps, epochs, **asdict(optim.schedule))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        # Lightning's own refuses fused optimizers in bf16 too, where no scaler has multiplied the gradients.
        if gradient_clip_val:
            nn.utils.clip_grad_norm_(self.task.parameters(), gradient_clip_val)

    def train_dataloader(self) -> DataLoader:
        # Before loader processes fetch the first batches; Lightning tells the sampler its epoch only after that.
        sampler = self.loader.batch_sampler.sampler  # type: ignore[union-attr]
        sampler.set_epoch(self.next_epoch)  # type: ignore[attr-defined]
        return self.loader

    def on_train_epoch_start(self) -> None:
        self.skipped = 0
        for module in self.frozen:
            module.eval()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        # Whatever draws from the global generator (dropout) depends on epoch and batch alone, so resuming repeats it.
        entropy = (self.config.seed, self.current_epoch, batch_idx, self.global_rank)
        seed = int(np.random.default_rng(entropy).integers(2**62))
        if self.device.type == "cpu":
            torch.default_generator.manual_seed(seed)  # without noting for GPUs who asked, which takes .6 ms
        else:
            torch.manual_seed(seed)

    def training_step(self, batch: Batch, _: int) -> Tensor | None:
        self.skipped += batch.skipped
        if not batch.targets:  # every image of it was unreadable
            return self._no_loss()
        if "train" in self.teacher_targets:
            self.teacher_targets["train"].complete(batch.targets, self.device)
        outputs = self.task(batch.images.contiguous(memory_format=self.memory_format))
        with torch.autocast(self.device.type, enabled=False):
            losses = self.task.loss(outputs, batch.targets)
        total = torch.stack(list(losses.values())).sum()
        if not math.isfinite(total.item()):
            self._stop_at(losses, batch)
        self.log_dict({f"train/{name}": value.detach() for name, value in losses.items()}, batch_size=len(batch.images))
        self.log("train/loss", total.detach(), prog_bar=True, batch_size=len(batch.images))
        return total

    def _no_loss(self) -> Tensor | None:
        """Nothing, or under DDP, where the other processes wait for this one's gradients, gradients of zero."""
        if self.trainer.world_size == 1:
            return None
        return torch.stack([p.sum() * 0.0 for p in self.task.parameters() if p.requires_grad]).sum()

    def on_train_epoch_end(self) -> None:
        if self.skipped:
            log.warning("epoch %d: %d images could not be read", self.current_epoch + 1, self.skipped)

    def _stop_at(self, losses: dict[str, Tensor], batch: Batch) -> None:
        parts = ", ".join(f"{name} {value.item():g}" for name, value in losses.items())
        files = ", ".join(str(target["file"]) for target in batch.targets)
        raise UserError(
            f"the loss is not finite at step {self.global_step} (epoch {self.current_epoch}): {parts}. "
            f"Its batch: {files}. A lower optim.lr, a longer warm-up (optim.schedule.warmup_epochs) or "
            "trainer.gradient_clip_norm may help."
        )

    def on_train_batch_end(self, *_: Any) -> None:
        if self.ema is not None:
            self.ema.update(self.task)

    def on_validation_epoch_start(self) -> None:
        self.evaluator.reset()

    def validation_step(self, batch: Batch, _: int) -> None:
        if batch.targets:
            network = self.task if self.ema is None else self.ema.network
            update_evaluator(network, self.evaluator, batch, self.teacher_targets.get("val"))

    def on_validation_epoch_end(self) -> None:
        self.evaluator.gather()
        if self.trainer.sanity_checking:
            return
        metrics = self.evaluator.compute()
        # After gathering, every process has the same figures: there is nothing to synchronise.
        self.log_dict({f"val/{name}": value for name, value in metrics.items()})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[KEY] = self.carried | {"next_epoch": self.next_epoch}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.next_epoch, self.restoring = checkpoint[KEY]["next_epoch"], checkpoint
        check_state(self, checkpoint["state_dict"], self.trainer.ckpt_path)

    def on_fit_start(self) -> None:
        # Optimizers and schedules are made now, and nothing of them is restored yet.
        if self.restoring is not None:
            check_progress(self.trainer, self.restoring, self.trainer.ckpt_path)
        self.restoring = None


def update_evaluator(
    task: Task, evaluator: Evaluator, batch: Batch, teacher_targets: TeacherTargets | None
) -> list[Any]:
    """Predict a batch and hand the results to the evaluator, with the teacher's where there is one; returns ours."""
    if teacher_targets is not None:
        teacher_targets.complete(batch.targets, batch.images.device)
    images = batch.images.contiguous(memory_format=torch.channels_last)
    sizes = torch.tensor([target["size"] for target in batch.targets])
    results = task.predict(task(images), sizes)
    evaluator.update(results, batch.targets)
    return results
