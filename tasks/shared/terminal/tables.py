"""What reaches a terminal. Names of classes, files and runs may be a stranger's: none of them steers it."""

from typing import Any

from rich.table import Table
from rich.text import Text

from tasks.shared.terminal.escaped import escaped


class PlainTable(Table):
    """A table of rich whose texts are texts: no markup, no links, no control characters in any of them."""

    def __init__(self, *headers: str, title: str | None = None, **look: Any):
        super().__init__(*headers, title=None if title is None else _plain(title), **look)

    def add_column(self, header: Any = "", *more: Any, **look: Any) -> None:
        super().add_column(_plain(header), *more, **look)

    def add_row(self, *cells: Any, **look: Any) -> None:
        super().add_row(*map(_plain, cells), **look)


def _plain(cell: str | Text) -> Text:
    if isinstance(cell, Text):
        return Text(escaped(cell.plain), cell.style)
    return Text(escaped(cell))
