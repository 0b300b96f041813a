"""Names as one array, which loader processes share: every place is as wide as the longest name."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.shared.errors import UserError

FREE, TIMES = 64 << 20, 16  # bytes, and times what the names themselves have, that the array may take
LONGEST = 4096 * 2  # bytes of a name: Linux opens no longer path than half of it


def packed(names: Sequence[bytes], source: str | Path) -> NDArray[np.bytes_]:
    """(N,) names, of N. source: the file that they are from, for the error.

    Raises UserError where one long name among many short ones would make the array many times larger than its file.
    """
    _check_width(source, len(names), max(map(len, names), default=0), sum(map(len, names)))
    return np.array(names, "S")


def joined(parts: Sequence[NDArray[np.bytes_]], source: str | Path) -> NDArray[np.bytes_]:
    """Several that `packed` has made as one. Raises UserError as it does."""
    width = max((part.itemsize for part in parts), default=0)
    _check_width(source, sum(map(len, parts)), width, sum(part.nbytes for part in parts))
    return np.concatenate(parts)


def _check_width(source: str | Path, count: int, width: int, filled: int) -> None:
    if width > LONGEST or count * width > FREE + TIMES * filled:
        raise UserError(
            f"{source}: names {count:,} images, one of them in {width:,} bytes; expected paths of up to "
            f"{LONGEST:,} bytes, and less different lengths where there are many"
        )
