"""Lists of class ids."""

from collections import Counter
from pathlib import Path
from typing import Any

from tasks.shared.errors import UserError
from tasks.shared.files.reading import read_names


def read_classes(path: Path, key: str) -> list[str]:
    """Class ids, one a line, in the order of a network's outputs. key: the config key that names the file."""
    if not path.is_file():
        raise UserError(f"{key}={path}: no such file")
    try:
        ids = [line for line in read_names(path) if line]
    except UserError as error:
        raise UserError(f"{key}={error}; expected a class id a line") from error
    if twice := sorted(name for name, count in Counter(ids).items() if count > 1):
        raise UserError(f"{key}={path}: names {len(twice)} classes twice: {', '.join(twice[:5])}")
    if not ids:
        raise UserError(f"{key}={path}: is empty; expected a class id a line")
    return ids


def same_classes(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Whether the `info` of two data sets, see `tasks.shared.contract.Data`, means the same classes in the same order.

    Where classes have ids, what they are called may differ, and need not be unique.
    """
    if "class_ids" in first and "class_ids" in second:
        return first["class_ids"] == second["class_ids"]
    return first == second
