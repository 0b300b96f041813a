"""Where the stages of a run that goes on may be trained: its folder may come from a stranger. Imports nothing heavy."""

import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from tasks.shared.config.compose import compose_config, groups, parse_overrides, quote_paths
from tasks.shared.config.consent import NODES, asks_for, names_target
from tasks.shared.config.paths import FETCHED
from tasks.shared.config.targets import declared_targets, own_targets
from tasks.shared.errors import UserError
from tasks.shared.files.folders import METRICS
from tasks.shared.images.limits import DEFAULT, max_megapixels
from tasks.shared.images.limits import KEY as MAX_MEGAPIXELS

NAME = r"[A-Za-z0-9_-]+"
GIVEN = re.compile(rf"stages\.({NAME})\.output")  # on the command line of a run that goes on
DIGEST = re.compile(r"[0-9a-f]{8}")


def check_names(stages: Mapping[Any, Any]) -> None:
    """Raise UserError for a stage whose name could not be that of a folder below the run's."""
    for name in stages:
        if not re.fullmatch(NAME, str(name)):
            raise UserError(f"stages: the name {str(name)[:100]!r}; expected letters, digits, - and _ alone")


def check_outputs(config: Mapping[str, Any], folder: Path, given: Mapping[str, str]) -> None:
    """Raise UserError for a stage with an `output` where this command does not allow to write.

    That is anywhere but below the run's `folder`, below a place that the command line gives, and where the recipe of
    this installation keeps the stage, which is worked out anew.

    config: the run's. given: of the command line `data.root` and `stages.<name>.output`, as far as they are there.
    """
    for name, stage in _kept(config).items():
        if not _allowed(name, stage, config, folder, given):
            raise UserError(
                f"resume={folder}: its stage {name} is kept in {stage['output']}, outside of the run; if that is "
                f"yours, go on with: {resume_command(folder, config)}"
            )


def resume_command(folder: Path, config: Mapping[str, Any], draw: bool = False) -> str:
    """The command that goes on with a run, with all that it has to be told again. config: the run's.

    Data that are drawn on first use are drawn on the word of a command line alone: until there is a checkpoint, they
    may not be whole. draw: nor are they after that, and the user is asked whether they shall be. What else the run's
    file alone says is not told: who copies the command would give it their word.
    """
    more = [
        _consent(name, stage, config, folder)
        for name, stage in _kept(config).items()
        if not _allowed(name, stage, config, folder, {})
    ]
    unfinished = asks_for("data.root") and not (folder / "checkpoints" / "last.ckpt").exists()
    if _draws(config) and (draw or unfinished):
        more.append(f"data.root={config['data']['root']}")
    for node in NODES:  # what only the command line could name
        target = (config.get(node) or {}).get("_target_")
        if names_target(node, target) and target not in own_targets(node) | declared_targets(node):
            more.append(f"{node}._target_={target}")
    if max_megapixels() != DEFAULT:
        more.append(f"{MAX_MEGAPIXELS}={max_megapixels():g}")
    return shlex.join(["python", "tools/train.py", f"resume={folder}", *dict.fromkeys(more)])


def _kept(config: Mapping[str, Any]) -> dict[str, Any]:
    """The stages that are kept for later runs and not made yet, by name: of those that are made, nothing is written."""
    stages = {str(name): stage for name, stage in (config.get("stages") or {}).items() if "output" in stage}
    return {name: stage for name, stage in stages.items() if not Path(str(stage["output"]), METRICS).is_file()}


def _allowed(
    name: str, stage: Mapping[str, Any], config: Mapping[str, Any], folder: Path, given: Mapping[str, str]
) -> bool:
    output = _absolute(stage["output"])
    consented = [given[key] for key in ("data.root", f"stages.{name}.output") if key in given]
    if any(_within(output, _absolute(path)) for path in (folder, *consented)):
        return True
    path = _recipe_path(name, config, given.get("data.root"))
    return path is not None and output.parent == path and DIGEST.fullmatch(output.name) is not None


def _within(output: Path, path: Path) -> bool:
    """By its name, and by the links on the way: those in a folder of a stranger lead out of it."""
    return output.is_relative_to(path) and output.resolve().is_relative_to(path.resolve())


def _consent(name: str, stage: Mapping[str, Any], config: Mapping[str, Any], folder: Path) -> str:
    """The setting of a command line that allows the stage's output."""
    root = config["data"].get("root")
    if isinstance(root, str) and _allowed(name, stage, config, folder, {"data.root": root}):
        return f"data.root={root}"
    return f"stages.{name}.output={_absolute(stage['output']).parent}"


def _recipe_path(name: str, config: Mapping[str, Any], root: str | None) -> Path | None:
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
    paths = [override.value() for override in parsed if override.key_or_group == "output"]
    return _absolute(str(paths[-1])) if paths else None


def _draws(config: Mapping[str, Any]) -> bool:
    """Whether the run's data are made on first use."""
    choice = str(config["data"].get("choice"))
    return isinstance(config["data"].get("root"), str) and (choice.endswith("_sample") or choice in FETCHED)


def _composed(config: Mapping[str, Any], more: list[str]) -> Any:
    chosen = {"task": config["task"].get("name"), "data": config["data"].get("choice")}
    for group, choice in chosen.items():
        if choice not in groups()[group]:
            raise UserError(f"{group}={choice!r}: no choice of this installation")
    return compose_config("train", [*(f"{group}={choice}" for group, choice in chosen.items()), *quote_paths(more)])


def _absolute(path: Any) -> Path:
    """Without `..`; links on the way are left as they are."""
    return Path(os.path.abspath(str(path)))  # noqa: PTH100
