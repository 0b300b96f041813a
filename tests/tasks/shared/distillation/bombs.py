"""Pickles that do something when they are read."""

import os
from pathlib import Path
from typing import Any


class Bomb:
    """Makes the folder `marker` when it is unpickled."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)
