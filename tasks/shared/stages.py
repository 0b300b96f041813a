"""Runs before a run: what it starts from, or what it is compared with."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from tasks.shared.build import build_data, build_task, target_of
from tasks.shared.checkpoint import Checkpoint, load_checkpoint
from tasks.shared.engine import check_settings, train
from tasks.shared.errors import UserError
from tasks.shared.process import is_first_process

log = logging.getLogger(__name__)


def train_with_stages(config: dict[str, Any], output: Path, resume: Checkpoint | None = None) -> dict[str, float]:
    """Train what `config["stages"]` holds, a whole config by name, in `output`/stages/<name>, then the run itself.

    The run starts from the stage that `init.stage` names. Its metrics.json has the stages' figures too, as
    `<stage>_<metric>`, and `gain_over_<stage>` in the metric that picks the best checkpoint. What was interrupted goes
    on where it was: stages that are complete are not run again.
    """
    stages: dict[str, dict[str, Any]] = config.get("stages") or {}
    first = config["init"].get("stage")
    if first is not None and str(first) not in stages:
        raise UserError(f"init.stage={first}: no such stage; there are {', '.join(stages) or 'none'}")
    if not stages:
        return train(config, output, resume)
    if resume is None:
        _check(config, stages)
        _keep_config(config, output)
    figures = {}
    for number, (name, stage) in enumerate(stages.items(), start=1):
        log.info("stage %d of %d: %s, data=%s", number, len(stages) + 1, name, stage["data"]["choice"])
        figures[name] = _train_stage(stage, output / "stages" / name)
    if first is not None:
        config = config | {"init": config["init"] | {"run": str(output / "stages" / first)}}
    log.info("stage %d of %d: the run itself, data=%s", len(stages) + 1, len(stages) + 1, config["data"]["choice"])
    metrics = train(config, output, resume)
    if not is_first_process():
        return {}
    curves = target_of("task", config["task"]).curves
    metrics |= _compare(metrics, figures, curves)
    (output / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    _print_stages({**figures, "this run": metrics}, curves)
    return metrics


def waiting_stages(folder: Path) -> dict[str, Any] | None:
    """The config of a run in `folder` that was interrupted in one of its stages; None for any other folder."""
    if not (folder / "stages").is_dir() or (folder / "checkpoints" / "last.ckpt").exists():
        return None
    try:
        return yaml.safe_load((folder / "config.yaml").read_text())
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{folder}/config.yaml: cannot be read ({str(error).splitlines()[0]})") from error


def _check(config: dict[str, Any], stages: dict[str, dict[str, Any]]) -> None:
    """Find out what is wrong with any stage before the first one is trained."""
    for name, each in (*stages.items(), ("this run", config)):
        try:
            check_settings(each)
            build_task(each, build_data(each).num_classes)
        except UserError as error:
            raise UserError(f"stage {name}: {error}") from error


def _keep_config(config: dict[str, Any], output: Path) -> None:
    """What resuming a run that is interrupted in a stage needs to know."""
    if is_first_process():
        (output / "stages").mkdir(parents=True, exist_ok=True)
        (output / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True))


def _train_stage(config: dict[str, Any], folder: Path) -> dict[str, float]:
    finished, last = folder / "metrics.json", folder / "checkpoints" / "last.ckpt"
    if finished.exists():
        log.info("complete already: %s", folder)
        return json.loads(finished.read_text())
    if last.exists():
        return train(config, folder, load_checkpoint(last))
    if is_first_process() and folder.exists():  # interrupted before there was anything to go on from
        shutil.rmtree(folder)
    return train(config, folder)


def _compare(
    metrics: dict[str, float], stages: dict[str, dict[str, float]], curves: tuple[str, ...]
) -> dict[str, float]:
    """The stages' figures under names of their own, and what the run has gained over each."""
    figures = {f"{name}_{curve}": stage[curve] for name, stage in stages.items() for curve in curves if curve in stage}
    gains = {
        f"gain_over_{name}": metrics[curves[0]] - stage[curves[0]]
        for name, stage in stages.items()
        if curves[0] in stage and curves[0] in metrics
    }
    return figures | gains


def _print_stages(rows: dict[str, dict[str, float]], curves: tuple[str, ...]) -> None:
    table = Table("stage", *curves)
    for name, figures in rows.items():
        table.add_row(name, *(f"{figures[curve]:.4f}" if curve in figures else "" for curve in curves))
    Console().print(table)
