"""A progress bar for anything that takes long."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.progress import Progress
from rich.progress import track as rich_track

Item = TypeVar("Item")


def track(items: Iterable[Item], what: str, total: int | None = None) -> Iterable[Item]:
    """Iterate with a bar where there is a terminal, silently elsewhere. total: for items that have no length."""
    return rich_track(items, what, total=total) if sys.stdout.isatty() else items


@contextmanager
def counted(what: str, total: int) -> Iterator[Callable[[], None]]:
    """The same for loops inside loops: yields what is called after each item."""
    if not sys.stdout.isatty():
        yield lambda: None
        return
    with Progress() as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)
