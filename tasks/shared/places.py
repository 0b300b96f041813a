"""Input paths that a command names, looked for before anything heavy is imported."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.shared.errors import UserError
from tasks.shared.picture_files import printable

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
FETCHED = ("torchvision",)  # data whose root is made on first use, as the drawn samples' are


def check_exists(key: str, value: Any, what: str) -> None:
    """Raise UserError for a path that leads nowhere. null, and what may be a pattern, pass. what: should be there."""
    if problem := _problem(key, value, what):
        raise UserError(problem)


def check_places(values: Mapping[str, Any], data: str | None) -> None:
    """The same of those of `values`, by key, that are among PLACES, in one message.

    data: the choice of data, whose root may be missing where it is made on first use; None is not known.
    """
    made = ("data.root",) if data is None or data.endswith("_sample") or data in FETCHED else ()
    found = [_problem(key, values.get(key), what) for key, what in PLACES.items() if key not in made]
    if problems := [problem for problem in found if problem]:
        raise UserError("\n".join(problems))


def _problem(key: str, value: Any, what: str) -> str | None:
    if not isinstance(value, str) or any(sign in value for sign in "*?[") or Path(value).exists():
        return None
    return f"{key}={printable(value)}: no such {what}"
