"""Input paths that a command names, looked for before anything heavy is imported."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.shared.errors import UserError
from tasks.shared.files.reading import is_utf8
from tasks.shared.terminal.escaped import printable

# Of a run's config, and what should be there. What may be a pattern, or lie in data.root, is left to its reader.
PLACES = {
    "data.root": "folder",
    "data.test_root": "folder",
    "data.train.images": "folder",
    "data.train.annotations": "file",
    "data.val.images": "folder",
    "data.val.annotations": "file",
    "data.classes": "file",
    "data.minival": "file",
    "data.cells": "file",
    "backbone.checkpoint": "file",
    "init.run": "checkpoint or run folder",
    "teacher.path": "file or run folder",
}
# More of its paths, which may lie outside of data.root, or be patterns.
MORE_PLACES = ("data.train.root", "data.val.root", "data.unlabelled", "data.index")
IN_ROOT = ("data.pairs", "data.train.table", "data.val.table")  # looked for in data.root first
FETCHED = ("torchvision",)  # data whose root is made on first use, as the drawn samples' are


def check_exists(key: str, value: Any, what: str) -> None:
    """Raise UserError for a path that leads nowhere. null, and what may be a pattern, pass. what: should be there."""
    if problem := _problem(key, value, what):
        raise UserError(problem)


def check_places(values: Mapping[str, Any], data: str | None) -> None:
    """The same of those of `values`, by key or nested, that are among PLACES, in one message.

    data: the choice of data, whose root may be missing where it is made on first use; None is not known.
    """
    made = ("data.root",) if data is None or data.endswith("_sample") or data in FETCHED else ()
    found = [
        _problem(key, values.get(key) or _nested(values, key), what) for key, what in PLACES.items() if key not in made
    ]
    if problems := [problem for problem in found if problem]:
        raise UserError("\n".join(problems))


def absolute(config: dict[str, Any]) -> dict[str, Any]:
    """A run's config, and those of its stages, whose paths mean the same from every folder.

    Caches stay as they are: they belong to the folder that a command is started in.
    """
    made = dict(config)
    for key in (*PLACES, *MORE_PLACES, *IN_ROOT):
        *nodes, last = key.split(".")
        node: Any = made
        for name in nodes:
            inner = node.get(name)
            if not isinstance(inner, dict):
                break
            node[name] = dict(inner)
            node = node[name]
        else:
            value = node.get(last)
            if isinstance(value, str) and value and not (key in IN_ROOT and _in_root(made, value)):
                node[last] = _absolute(value)
    if isinstance(stages := config.get("stages"), dict):
        made["stages"] = {name: absolute(stage) if isinstance(stage, dict) else stage for name, stage in stages.items()}
    if isinstance(output := config.get("output"), str):  # of a stage that is kept
        made["output"] = _absolute(output)
    return made


def check_utf8(config: Mapping[str, Any], above: str = "") -> None:
    """Raise UserError naming the key of a value that is no UTF-8: no config.yaml and no checkpoint could be read again
    that holds it."""
    for name, value in config.items():
        key, texts = f"{above}{name}", value if isinstance(value, list) else [value]
        if isinstance(value, dict):
            check_utf8(value, f"{key}.")
        elif any(isinstance(each, str) and not is_utf8(each) for each in texts):
            told = printable(value) if isinstance(value, str) else ascii(value)
            raise UserError(f"{key}={told}: is no UTF-8, which a run's files are in; rename it, or give a link to it")


def _nested(values: Any, key: str) -> Any:
    for name in key.split("."):
        values = values.get(name) if isinstance(values, Mapping) else None
    return values


def _in_root(config: dict[str, Any], value: str) -> bool:
    """Whether a path is one below data.root, or nowhere, so that it is told as it was given."""
    root = config["data"].get("root")
    return (isinstance(root, str) and Path(root, value).exists()) or not Path(value).exists()


def _absolute(value: str) -> str:
    return value if value == "???" else os.path.abspath(value)  # noqa: PTH100


def _problem(key: str, value: Any, what: str) -> str | None:
    if not isinstance(value, str) or any(sign in value for sign in "*?[") or Path(value).exists():
        return None
    return f"{key}={printable(value)}: no such {what}"
