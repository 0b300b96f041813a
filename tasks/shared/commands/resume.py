"""Stopping a run at any moment, and going on with it. Imports nothing heavy."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from tasks.shared.config.compose import parse_overrides, plain, quote_paths, run_config
from tasks.shared.config.paths import absolute, check_exists
from tasks.shared.config.stage_configs import stage_teachers
from tasks.shared.config.stage_paths import GIVEN, check_names, check_outputs, resume_command
from tasks.shared.errors import UserError
from tasks.shared.files.folders import CONFIG, check_plain, held, is_marked
from tasks.shared.images.limits import DEFAULT, set_max_megapixels
from tasks.shared.images.limits import KEY as MAX_MEGAPIXELS
from tasks.shared.processes.failures import going_on_from, interruptions_shown
from tasks.shared.processes.ranks import is_first_process

log = logging.getLogger(__name__)
FIXED = (
    "optim", "backbone", "task.", "resolution", "seed", "trainer.ema_decay", "init", "freeze", "teacher", "stages",
)  # fmt: skip
CACHE = ("teacher.cache", "teacher.cache_folder")  # may change: the answers are the same
OWN = {"resume": None, "other_data": False, MAX_MEGAPIXELS: DEFAULT}  # keys of this command that are none of a run's


@contextmanager
def stoppable(folder: Path, config: Mapping[str, Any]) -> Iterator[None]:
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
    from tasks.shared.config.carried import check_complete
    from tasks.shared.data.sample_folder import NotDrawn
    from tasks.shared.records.checkpoint import load_checkpoint
    from tasks.shared.records.runs import read_config
    from tasks.shared.training.stages import train_with_stages

    last = folder / "checkpoints" / "last.ckpt"
    loaded = load_checkpoint(last) if last.exists() else None
    if loaded is not None and not loaded.resumable:
        raise UserError(f"resume={folder}: holds weights alone; expected a run that tools/train.py has made")
    source = folder / CONFIG if loaded is None else last
    config = read_config(source) if loaded is None else loaded.config
    check_complete(config, str(source))
    paths = {o.key_or_group: str(o.value()) for o in overrides if GIVEN.fullmatch(o.key_or_group)}
    settings = [o for o in overrides if o.key_or_group not in paths]
    for override in settings:
        key = override.key_or_group
        same = OmegaConf.select(OmegaConf.create(config), key) == override.value()  # a word of the user's own
        if key.startswith(FIXED) and key not in CACHE and not same:
            raise UserError(f"{override.input_line}: a resumed run keeps its own; start a new run to change it")
    changed, own = run_config(config, settings, OmegaConf.create(OWN), str(source))
    set_max_megapixels(own[MAX_MEGAPIXELS])
    going = absolute(plain(changed))
    waits_in_stage = loaded is None and config.get("stages")
    if waits_in_stage and (others := [o for o in settings if _changes(o, config, going)]):
        raise UserError(f"{others[0].input_line}: a run that was interrupted in a stage goes on as it was")
    if config.get("stages"):
        check_names(going["stages"])
        roots = {o.key_or_group: str(o.value()) for o in settings if o.key_or_group == "data.root"}
        check_outputs(going, folder, roots | paths)
        going = stage_teachers(_without_teacher(going), folder)
    if loaded is not None:
        _check_epochs(going, loaded.more.get("next_epoch"))
    other_data = bool(own.other_data) or any(
        o.key_or_group.split(".")[0] == "data" and _changes(o, config, going) for o in settings
    )
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
    if key in OWN:
        return False
    old = OmegaConf.select(OmegaConf.create(absolute(dict(before))), key)
    return bool(old != OmegaConf.select(OmegaConf.create(dict(after)), key))


def _without_teacher(config: dict[str, Any]) -> dict[str, Any]:
    """Without the paths of teachers that are stages: they are worked out anew, for a run that was moved."""

    def own(run: dict[str, Any]) -> dict[str, Any]:
        teacher = run.get("teacher") or {}
        return run | {"teacher": teacher | {"path": None}} if teacher.get("stage") is not None else run

    return own(config) | {"stages": {name: own(stage) for name, stage in config["stages"].items()}}


def _check_epochs(config: Mapping[str, Any], done: Any) -> None:
    wanted = config["trainer"]["max_epochs"]
    if isinstance(done, int) and isinstance(wanted, int) and wanted < done:
        raise UserError(f"trainer.max_epochs={wanted}: {done} epochs are done already; expected {done} or more")
