"""Lists of class ids."""

from pathlib import Path
from typing import Any

from tasks.shared.errors import UserError


def read_classes(path: Path, key: str) -> list[str]:
    """Class ids, one a line, in the order of a network's outputs. key: the config key that names the file."""
    if not path.is_file():
        raise UserError(f"{key}={path}: no such file")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{key}={path}: is no text in UTF-8 ({error}); expected a class id a line") from error
    ids = [line.strip() for line in lines if line.strip()]
    if len(set(ids)) < len(ids):
        twice = sorted({i for i in ids if ids.count(i) > 1})
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
