"""Stopping a run at any moment, and going on with it. Imports nothing heavy."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from tasks.shared.commands.stage_paths import GIVEN, check_outputs, resume_command
from tasks.shared.config.compose import parse_overrides, plain, quote_paths, run_config, value_of
from tasks.shared.config.paths import absolute, check_exists
from tasks.shared.config.stage_configs import check_names, taught_anew
from tasks.shared.config.typed import Megapixels, typed
from tasks.shared.errors import UserError
from tasks.shared.files.folders import CONFIG, check_plain, held, is_marked
from tasks.shared.images.limits import DEFAULT, set_max_megapixels
from tasks.shared.processes.failures import going_on_from, interruptions_shown
from tasks.shared.processes.ranks import is_first_process
from tasks.shared.training.settings import RunConfig, run_of

log = logging.getLogger(__name__)
FIXED = (
    "optim", "backbone", "task.", "resolution", "seed", "trainer.ema_decay", "init", "freeze", "teacher", "stages",
)  # fmt: skip
CACHE = ("teacher.cache", "teacher.cache_folder")  # may change: the answers are the same


@dataclass(frozen=True)
class ResumeConfig:
    """The keys of this command that are none of a run's."""

    resume: str | None = None
    other_data: bool = False
    max_megapixels: Megapixels = DEFAULT


@contextmanager
def stoppable(folder: Path, config: RunConfig) -> Iterator[None]:
    """Around a run in `folder`: Ctrl-C and SIGTERM end it with the command that goes on with it, at any moment."""
    try:
        with interruptions_shown():
            yield
    except (KeyboardInterrupt, SystemExit):
        log.info("stopped; go on with: %s", resume_command(folder, config))
        raise


def resume(arguments: list[str]) -> None:
    """tools/train.py resume=RUN: go on where it was stopped, at its first moment too, when it had its config alone."""
    overrides = parse_overrides(quote_paths(arguments))
    path = next(o.value() for o in overrides if o.key_or_group == "resume")
    check_exists("resume", path, "run folder")
    folder = _folder_of(Path(str(path)))
    check_plain(folder, "resume")
    with held(folder, "resume") if is_first_process() else nullcontext():
        _go_on(folder, overrides)


def _go_on(folder: Path, overrides: list[Override]) -> None:
    from tasks.shared.config.carried import check_complete, completed
    from tasks.shared.data.sample_folder import NotDrawn
    from tasks.shared.records.checkpoint import load_checkpoint
    from tasks.shared.records.runs import read_config
    from tasks.shared.training.stages import train_with_stages

    last = folder / "checkpoints" / "last.ckpt"
    loaded = load_checkpoint(last) if last.exists() else None
    if loaded is not None and not loaded.resumable:
        raise UserError(f"resume={folder}: holds weights alone; expected a run that tools/train.py has made")
    source = folder / CONFIG if loaded is None else last
    config = read_config(source) if loaded is None else loaded.carried
    check_complete(config, str(source))
    config = completed(config)
    run_of(config, str(source))
    paths = {o.key_or_group: str(o.value()) for o in overrides if GIVEN.fullmatch(o.key_or_group)}
    settings = [o for o in overrides if o.key_or_group not in paths]
    for override in settings:
        key = override.key_or_group
        same = value_of(config, key) == override.value()  # a word of the user's own
        if key.startswith(FIXED) and key not in CACHE and not same:
            raise UserError(f"{override.input_line}: a resumed run keeps its own; start a new run to change it")
    changed, own = run_config(config, settings, OmegaConf.create(asdict(ResumeConfig())), str(source))
    command, goes_on = typed(ResumeConfig, plain(own)), absolute(plain(changed))
    set_max_megapixels(command.max_megapixels)
    going, changes = run_of(goes_on), [o for o in settings if _changes(o, config, goes_on)]
    if loaded is None and going.stages and changes:
        raise UserError(f"{changes[0].input_line}: a run that was interrupted in a stage goes on as it was")
    if going.stages:
        check_names(going.stages)
        roots = {o.key_or_group: str(o.value()) for o in settings if o.key_or_group == "data.root"}
        check_outputs(going, folder, roots | paths)
        going = run_of(taught_anew(goes_on, folder))
    if loaded is not None:
        _check_epochs(going.trainer.max_epochs, loaded.more.get("next_epoch"))
    other_data = command.other_data or any(o.key_or_group.split(".")[0] == "data" for o in changes)
    with stoppable(folder, going), going_on_from(folder):
        try:
            train_with_stages(going, folder, loaded, other_data)
        except NotDrawn as error:
            raise UserError(
                f"{error}; to draw it there, go on with: {resume_command(folder, going, draw=True)}"
            ) from error


def _folder_of(path: Path) -> Path:
    """The run's folder that `resume=place` means: itself, or that of its last.ckpt."""
    folder = path.resolve()
    if path.is_file():
        if (path.name, folder.parent.name) != ("last.ckpt", "checkpoints"):
            raise UserError(f"resume={path}: expected a run's folder or its checkpoints/last.ckpt")
        folder = folder.parent.parent
    if (folder / "checkpoints" / "last.ckpt").is_file():
        return folder
    begun = is_marked(folder) or (folder / "stages").is_dir()
    if begun and (folder / CONFIG).is_file() and not (folder / "checkpoints" / "best.ckpt").exists():
        return folder
    raise UserError(
        f"resume={path}: no run to go on with, it holds no checkpoints/last.ckpt; expected a folder that "
        "tools/train.py has made"
    )


def _changes(override: Override, before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether an override makes the run another than it was; a path may be written in other ways."""
    key = override.key_or_group
    if key in ResumeConfig.__dataclass_fields__:
        return False
    return bool(value_of(absolute(dict(before)), key) != value_of(after, key))


def _check_epochs(wanted: int, done: Any) -> None:
    if isinstance(done, int) and wanted < done:
        raise UserError(f"trainer.max_epochs={wanted}: {done} epochs are done already; expected {done} or more")
