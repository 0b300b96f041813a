"""Where the stages of a run that goes on may be trained: its folder may come from a stranger. Imports nothing heavy."""

import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from tasks.shared.config.compose import compose_config, groups, parse_overrides, quote_paths
from tasks.shared.config.consent import asks_for, names_target
from tasks.shared.config.paths import FETCHED
from tasks.shared.config.stage_configs import NAME
from tasks.shared.config.targets import declared_targets, own_targets
from tasks.shared.errors import UserError
from tasks.shared.files.folders import METRICS
from tasks.shared.images.limits import DEFAULT, max_megapixels
from tasks.shared.images.limits import KEY as MAX_MEGAPIXELS
from tasks.shared.training.settings import RunConfig

GIVEN = re.compile(rf"stages\.({NAME})\.output")  # on the command line of a run that goes on
DIGEST = re.compile(r"[0-9a-f]{8}")


def check_outputs(config: RunConfig, folder: Path, given: Mapping[str, str]) -> None:
    """Raise UserError for a stage with an `output` where this command does not allow to write.

    That is anywhere but below the run's `folder`, below a place that the command line gives, and where the recipe of
    this installation keeps the stage, which is worked out anew.

    config: the run's. given: of the command line `data.root` and `stages.<name>.output`, as far as they are there.
    """
    for name, kept in _kept(config).items():
        if not _allowed(name, kept, config, folder, given):
            raise UserError(
                f"resume={folder}: its stage {name} is kept in {kept}, outside of the run; if that is "
                f"yours, go on with: {resume_command(folder, config)}"
            )


def resume_command(folder: Path, config: RunConfig, draw: bool = False) -> str:
    """The command that goes on with a run, with all that it has to be told again. config: the run's.

    Data that are drawn on first use are drawn on the word of a command line alone: until there is a checkpoint, they
    may not be whole. draw: nor are they after that, and the user is asked whether they shall be. What else the run's
    file alone says is not told: who copies the command would give it their word.
    """
    more = [
        _consent(name, kept, config, folder)
        for name, kept in _kept(config).items()
        if not _allowed(name, kept, config, folder, {})
    ]
    unfinished = asks_for("data.root") and not (folder / "checkpoints" / "last.ckpt").exists()
    if (root := _drawn_root(config)) is not None and (draw or unfinished):
        more.append(f"data.root={root}")
    for node in (
        config.task,
        config.backbone,
        config.data,
        config.teacher.node,
    ):  # what only the command line could name
        if node is None or node.target in own_targets(node.group) | declared_targets(node.group):
            continue
        if names_target(node.group, node.target):
            more.append(f"{node.group}._target_={node.target}")
    if max_megapixels() != DEFAULT:
        more.append(f"{MAX_MEGAPIXELS}={max_megapixels():g}")
    return shlex.join(["python", "tools/train.py", f"resume={folder}", *dict.fromkeys(more)])


def _kept(config: RunConfig) -> dict[str, str]:
    """The folders of stages that are kept for later runs, by name; of those that are made, nothing is written."""
    kept = {name: stage.output for name, stage in config.stages.items() if stage.output is not None}
    return {name: output for name, output in kept.items() if not Path(output, METRICS).is_file()}


def _allowed(name: str, kept: str, config: RunConfig, folder: Path, given: Mapping[str, str]) -> bool:
    output = _absolute(kept)
    consented = [given[key] for key in ("data.root", f"stages.{name}.output") if key in given]
    if any(_within(output, _absolute(place)) for place in (folder, *consented)):
        return True
    place = _recipe_path(name, config, given.get("data.root"))
    return place is not None and output.parent == place and DIGEST.fullmatch(output.name) is not None


def _within(output: Path, place: Path) -> bool:
    """By its name, and by the links on the way: those in a folder of a stranger lead out of it."""
    return output.is_relative_to(place) and output.resolve().is_relative_to(place.resolve())


def _consent(name: str, kept: str, config: RunConfig, folder: Path) -> str:
    """The setting of a command line that allows the stage's output."""
    root = config.root
    if isinstance(root, str) and _allowed(name, kept, config, folder, {"data.root": root}):
        return f"data.root={root}"
    return f"stages.{name}.output={_absolute(kept).parent}"


def _recipe_path(name: str, config: RunConfig, root: str | None) -> Path | None:
    """Where this installation's recipe for the run's task and data keeps its stage of this name; None if it does not.

    root: `data.root` of the command line, if any. Of `config` it takes no more than the two choices.
    """
    try:
        job = _composed(config, [] if root is None else [f"data.root={root}"])
        own = OmegaConf.to_container(job.stages, resolve=True) if job.stages is not None else {}
        settings = own.get(name) if isinstance(own, dict) else None
        parsed = parse_overrides(quote_paths([str(line) for line in settings or []]))
    except UserError:  # the settings of this command line do not suit these choices
        return None
    places = [override.value() for override in parsed if override.key_or_group == "output"]
    return _absolute(str(places[-1])) if places else None


def _drawn_root(config: RunConfig) -> str | None:
    """The folder of the run's data where they are made on first use."""
    made = str(config.data_name).endswith("_sample") or config.data_name in FETCHED
    return config.root if made and isinstance(config.root, str) else None


def _composed(config: RunConfig, more: list[str]) -> Any:
    chosen = {"task": config.task.name, "data": config.data_name}
    for group, choice in chosen.items():
        if choice not in groups()[group]:
            raise UserError(f"{group}={choice!r}: no choice of this installation")
    return compose_config("train", [*(f"{group}={choice}" for group, choice in chosen.items()), *quote_paths(more)])


def _absolute(place: Any) -> Path:
    """Without `..`; links on the way are left as they are."""
    return Path(os.path.abspath(str(place)))  # noqa: PTH100
