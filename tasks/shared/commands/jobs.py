"""Hydra's jobs: the one run of a command, or those of a sweep, and the folder of each."""

import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from tasks.shared.commands.cli import TRACEBACK, log_to_terminal, show_user_errors, text_of
from tasks.shared.config.compose import CONFIGS
from tasks.shared.errors import UserError
from tasks.shared.files.folders import CONFIG, claimed, remove
from tasks.shared.processes.ranks import is_first_process

log = logging.getLogger(__name__)
SWEEPS = ("-m", "--multirun")


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


def stamp() -> str:
    """What folders are called that the user has given no name."""
    return time.strftime("%Y-%m-%d_%H-%M-%S")


@contextmanager
def sweep_folder(flags: list[str], given: set[str], task: str) -> Iterator[None]:
    """Around a sweep that is given no output: a folder of its own below runs/, of which Hydra is told.

    flags: Hydra's. given: the keys that the user has set.
    """
    if not flags or not set(flags) <= set(SWEEPS) or given & {"output", "hydra.sweep.dir"}:
        yield
        return
    with claimed(Path(f"runs/{task}/{stamp()}"), free=True) as folder:
        sys.argv.append(f"hydra.sweep.dir={folder}")
        yield


@contextmanager
def run_folder(
    config: dict[str, Any], settle: Callable[[Path], dict[str, Any]]
) -> Iterator[tuple[dict[str, Any], Path]]:
    """A run's config and its folder, which is this process's alone as long as the block runs.

    runs/<task>/<time> unless `config["output"]` names it, and in a sweep a folder for each of its runs below; names
    without `=` and commas. settle: the run's whole config, of its folder; the folder has it as config.yaml from its
    first moment. A UserError before an epoch was trained removes the folder again, unless the run is only lost.
    """
    sweep, given = HydraConfig.get(), config["output"]
    folder = Path(given or f"runs/{config['task']['name']}/{stamp()}")
    if is_sweep():
        name = re.sub(r"[^\w.-]+", "_", "_".join(_swept()).replace("=", "-"))
        folder = folder if given else folder.with_name(Path(sweep.sweep.dir).name)
        folder = folder / f"{sweep.job.num}_{name}"[:100]
    if not is_first_process():
        yield settle(folder), folder
        return
    settled: dict[str, Any] = {}

    def files(path: Path) -> dict[str, str]:
        settled.update(settle(path))
        return {CONFIG: yaml.safe_dump(settled, sort_keys=False, allow_unicode=True)}

    with claimed(folder, files, free=given is None) as path:
        if given is None and not is_sweep():
            sys.argv.append(f"output={path}")  # DDP's other processes start with these arguments, and later
        try:
            yield settled, path
        except UserError as error:
            if not error.lost and not any(path.rglob("*.ckpt")):
                remove(path)
            raise


@contextmanager
def result_folder(tool: str, given: Any) -> Iterator[Path]:
    """The folder of a tool's results, `given` or runs/<tool>/<time>; this process's alone while the block runs."""
    with claimed(Path(given or f"runs/{tool}/{stamp()}"), free=given is None) as folder:
        yield folder
