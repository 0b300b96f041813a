"""The jobs of a command, its one run or those of a sweep, and the folder of each."""

import argparse
import itertools
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml
from hydra.core.override_parser.types import Override

from tasks.shared.commands.cli import TRACEBACK, text_of
from tasks.shared.config.typed import plain_of
from tasks.shared.errors import UserError
from tasks.shared.files.folders import CONFIG, claimed, remove
from tasks.shared.processes.ranks import is_first_process
from tasks.shared.training.settings import RunConfig

log = logging.getLogger(__name__)
RUN_FOLDER = "MOBILENET_TOOLKIT_RUN_FOLDER"  # in the environment of processes that DDP starts: the first one's choice


@dataclass(frozen=True)
class Job:
    """One run of a command. overrides: as they were given. swept: those that tell a run of a sweep from the others.

    number: in a sweep, from 0; None of a single run.
    """

    overrides: list[str]
    swept: list[str]
    number: int | None


class _Flags(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; expected key=value, -m for a sweep, --cfg job to see the config, or --help")


def split_flags(arguments: list[str]) -> argparse.Namespace:
    """Flags as Hydra has them, `multirun`, `cfg` and `resolve`, and `overrides`, in any order."""
    parser = _Flags(add_help=False, allow_abbrev=False)
    parser.add_argument("-m", "--multirun", action="store_true")
    parser.add_argument("-c", "--cfg", choices=["job"])
    parser.add_argument("--resolve", action="store_true")
    parser.add_argument("overrides", nargs="*")
    return parser.parse_intermixed_args(arguments)


def jobs_of(overrides: Sequence[Override], sweep: bool) -> list[Job]:
    """The runs that overrides ask for: of a sweep every combination of their values, the last varying first."""
    if not sweep:
        return [Job([str(override.input_line) for override in overrides], [], None)]
    choices: list[list[tuple[str, bool]]] = []
    for override in overrides:
        if not override.is_sweep_override():
            choices.append([(str(override.input_line), False)])
        elif override.is_discrete_sweep():
            key = override.get_key_element()
            choices.append([(f"{key}={value}", True) for value in override.sweep_string_iterator()])
        else:
            raise UserError(f"{override.input_line}: a sweep goes through single values; expected key=1,2,3")
    return [
        Job([line for line, _ in run], [line for line, varies in run if varies], number)
        for number, run in enumerate(itertools.product(*choices))
    ]


def run_jobs(job: Callable[[Job], None], jobs: Sequence[Job]) -> None:
    """Call `job` for each run.

    A run of a sweep that ends in a UserError leaves the others to go on; a UserError at the end names those that did.
    """
    failed = []
    for each in jobs:
        try:
            if each.number is not None:
                log.info("run %d of %d: %s", each.number + 1, len(jobs), " ".join(each.swept))
            job(each)
        except UserError as error:
            if each.number is None or TRACEBACK in os.environ:
                raise
            failed.append(f"{each.number}: {' '.join(each.swept)}: {text_of(error)}")
            log.error("failed: %s", failed[-1])
    if failed:
        raise UserError(f"{len(failed)} of the sweep's {len(jobs)} runs failed\n" + "\n".join(failed))


def stamp() -> str:
    """What folders are called that the user has given no name."""
    return time.strftime("%Y-%m-%d_%H-%M-%S")


@contextmanager
def sweep_folder(sweep: bool, given: bool, task: str) -> Iterator[str | None]:
    """Around a sweep that is given no output: a folder of its own below runs/, whose name is told."""
    if given or not sweep:
        yield None
        return
    with claimed(Path(f"runs/{task}/{stamp()}"), free=True) as folder:
        yield folder.name


@contextmanager
def run_folder(
    given: str | None, job: Job, settle: Callable[[Path], RunConfig], task: str, sweep: str | None
) -> Iterator[tuple[RunConfig, Path]]:
    """A run's config and its folder, which is this process's alone as long as the block runs.

    runs/<task>/<time> unless the user has `given` one, and in a sweep a folder for each of its runs below; names
    without `=` and commas. settle: the run's whole config, of its folder; the folder has it as config.yaml from its
    first moment. sweep: the name of the sweep's folder. A UserError before an epoch was trained removes the folder
    again, unless the run is only lost.
    """
    folder = Path(given or f"runs/{task}/{sweep or stamp()}")
    if job.number is not None:
        name = re.sub(r"[^\w.-]+", "_", "_".join(job.swept).replace("=", "-"))
        folder = folder / f"{job.number}_{name}"[:100]
    if not is_first_process():
        folder = Path(os.environ.get(RUN_FOLDER, folder))
        yield settle(folder), folder
        return
    settled: list[RunConfig] = []

    def files(path: Path) -> dict[str, str]:
        settled.append(settle(path))
        return {CONFIG: yaml.safe_dump(plain_of(settled[-1]), sort_keys=False, allow_unicode=True)}

    with claimed(folder, files, free=given is None) as path:
        os.environ[RUN_FOLDER] = str(path)  # for the processes that DDP starts from now on
        try:
            yield settled[-1], path
        except UserError as error:
            if not error.lost and not any(path.rglob("*.ckpt")):
                remove(path)
            raise
        finally:
            del os.environ[RUN_FOLDER]


@contextmanager
def result_folder(tool: str, given: Any) -> Iterator[Path]:
    """The folder of a tool's results, `given` or runs/<tool>/<time>; this process's alone while the block runs."""
    with claimed(Path(given or f"runs/{tool}/{stamp()}"), free=given is None) as folder:
        yield folder
