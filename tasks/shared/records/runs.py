"""Finished runs on disk: finding and reading them."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.shared.config.carried import check_config, data_name_of, no_run
from tasks.shared.config.nodes import NetworkConfig
from tasks.shared.errors import UserError
from tasks.shared.files.folders import CONFIG, METRICS
from tasks.shared.files.reading import read_json, read_yaml, shown
from tasks.shared.records.checkpoint import find_checkpoint, load_checkpoint

log = logging.getLogger(__name__)
MOST = 1e300  # of a figure; whole numbers may have thousands of digits, which no float holds


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, its network, the choice of its data, and its final metrics by name."""

    path: Path
    network: NetworkConfig
    data_name: str | None
    metrics: dict[str, float]


def find_runs(folder: Path, task: str | None) -> list[Run]:
    """The finished runs of `task` (None: any) in `folder` and below it, in the order of their paths; others are logged.

    Raises UserError if there is none, and for files of a run that cannot be read.
    """
    if not folder.is_dir():
        raise UserError(f"runs={folder}: no such folder")
    runs = []
    for file in sorted(folder.rglob(CONFIG)):
        config = read_yaml(file)
        if reason := no_run(config, task) or _unfinished(file.parent):
            log.info("skipped %s: %s", file.parent, reason)
            continue
        config = check_config(config, str(file))
        metrics = read_metrics(file.parent / METRICS)
        runs.append(Run(file.parent, NetworkConfig.of(config, str(file)), data_name_of(config), metrics))
    if not runs:
        of_task = "" if task is None else f" of task={task}"
        raise UserError(
            f"runs={folder}: no finished run{of_task} in it or below it; expected folders that tools/train.py "
            f"has written, which hold {CONFIG} and {METRICS}"
        )
    return runs


def read_config(file: Path) -> dict[str, Any]:
    """The config of a run that was begun. Raises UserError for a file that holds anything else."""
    config = read_yaml(file)
    if reason := no_run(config):
        raise UserError(f"{file}: {reason}")
    return check_config(config, str(file))


def _unfinished(folder: Path) -> str | None:
    return None if (folder / METRICS).is_file() else f"it holds no {METRICS}, so it is not finished"


def read_metrics(file: Path) -> dict[str, float]:
    """Final metrics by name. Raises UserError for a file that holds anything else."""
    metrics = read_json(file)
    if not isinstance(metrics, dict):
        raise UserError(f"{file}: holds a {type(metrics).__name__}; expected numbers by name")
    for name, value in metrics.items():
        if not isinstance(value, int | float) or isinstance(value, bool) or abs(value) > MOST:
            raise UserError(f"{file}: {shown(name)[1:-1]}={shown(value)}; expected a number")
    return metrics


def class_count(run: Run) -> int:
    """How many classes the run's network tells apart."""
    return load_checkpoint(find_checkpoint(run.path)).num_classes
