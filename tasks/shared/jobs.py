"""Hydra's jobs: the one run of a command, or those of a sweep, and the folder of each."""

import logging
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from tasks.shared.cli import TRACEBACK, log_to_terminal, show_user_errors, text_of
from tasks.shared.config import CONFIGS
from tasks.shared.errors import UserError
from tasks.shared.process import is_first_process
from tasks.shared.writing import probe_folder

log = logging.getLogger(__name__)


def run_jobs(job: Callable[[DictConfig], None]) -> None:
    """Let Hydra compose configs/train.yaml with sys.argv and call `job`, once or for every run of a sweep.

    A run of a sweep that ends in a UserError leaves the others to go on; a UserError at the end names those that did.
    """
    runs, failed = 0, []

    def run(config: DictConfig) -> None:
        nonlocal runs
        runs += 1
        log_to_terminal()  # Hydra has set its own
        with show_user_errors():  # inside the job, as Hydra prints a traceback for what leaves it
            try:
                job(config)
            except UserError as error:
                if not is_sweep() or TRACEBACK in os.environ:
                    raise
                failed.append(f"{HydraConfig.get().job.num}: {' '.join(_swept())}: {text_of(error)}")
                log.error("failed: %s", failed[-1])

    hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="train")(run)()
    if failed:
        raise UserError(f"{len(failed)} of the sweep's {runs} runs failed\n" + "\n".join(failed))


def is_sweep() -> bool:
    return HydraConfig.get().mode == RunMode.MULTIRUN


def job_overrides() -> list[str]:
    """Of this run, as they were given: what they interpolate is not resolved."""
    overrides = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    assert isinstance(overrides, list)
    return [str(override) for override in overrides]


def _swept() -> list[str]:
    """The settings that tell this run of a sweep from the others."""
    return [override for override in job_overrides() if override not in sys.argv]


def run_folder(config: dict[str, Any]) -> Path:
    """runs/<task>/<time>, and in a sweep a folder for each of its runs below; names without `=` and commas."""
    sweep = HydraConfig.get()
    stamp = Path(sweep.sweep.dir).name
    folder = Path(config["output"] or f"runs/{config['task']['name']}/{stamp}")
    if is_sweep():
        name = re.sub(r"[^\w.-]+", "_", "_".join(_swept()).replace("=", "-"))
        folder = folder / f"{sweep.job.num}_{name}"[:100]
    if not is_first_process():
        return folder
    if config["output"] is None and not is_sweep():
        sys.argv.append(f"output={folder}")  # DDP's other processes start with these arguments, and later
    return new_folder(folder)


def new_folder(folder: Path) -> Path:
    """`folder`, unless something is there that a tool would overwrite."""
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"output={folder} exists already and is not empty; choose another")
    probe_folder("output", folder)
    return folder
