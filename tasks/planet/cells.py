"""The classes of PlaNet: S2 cells with what a network's answers need of them, in memory and as a file."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasks.planet import s2
from tasks.planet.count import Occupied
from tasks.planet.s2 import Floats, Ids
from tasks.planet.sphere import coordinates
from tasks.shared.errors import UserError
from tasks.shared.files.reading import read_json
from tasks.shared.files.writing import write_text

LARGEST = 256 << 20  # bytes of a file of cells: a million of them have half of that
FORMAT = "mobilenet-toolkit cells 1"
COLUMNS = ("token", "count", "mean_lat", "mean_lon", "centre_lat", "centre_lon")
DECIMALS = 7  # of degrees: 1 cm


@dataclass(frozen=True, eq=False)
class Cells:
    """A partition; a cell's index is its class.

    ids: (C,) S2 cells, ascending, none inside another. counts: (C,) photos in each.
    means: (C, 2) latitude and longitude, in degrees, of the mean of each cell's photos on the sphere. centres: (C, 2)
        of the cells themselves.
    photos: in all of the table, those in no cell too.
    parameters: what the partition was made with: max_photos, min_photos, min_level, max_level.
    """

    ids: Ids
    counts: NDArray[np.int64]
    means: Floats
    centres: Floats
    photos: int
    parameters: dict[str, int]

    @classmethod
    def of_leaves(cls, leaves: Occupied, photos: int, parameters: dict[str, int]) -> "Cells":
        """The leaves that hold `parameters["min_photos"]` or more."""
        kept = leaves.counts >= parameters["min_photos"]
        means = np.round(coordinates(leaves.sums[kept]), DECIMALS)
        centres = np.round(s2.centres(leaves.ids[kept]), DECIMALS)
        return cls(leaves.ids[kept], leaves.counts[kept], means, centres, photos, parameters)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def left_out(self) -> int:
        """Photos that lie in no cell."""
        return self.photos - int(self.counts.sum())

    @cached_property
    def tokens(self) -> list[str]:
        return s2.tokens(self.ids)

    @cached_property
    def key(self) -> str:
        """16 hexadecimal digits of the cells' content; two partitions with the same key are the same classes."""
        return hashlib.sha256(json.dumps(self._rows()).encode()).hexdigest()[:16]

    @cached_property
    def _ranges(self) -> tuple[Ids, Ids]:
        return s2.leaf_ranges(self.ids)

    def assign(self, lat: ArrayLike, lon: ArrayLike) -> NDArray[np.int64]:
        """Index of the cell that each place lies in, -1 where there is none.

        lat, lon: (N,) degrees. Returns (N,). Raises ValueError naming the index of one that is out of range or NaN.
        """
        leaves, (firsts, lasts) = s2.leaf_ids(lat, lon), self._ranges
        index = np.searchsorted(firsts, leaves, side="right") - 1
        return np.where((index >= 0) & (leaves <= lasts[index]), index, -1)

    def _rows(self) -> list[list[Any]]:
        numbers = (self.counts.tolist(), *self.means.T.tolist(), *self.centres.T.tolist())
        return [list(row) for row in zip(self.tokens, *numbers, strict=True)]

    def plain(self) -> dict[str, Any]:
        """As plain data, what the file holds; the inverse of `from_plain`."""
        return {
            "format": FORMAT,
            "key": self.key,
            "parameters": self.parameters,
            "photos": self.photos,
            "left_out": self.left_out,
            "columns": list(COLUMNS),
            "cells": self._rows(),
        }

    @classmethod
    def from_plain(cls, content: Any, source: str) -> "Cells":
        """source: what errors call it. Raises UserError for what `plain` cannot have made."""
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise UserError(f"{source}: not a file of cells; expected one that tools/prepare_planet.py has written")
        try:
            token, counts, *degrees = zip(*content["cells"], strict=True)
            places = np.array(degrees, np.float64).reshape(4, -1).T
            cells = cls(
                s2.from_tokens(token), np.array(counts, np.int64), places[:, :2], places[:, 2:],
                int(content["photos"]), {str(k): int(v) for k, v in content["parameters"].items()},
            )  # fmt: skip
            if not (np.abs(places) <= [90, 180, 90, 180]).all() or (cells.counts < 0).any():  # NaN too
                raise ValueError("places that are not on earth, or fewer photos than none")
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError, RecursionError) as error:
            raise UserError(f"{source}: damaged ({type(error).__name__}: {error}); make it again") from error
        if cells.key != content.get("key"):
            raise UserError(
                f"{source}: its key {content.get('key')} is not that of its cells, {cells.key}: it was changed; make "
                "it again"
            )
        if (cells.ids[1:] <= cells.ids[:-1]).any():
            raise UserError(f"{source}: damaged (its cells do not ascend); make it again")
        return cells

    def text(self) -> str:
        """The file's content, JSON with a line a cell."""
        content = self.plain()
        rows = ",\n".join(json.dumps(row) for row in content.pop("cells"))
        head = json.dumps(content, indent=1)
        return f'{head[:-2]},\n "cells": [\n{rows}\n]}}\n'

    def save(self, file: Path) -> None:
        """Write the file. It appears when it is whole."""
        write_text(file, self.text(), "output")

    @classmethod
    def load(cls, file: Path) -> "Cells":
        """Read what `save` wrote. Raises UserError naming the file."""
        try:
            content = read_json(file, LARGEST)
        except UserError as error:
            expected = "" if "cannot be read" in str(error) else "not a file of cells, "
            message = str(error).removeprefix(f"{file}: ")
            raise UserError(f"{file}: {expected}{message}") from error
        return cls.from_plain(content, str(file))
