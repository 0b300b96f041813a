"""Training a run, from a config to a folder with everything that it leaves behind."""

import logging
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import yaml
from lightning.pytorch.callbacks import Callback, LearningRateMonitor, RichProgressBar
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from PIL import Image
from torch.utils.data import DataLoader

from backbone.kernels import kernels
from tasks.shared.config.typed import plain_of
from tasks.shared.contract import Data, Task
from tasks.shared.distillation.report import report_student
from tasks.shared.distillation.teacher import Teacher
from tasks.shared.distillation.teacher_targets import teach, teacher_of
from tasks.shared.errors import UserError
from tasks.shared.files.folders import CONFIG, names_in
from tasks.shared.files.names import same_classes
from tasks.shared.files.writing import make_folder, report_faults, write_image, write_text
from tasks.shared.network.build import build_data, build_task, check_data_type, initialise, load_task, task_class
from tasks.shared.network.meta import check_new
from tasks.shared.network.runtime import keep_heap, pick_device, pick_precision
from tasks.shared.network.transfer import freeze, source_of, start_from, warn_of_leaks
from tasks.shared.processes.ranks import failing_as_one, is_first_process
from tasks.shared.records.checkpoint import Checkpoint
from tasks.shared.records.contents import check_contents, content_of
from tasks.shared.records.curves import Curves
from tasks.shared.records.report import draw_curves, print_metrics
from tasks.shared.training.callbacks import Checkpoints, LineProgress, OwnSignals, WholeCheckpoints
from tasks.shared.training.machine import check_machine
from tasks.shared.training.module import TrainingModule
from tasks.shared.training.optim import optimizer_of
from tasks.shared.training.quiet import quiet_lightning
from tasks.shared.training.score import score_checkpoint
from tasks.shared.training.settings import RunConfig, TrainerConfig

log = logging.getLogger(__name__)


def train(
    config: RunConfig, output: Path, resume: Checkpoint | None = None, other_data: bool = False
) -> dict[str, float]:
    """Train a run in the folder `output`, which is this process's, and score its best checkpoint.

    resume: the checkpoint to go on from; other_data: even if the data are
    others than before.
    Leaves config.yaml, checkpoints/{last,best}.ckpt, logs/, metrics.json, the evaluator's results, pictures/ and
    curves.png in `output`; no checkpoints if something is wrong before an epoch is done. Returns the final metrics.
    """
    check_machine(config.trainer)
    data = build_data(config.data, config.resolution)
    teacher = teacher_of(config.teacher)
    pl.seed_everything(config.seed, verbose=False)  # after the teacher, which may draw: a student starts like any
    teacher_dim = None if teacher is None else teacher.num_outputs
    num_classes = task_class(config.task).count_outputs(data, teacher_dim)
    task, info = _student(config, data, num_classes, teacher, resume)
    teacher_targets = teach(data, teacher, config.teacher, config.data_name) if teacher is not None else None
    frozen = freeze(task, config.freeze.up_to, config.freeze.batch_norm)
    evaluator = task.evaluator(data, info)
    train_loader, val_loader = data.train_loader(config.seed), data.val_loader(shard=True)
    if len(train_loader) == 0:
        raise UserError("there are no training images for a single batch; expected at least one a process")
    contents = {"train": content_of(train_loader.dataset), "val": content_of(val_loader.dataset)}
    if resume is not None:
        check_contents(resume.more.get("contents"), contents, config.data_name, other_data)
    module = TrainingModule(
        task,
        evaluator,
        config,
        info,
        num_classes,
        train_loader,
        contents=contents,
        frozen=frozen,
        teacher_targets=teacher_targets,
    )
    if config.trainer.compile:
        module.task.compile()
    optimizer_of(task, config.optim)  # fails on its options now, not when training has begun
    folder = output / "checkpoints"
    with quiet_lightning():
        trainer = make_trainer(
            config.trainer, output, Checkpoints(folder, task.monitored_metrics, resumed=resume is not None)
        )
    _check_shares(trainer.world_size, {"train on": train_loader, "validate on": val_loader})
    if is_first_process():
        make_folder(folder, "output")
        write_text(output / CONFIG, yaml.safe_dump(plain_of(config), sort_keys=False, allow_unicode=True), "output")
        for name, report in data.reports.items():
            if isinstance(report, Image.Image):
                write_image(output / name, report, "output")
            else:
                write_text(output / name, report, "output")
        log.info("run: %s", output)
        if trainer.strategy.root_device.type == "cpu" and not kernels():
            log.info(
                "backbone/kernels were not compiled when this was installed; steps take longer (docs/performance.md)"
            )
    keep_heap()
    try:
        # Resuming reads our own checkpoint: weights_only, as everywhere.
        path = resume.path if resume else None
        with failing_as_one(trainer, output), report_faults(output / "logs", "output"), quiet_lightning():
            trainer.fit(module, val_dataloaders=val_loader, ckpt_path=path, weights_only=True if resume else None)
    except SystemExit as stop:  # Lightning's answer to Ctrl-C and SIGTERM; of the latter with status 0
        raise SystemExit(stop.code or 1) from stop
    except UserError as error:
        begun = resume is None and trainer.current_epoch == 0 and not config.stages
        if begun and trainer.is_global_zero and not error.lost:
            for checkpoint in folder.glob("*.ckpt"):  # of no use: who has made the run's folder removes it without one
                checkpoint.unlink(missing_ok=True)
        raise
    if not trainer.is_global_zero:
        return {}
    best = folder / "best.ckpt"
    metrics = score_checkpoint(best if best.exists() else folder / "last.ckpt", config, output)
    draw_curves(output, task.monitored_metrics)
    print_metrics(metrics)
    if teacher is not None:
        batch = val_loader.batch_sampler.batch_size  # type: ignore[union-attr]
        report_student(config.network, config.trainer.accelerator, batch, teacher, metrics, output)
    return metrics


