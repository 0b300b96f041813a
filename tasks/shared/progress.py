"""A progress bar for anything that takes long."""

import sys
from collections.abc import Iterable
from typing import TypeVar

from rich.progress import track as rich_track

Item = TypeVar("Item")


def track(items: Iterable[Item], what: str) -> Iterable[Item]:
    """Iterate with a bar where there is a terminal, silently elsewhere."""
    return rich_track(items, what) if sys.stdout.isatty() else items
