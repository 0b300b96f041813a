"""A progress bar for anything that takes long."""

import sys
from collections.abc import Iterable
from typing import TypeVar

from rich.progress import track as rich_track

Item = TypeVar("Item")


def track(items: Iterable[Item], what: str, total: int | None = None) -> Iterable[Item]:
    """Iterate with a bar where there is a terminal, silently elsewhere. total: for items that have no length."""
    return rich_track(items, what, total=total) if sys.stdout.isatty() else items
