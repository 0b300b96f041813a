"""A whole run of tools/train.py, in images a second, against the bare training step of the same network."""

import copy
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from tasks.shared.benchmark.roofline import wait_for
from tasks.shared.benchmark.suite import Options, Result, Suite
from tasks.shared.benchmark.timing import summarise
from tasks.shared.config.compose import compose_config, plain
from tasks.shared.contract import Batch
from tasks.shared.network.build import build_data, build_task, initialise
from tasks.shared.network.runtime import keep_heap
from tasks.shared.training.callbacks import Checkpoints
from tasks.shared.training.ema import Ema
from tasks.shared.training.module import TrainingModule
from tasks.shared.training.optim import optimizer_of
from tasks.shared.training.quiet import quiet_lightning
from tasks.shared.training.settings import RunConfig, run_of
from tasks.shared.training.train import make_trainer

STEPS = 10  # a round: Lightning writes its logs every so many
WARM_UP = 5  # steps


def run_suite(options: Options, **keys: Any) -> Suite:
    """Steps of Lightning's loop, with data, logs, progress and all, each followed by a bare one on the same batch.

    The run is task=classification on its drawn sample, as it is by default; keys: of its config, to change it. In its
    first epoch it decodes the images that it keeps, so that epoch is told apart. Bare: forward, loss, backward,
    clipping, optimizer, moving average, on a copy of the network. Evaluation and checkpoints, between the epochs, are
    not timed.
    """
    with TemporaryDirectory() as folder:
        changes = {"data.root": f"{folder}/sample", "trainer.val_every_epochs": 1000, "trainer.max_epochs": 1000} | keys
        overrides = ["task=classification", *(f"{k}={v}" for k, v in changes.items())]
        config = run_of(plain(compose_config("train", overrides)))
        (Path(folder) / "checkpoints").mkdir()
        keep_heap()
        data = build_data(config.data, config.resolution)
        steps = Steps(STEPS * options.rounds)
        with quiet_lightning():
            module, trainer = _make(config, data, Path(folder))
            trainer.callbacks.append(steps)  # type: ignore[attr-defined]
            trainer.fit(module, val_dataloaders=data.val_loader(shard=True))
    batch = module.loader.batch_sampler.batch_size  # type: ignore[union-attr]
    case = f"task=classification, {batch} images of {config.resolution} pixels"
    results = []
    for name, timed in (("first epoch", steps.first), ("later epochs", steps.later)):
        if not timed:  # no longer than the warm-up
            continue
        times = summarise(*([fmean(part) for part in _rounds(side)] for side in zip(*timed, strict=True)))
        results.append(Result(f"{case}, {name}", {"our_images_per_s": round(1000 * batch / times.ours_ms)}, times, {}))
    return Suite("a step of tools/train.py against the bare step", results)


def _rounds(steps: Sequence[float]) -> list[Sequence[float]]:
    """STEPS each; fewer where there are no more, but no incomplete ones beside others."""
    return [steps[i : i + STEPS] for i in range(0, max(len(steps) - STEPS, 0) + 1, STEPS)]


def _make(config: RunConfig, data: Any, output: Path) -> tuple[TrainingModule, pl.Trainer]:
    """As `tasks.shared.training.train.train` makes them."""
    task = build_task(config.network, data.num_classes)
    initialise(task, config.init.method, config.backbone)
    loader = data.train_loader(config.seed)
    module = TrainingModule(task, task.evaluator(data, data.info), config, data.info, data.num_classes, loader)
    return module, make_trainer(
        config.trainer, output, Checkpoints(output / "checkpoints", task.monitored_metrics, resumed=False)
    )


class Steps(Callback):
    """Seconds of steps, from one to the next of Lightning's, and of a bare step on the same batch.

    first, later: pairs of them in the first epoch and after it; when there are `count` of these, training ends.
    """

    def __init__(self, count: int):
        self.count, self.seen = count, 0
        self.first: list[tuple[float, float]] = []
        self.later: list[tuple[float, float]] = []
        self.step: Callable[[], None] | None = None

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.since = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(module, TrainingModule)
        wait_for(module.device)
        run = time.perf_counter() - self.since
        if self.step is None:
            self.step = bare_step(module, batch, trainer.precision == "bf16-mixed")
        start = time.perf_counter()
        self.step()
        self.seen += 1
        if self.seen > WARM_UP:
            timed = self.later if trainer.current_epoch else self.first
            timed.append((run, time.perf_counter() - start))
        trainer.should_stop = len(self.later) == self.count
        self.since = time.perf_counter()


def bare_step(module: TrainingModule, batch: Batch, bf16: bool) -> Callable[[], None]:
    """A step of a copy of the module's network on this batch, without Lightning."""
    task, config, device = copy.deepcopy(module.task), module.config, module.device
    optimizer = optimizer_of(task, config.optim)
    average = None if module.ema is None else Ema(task, module.ema.decay)
    clip = config.trainer.gradient_clip_norm
    images = batch.images.contiguous(memory_format=module.memory_format)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            outputs = task(images)
        loss = torch.stack(list(task.loss(outputs, batch.targets).values())).sum()
        loss.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(task.parameters(), clip)
        optimizer.step()
        if average is not None:
            average.update(task)
        wait_for(device)

    return step
