"""JPEG files that say that they end further up: decoders then leave out what is below."""

from typing import NamedTuple

import numpy as np

END = b"\xff\xd9"
BASELINE = (0xC0, 0xC1)  # frames of one sequence; progressive ones go through the whole image several times
OTHER_FRAMES = {*range(0xC2, 0xD0)} - {0xC4, 0xC8, 0xCC}  # those three are tables and the like
SCAN = 0xDA


class UpperPart(NamedTuple):
    """A file, (N,) uint8, and how many rows its image has."""

    data: np.ndarray
    rows: int


def upper_part(data: np.ndarray, rows: int) -> UpperPart | None:
    """The file of a JPEG, (N,) uint8, as one whose image has only about its first `rows` rows.

    A decoder goes through a baseline JPEG from top to bottom, as far as the height in its header: of what follows it
    tells that it is extraneous, and may. The first `rows` rows are to the last bit what they are in the whole image:
    at least one row of blocks more is kept, from which decoders smooth colours.

    None where nothing is won, or where it cannot be done: a progressive JPEG, colours stored one after the other, a
    file that is cut off.
    """
    frame = _frame(data)
    if frame is None or data[-2:].tobytes() != END:
        return None
    colours = int(data[frame + 9])
    sampling = data[frame + 11 : frame + 11 + 3 * colours : 3]  # across in the upper four bits, down in the lower
    block = 8 * int((sampling & 15).max())
    height = int(data[frame + 5]) << 8 | int(data[frame + 6])
    kept = -(-rows // block) * block + block
    if kept >= height:
        return None
    data = data.copy()
    data[frame + 5], data[frame + 6] = kept >> 8, kept & 255
    return UpperPart(data, kept)


def _frame(data: np.ndarray) -> int | None:
    """Where the header of a baseline frame whose colours are stored together begins."""
    frame, position = None, 2
    while position + 10 <= len(data) and data[position] == 0xFF:
        marker, length = int(data[position + 1]), int(data[position + 2]) << 8 | int(data[position + 3])
        if marker == SCAN:
            return frame if frame is not None and data[position + 4] == data[frame + 9] else None
        if marker in OTHER_FRAMES:
            return None
        if marker in BASELINE:
            frame = position
        position += 2 + length
    return None
