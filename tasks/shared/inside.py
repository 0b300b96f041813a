"""File names in lists that others have written: they lead to files below a folder, not out of it."""

import re
from collections.abc import Iterable

from tasks.shared.errors import UserError

# Absolute, a drive, or a part that is "..", by either slash; links are the folder's own affair.
OUTSIDE = re.compile(r"[/\\]|[A-Za-z]:|(?:.*[/\\])?\.\.(?:[/\\]|$)", re.DOTALL)


def check_inside(names: Iterable[str], source: str, hint: str) -> None:
    """Raise UserError naming the file `source` and the first of `names` that leads out of its folder.

    hint: what the message ends with.
    """
    for number, name in enumerate(names):
        if "\0" in name or OUTSIDE.match(name):
            raise UserError(f"{source}: name {number + 1}, {name[:120]!r}, leads out of the pictures' folder; {hint}")