def _check_shares(processes: int, loaders: dict[str, DataLoader]) -> None:
    """Raise UserError where a process would have no image: those that have one would wait for it."""
    for purpose, loader in loaders.items():
        if (count := len(loader.dataset)) < processes:  # type: ignore[arg-type]
            raise UserError(
                f"trainer.devices: {processes} processes, but {count} images to {purpose}; expected at least one "
                "for each; give fewer"
            )


def _student(
    config: RunConfig, data: Data, num_classes: int, teacher: Teacher | None, resume: Checkpoint | None
) -> tuple[Task, dict[str, Any]]:
    """The network to train, with the weights that it starts or goes on from, and what its checkpoints say of its names.

    Raises UserError where network, data and teacher do not go together.
    """
    if resume is None:
        check_new(config.network, num_classes)
        task = build_task(config.network, num_classes)
        initialise(task, config.init.method, config.backbone)
    else:
        if data.info and not same_classes(data.info, resume.info):
            raise UserError(f"{resume.path} was trained on other classes than data={config.data_name} has")
        task = load_task(config.network, resume.weights, num_classes, str(resume.path))
    check_data_type(task, data, config.task.name, config.data_name)
    info = data.info
    if teacher is not None:
        task.check_teacher(teacher, info)
        info = info or task.info_of_teacher(teacher)
    if resume is None:
        if (source := source_of(config.init)) is not None:
            start_from(task, source, config.init.head, info)
        warn_of_leaks(data, source, config.backbone)
    return task, info


def make_trainer(config: TrainerConfig, output: Path, checkpoints: Checkpoints) -> pl.Trainer:
    """Lightning's Trainer for the config node `trainer`."""
    # A resumed run keeps the first part's log, and writes to a folder that is new.
    parts = [name.removeprefix("version_") for name in names_in(output / "logs")]
    version = max((int(part) + 1 for part in parts if part.isdecimal() and len(part) < 10), default=0)
    progress: Callback = RichProgressBar() if sys.stdout.isatty() else LineProgress()
    # The last epoch is validated too: the largest divisor of the epochs that is not above the wish.
    wish, epochs = config.val_every_epochs, config.max_epochs
    val_every = next(every for every in range(min(wish, epochs), 0, -1) if epochs % every == 0)
    arguments = dict(
        accelerator=config.accelerator,
        devices=config.devices,
        strategy=config.strategy,
        precision=pick_precision(pick_device(config.accelerator), config.precision),
        max_epochs=config.max_epochs,
        check_val_every_n_epoch=val_every,
        gradient_clip_val=config.gradient_clip_norm,
        limit_train_batches=config.limit_train_batches,
        limit_val_batches=config.limit_val_batches,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # ours shards, and seeds by epoch
        benchmark=torch.cuda.is_available(),
        enable_progress_bar=sys.stdout.isatty(),
        enable_model_summary=False,
        enable_checkpointing=False,
        log_every_n_steps=10,
        logger=[Curves(output / "logs" / f"version_{version}")],
        callbacks=[OwnSignals(), checkpoints, progress, LearningRateMonitor("step")],
        plugins=[WholeCheckpoints()],
    )
    try:
        return pl.Trainer(**arguments)
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise UserError(f"trainer.*: {str(error).splitlines()[0]}") from error
