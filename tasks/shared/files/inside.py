"""File names in lists that others have written: they lead to files below a folder, not out of it."""

import os
import re
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from tasks.shared.errors import UserError

# Absolute, a drive, or a part that is "..", by either slash; links are the folder's own affair.
OUTSIDE = re.compile(r"[/\\]|[A-Za-z]:|(?:.*[/\\])?\.\.(?:[/\\]|$)", re.DOTALL)


def check_inside(names: Iterable[str], source: str, hint: str) -> None:
    """Raise UserError naming the file `source` and the first of `names` that leads out of its folder.

    hint: what the message ends with.
    """
    for name in names:
        if "\0" in name or OUTSIDE.match(name):
            raise UserError(f"{source}: {name[:120]!r}, leads out of the images' folder; {hint}")


def check_inside_all(names: NDArray[np.bytes_], source: str, hint: str) -> None:
    """The same of millions of names, (N,): only those that could lead out are looked at one by one."""
    odd = np.char.startswith(names, b"/")
    for sign in (b"..", b":", b"\\"):
        odd |= np.char.find(names, sign) >= 0
    check_inside(map(os.fsdecode, names[odd].tolist()), source, hint)
