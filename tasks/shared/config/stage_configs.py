"""The configs of the runs that come before a run, from the command's settings. Imports nothing heavy."""

import hashlib
import json
import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tasks.shared.config.compose import (
    DEVICE_KEYS,
    SEARCH_PATH,
    check_keys,
    chooses,
    compose_config,
    parse_overrides,
    plain,
    quote_paths,
)
from tasks.shared.errors import UserError
from tasks.shared.images.limits import KEY as MAX_MEGAPIXELS

log = logging.getLogger(__name__)
NAME = r"[A-Za-z0-9_-]+"  # of a stage
NOT_OF_A_RUN = ("output", "resume", MAX_MEGAPIXELS)  # but of the command
NOT_OF_A_STAGE = ("output", "resume", "stages", "freeze", "init.head", "init.stage")
RUNS_ON = (*DEVICE_KEYS, "precision")  # of trainer: where a network is trained, not what it becomes
READ_BY = ("workers", "keep_gb")  # of data: how images are read, not which


def with_stages(job: dict[str, Any], overrides: list[str], output: Path) -> dict[str, Any]:
    """A run's config with those of its stages, each whole, and with the path of a teacher that is one of them.

    overrides: the command's. output: the run's folder. The config of a stage that is kept for later runs has its
    folder as `output`. Stages that the run does not need are left out, with a line that says why.
    """
    stages = {str(name): own for name, own in (job["stages"] or {}).items() if own is not None}
    check_names(stages)
    init, teacher = job["init"], job["teacher"]
    named, instead = teacher.get("stage"), _instead(teacher)
    left_out: dict[str, str] = {}
    if init["run"] is not None:
        left_out = {name: "init.run" for name in stages if instead or name != named}
        init = init | {"stage": None}
    if instead and named in stages and named != init["stage"]:
        left_out[named] = instead
    if left_out:
        why = " and ".join(dict.fromkeys(left_out.values()))
        log.info("stages %s: left out, as %s is given", ", ".join(left_out), why)
    kept = {name: own for name, own in stages.items() if name not in left_out}
    job = job | {"init": init, "stages": {name: _stage_config(name, job, overrides, own) for name, own in kept.items()}}
    return stage_teachers(job, output)


def check_names(stages: Iterable[Any]) -> None:
    """Raise UserError for a stage whose name could not be that of a folder below the run's."""
    for name in stages:
        if not re.fullmatch(NAME, str(name)):
            raise UserError(f"stages: the name {str(name)[:100]!r}; expected letters, digits, - and _ alone")


def stage_folder(name: str, kept: str | None, output: Path) -> Path:
    """Where a stage of the run in `output` is trained. kept: its folder, where it is kept for later runs."""
    return output / "stages" / name if kept is None else Path(kept)


def _instead(teacher: dict[str, Any]) -> str | None:
    """What takes the place of the stage that the config node `teacher` names, if anything."""
    if teacher.get("choice") != "run":
        return f"teacher={teacher.get('choice')}"
    return None if teacher.get("path") is None else "teacher.path"


def _stage_config(name: str, job: dict[str, Any], overrides: list[str], own: list[str]) -> dict[str, Any]:
    """The config of a stage: composed from the command's settings, then its own.

    A stage with an `output` of its own is to be the same for many runs: what is said of data and device reaches it,
    and nothing else. It gets a folder in there by its config.
    """
    try:
        own = quote_paths(own)
        keys = {o.key_or_group for o in parse_overrides(own)}
        if MAX_MEGAPIXELS in keys:
            raise UserError(f"{MAX_MEGAPIXELS} is set on the command line, for all stages")
        not_of_this = (*NOT_OF_A_STAGE, "teacher") if "teacher" in keys else NOT_OF_A_STAGE
        given = [o for o in parse_overrides(overrides) if not o.key_or_group.startswith(not_of_this)]
        both = [str(o.input_line) for o in given]
        if "output" in keys:
            chosen = [f"task={job['task']['name']}", f"data={job['data']['choice']}"]
            both = chosen + [str(o.input_line) for o in given if o.key_or_group.startswith(("data.", SEARCH_PATH))]
        both += own
        check_keys(
            parse_overrides(own),
            compose_config("train", [line for line in both if chooses(parse_overrides([line])[0])]),
        )
        config = plain(compose_config("train", [*both, "stages=null", "init.stage=null"]))
    except UserError as error:
        raise UserError(f"stages.{name}: {error}") from error
    output = config["output"]
    config = {key: value for key, value in config.items() if key not in NOT_OF_A_RUN}
    if "output" not in keys:
        return config
    if "trainer" not in keys:
        device = {key: job["trainer"][key] for key in RUNS_ON if f"trainer.{key}" not in keys}
        config["trainer"] = config["trainer"] | device
    return config | {"output": str(Path(str(output)) / _digest(config))}


def _digest(config: dict[str, Any]) -> str:
    """Eight hexadecimal digits of what a network becomes by this config."""
    trainer = {key: value for key, value in config["trainer"].items() if key not in RUNS_ON}
    data = {key: value for key, value in config["data"].items() if key not in READ_BY}
    settings = json.dumps(config | {"trainer": trainer, "data": data}, sort_keys=True)
    return hashlib.sha256(settings.encode()).hexdigest()[:8]


def taught_anew(config: dict[str, Any], output: Path) -> dict[str, Any]:
    """The config of a run that goes on in `output`: the paths of teachers that are stages are worked out anew."""

    def untaught(run: dict[str, Any]) -> dict[str, Any]:
        teacher = run.get("teacher") or {}
        return run | {"teacher": teacher | {"path": None}} if teacher.get("stage") is not None else run

    stages = {name: untaught(stage) for name, stage in config["stages"].items()}
    return stage_teachers(untaught(config) | {"stages": stages}, output)


def stage_teachers(job: dict[str, Any], output: Path) -> dict[str, Any]:
    """With `teacher.path` of the stages, and of the run itself, whose `teacher.stage` names a stage before them."""
    stages: dict[str, dict[str, Any]] = {}
    for name, config in (*job["stages"].items(), ("this run", job)):
        teacher = config["teacher"]
        named = teacher.get("stage")
        if named is not None and _instead(teacher):
            config = config | {"teacher": teacher | {"stage": None}}
        elif named is not None:
            if named not in stages:
                known = ", ".join(stages) or "none"
                raise UserError(
                    f"teacher.stage={named}: no such stage before {name}; there are {known}. A stage that learns from "
                    "labels says teacher=none"
                )
            path = str(stage_folder(named, stages[named].get("output"), output))
            config = config | {"teacher": teacher | {"path": path}}
        stages[name] = config
    return stages.pop("this run") | {"stages": stages}
