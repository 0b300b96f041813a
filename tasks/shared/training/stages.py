"""Runs before a run: what it starts from, or what it is compared with."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
import yaml
from filelock import FileLock, Timeout
from rich.console import Console
from torch import Tensor

from tasks.shared.config.stage_configs import stage_folder
from tasks.shared.config.typed import plain_of
from tasks.shared.contract import Task, TeacherInfo
from tasks.shared.distillation.teacher_targets import teachable, teacher_of
from tasks.shared.errors import UserError
from tasks.shared.files.folders import CONFIG, METRICS, check_plain, claimed, held, remove
from tasks.shared.files.writing import probe_folder, write_text
from tasks.shared.network.build import build_data, build_task, task_class
from tasks.shared.network.meta import check_new
from tasks.shared.processes.ranks import is_first_process
from tasks.shared.records.checkpoint import Checkpoint, load_checkpoint
from tasks.shared.records.runs import read_metrics
from tasks.shared.terminal.tables import PlainTable
from tasks.shared.training.callbacks import leading
from tasks.shared.training.machine import check_machine
from tasks.shared.training.settings import RunConfig
from tasks.shared.training.train import train

log = logging.getLogger(__name__)
SIGN_OF_LIFE = 600  # seconds after which a run that waits for another one says so again


class Promised(NamedTuple):
    """A teacher that is to be trained in a stage."""

    name: str
    num_outputs: int
    class_names: list[str] | None = None


def train_with_stages(
    config: RunConfig, output: Path, resume: Checkpoint | None = None, other_data: bool = False
) -> dict[str, float]:
    """Train the stages of a run in `output`/stages/<name>, then the run itself.

    The run starts from the stage that `init.stage` names, and learns from the one that `teacher.stage` names. Its
    metrics.json has the figures of all but the teacher too, as `<stage>_<metric>`, and `gain_over_<stage>` in the
    metric that picks the best checkpoint. What was interrupted goes on where it was: stages that are complete are not
    run again. A stage whose config has an `output` is trained there, for later runs as well.

    `output` is this process's, with the config in it. other_data: go on even if the data are others than before.
    """
    stages, first, teacher = config.stages, config.init.stage, config.teacher.own.stage
    if first is not None and str(first) not in stages:
        raise UserError(f"init.stage={first}: no such stage; there are {', '.join(stages) or 'none'}")
    if not stages:
        return train(config, output, resume, other_data)
    if resume is None:
        _check(config)
    figures = {}
    for number, (name, stage) in enumerate(stages.items(), start=1):
        log.info("stage %d of %d: %s, data=%s", number, len(stages) + 1, name, stage.data_name)
        figures[name] = _train_stage(name, stage, stage_folder(name, stage.output, output))
    if first is not None:
        run = stage_folder(str(first), stages[str(first)].output, output.absolute())
        config = replace(config, init=replace(config.init, run=str(run)))
    log.info("stage %d of %d: the run itself, data=%s", len(stages) + 1, len(stages) + 1, config.data_name)
    metrics = train(config, output, resume, other_data)
    compared = {name: stage for name, stage in figures.items() if name != teacher}
    if not compared or not is_first_process():
        return metrics
    monitored_metrics = task_class(config.task).monitored_metrics
    metrics |= _compare(metrics, compared, monitored_metrics)
    write_text(output / METRICS, json.dumps(metrics, indent=2) + "\n", "output")
    _print_stages({**compared, "this run": metrics}, monitored_metrics)
    return metrics


def _check(config: RunConfig) -> None:
    """Find out what is wrong with any stage before the first one is trained."""
    runs = (*config.stages.items(), ("this run", config))
    teachers = {each.teacher.own.stage for _, each in runs}
    promised: dict[str, TeacherInfo] = {}
    for name, each in runs:
        try:
            check_machine(each.trainer)
            if each.output is not None and not Path(each.output, METRICS).exists():
                probe_folder("output", Path(each.output))
            data, named = build_data(each.data, each.resolution), each.teacher.own.stage
            teacher = teacher_of(each.teacher) if named is None else promised[str(named)]
            teacher_dim = None if teacher is None else teacher.num_outputs
            count = task_class(each.task).count_outputs(data, teacher_dim)
            check_new(each.network, count)
            task = build_task(each.network, count)
            if teacher is not None:
                task.check_teacher(teacher, data.info)
                teachable(data, each.teacher.node, each.data_name)
            task.evaluator(data, data.info)
            if name in teachers:
                promised[name] = _promise(name, task)
        except UserError as error:
            raise type(error)(f"stage {name}: {error}") from error


def _promise(name: str, task: Task) -> TeacherInfo:
    """What the network of a stage will be, as far as `Task.check_teacher` asks."""
    with torch.no_grad():
        predictions = task.eval()(torch.zeros(1, 3, task.resolution, task.resolution, dtype=torch.uint8))
    if not isinstance(predictions, Tensor) or predictions.ndim != 2:
        raise UserError(
            f"teacher.stage={name}: its network does not answer an image with K numbers; nobody learns from it"
        )
    return Promised(f"stage {name}", predictions.shape[1])


def _train_stage(name: str, stage: RunConfig, folder: Path) -> dict[str, float]:
    config = replace(stage, output=None)
    if (folder / METRICS).exists():
        log.info("%s: made before, in %s", name, folder)
        return read_metrics(folder / METRICS)
    if stage.output is None or not is_first_process():  # the others are this one's own
        return _go_on(name, config, folder)
    with _alone(name, folder):
        if (folder / METRICS).exists():
            log.info("%s: made meanwhile, in %s", name, folder)
            return read_metrics(folder / METRICS)
        log.info("%s: is kept in %s for later runs", name, folder)
        return _go_on(name, config, folder)


@contextmanager
def _alone(name: str, folder: Path) -> Iterator[None]:
    """Wait while another run trains the same stage. The lock ends with the process that holds it, however that ends."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        file = folder.with_name(f"{folder.name}.lock")
        if file.is_symlink():  # filelock before 3.20.1 would empty the file that it leads to
            raise UserError(f"stages.{name}: {file} is a symbolic link; expected a lock of this toolkit; remove it")
        lock = FileLock(file)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("%s: another run trains it in %s; waiting for that one", name, folder)
            while not lock.is_locked:
                with suppress(Timeout):
                    lock.acquire(timeout=SIGN_OF_LIFE, poll_interval=1)
                    break
                log.info("%s: still waiting for the run that trains it in %s, which is alive", name, folder)
    except OSError as error:
        raise UserError(f"stages.{name}: {folder.parent} cannot be written ({error.strerror or error})") from error
    try:
        yield
    finally:
        lock.release()


def _go_on(name: str, config: RunConfig, folder: Path) -> dict[str, float]:
    """Train a stage, or what is left of it."""
    last, key = folder / "checkpoints" / "last.ckpt", f"stages.{name}"
    if not is_first_process():
        return train(config, folder, load_checkpoint(last) if last.exists() else None)
    if not last.exists() and not (folder / CONFIG).exists():
        text = yaml.safe_dump(plain_of(config), sort_keys=False, allow_unicode=True)
        with claimed(folder, lambda _: {CONFIG: text}, key):
            try:
                return train(config, folder)
            except UserError as error:
                if not error.lost and not any(folder.rglob("*.ckpt")):
                    remove(folder)
                raise
    check_plain(folder, key)
    with held(folder, key):
        return train(config, folder, load_checkpoint(last) if last.exists() else None)


def _compare(
    metrics: dict[str, float], stages: dict[str, dict[str, float]], monitored_metrics: tuple[str, ...]
) -> dict[str, float]:
    """The stages' figures under names of their own, and what the run has gained over each."""
    figures = {
        f"{name}_{metric}": stage[metric]
        for name, stage in stages.items()
        for metric in monitored_metrics
        if metric in stage
    }
    best = leading(monitored_metrics, metrics)
    gains = {
        f"gain_over_{name}": metrics[best] - stage[best]
        for name, stage in stages.items()
        if best is not None and best in stage
    }
    return figures | gains


def _print_stages(rows: dict[str, dict[str, float]], monitored_metrics: tuple[str, ...]) -> None:
    table = PlainTable("stage", *monitored_metrics)
    for name, figures in rows.items():
        table.add_row(name, *(f"{figures[name]:.4f}" if name in figures else "" for name in monitored_metrics))
    Console().print(table)
