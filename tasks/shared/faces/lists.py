"""CelebA's lists: an image a line, with its attributes, its side or its identity."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.shared.errors import UserError
from tasks.shared.files.packing import packed
from tasks.shared.files.reading import read_lines, whole_number

NAMED = 3  # rows that a message names


class AttributeList(NamedTuple):
    """names: of the A attributes. files: (N,) bytes, of images. values: (N, A) uint8, 0 or 1.

    announced: how many rows the first line says that there are.
    """

    names: list[str]
    files: NDArray[np.bytes_]
    values: NDArray[np.uint8]
    announced: int


def read_attributes(file: Path) -> AttributeList:
    """A list such as list_attr_celeba.txt: a line with the number of rows, one with the names, then the rows.

    Raises UserError naming the file, and the row where it is malformed. A wrong number of rows is left to the caller.
    """
    lines = _lines(file)
    _, first = next(lines, (0, b""))
    _, second = next(lines, (0, b""))
    if (announced := whole_number(first)) is None:
        raise UserError(f"{file}: begins with {_shown(first)}; expected the number of its rows, as in CelebA's list")
    names = second.decode(errors="backslashreplace").split()
    if not names or len(set(names)) < len(names):
        raise UserError(f"{file}: its second line names {len(names)} attributes, {len(set(names))} different ones; "
                        "expected each once")  # fmt: skip
    files, rows = [], []
    for number, line in lines:
        name, _, rest = line.partition(b" ")
        # Each value becomes one character, so that a million of them are looked at in one step.
        values = rest.replace(b"-1", b"\0").split()
        row = b"".join(values)
        if len(row) != len(names) or len(values) != len(names) or row.strip(b"1\0"):
            raise UserError(_malformed(file, number, line, names))
        files.append(name)
        rows.append(row)
    table = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), len(names))
    found = AttributeList(names, packed(files, file), (table == ord("1")).astype(np.uint8), announced)
    _check_once(file, found.files)
    return found


def _malformed(file: Path, number: int, line: bytes, names: list[str]) -> str:
    name, *values = line.decode(errors="backslashreplace").split()
    where = f"{file}: line {number}, {name}:"
    if len(values) != len(names):
        return f"{where} has {len(values)} values; expected {len(names)}, as many as its second line has names"
    wrong, value = next((n, v) for n, v in zip(names, values, strict=True) if v not in ("1", "-1"))
    return f"{where} {wrong}={value}; expected 1 or -1"


def read_numbers(file: Path, what: str, known: tuple[int, ...] = ()) -> tuple[NDArray[np.bytes_], NDArray[np.int64]]:
    """A list of images with a number each: their names (N,) and the numbers (N,).

    what: the numbers are. known: those that there may be; () takes any from 0. Raises UserError naming file and line.
    """
    files, numbers = [], []
    for number, line in _lines(file):
        parts = line.split()
        value = whole_number(parts[1]) if len(parts) == 2 else None
        if value is None or (known and value not in known):
            expected = f"one of {', '.join(map(str, known))}" if known else "a whole number"
            raise UserError(f"{file}: line {number} is {_shown(line)}; expected an image and {what}, {expected}")
        files.append(parts[0])
        numbers.append(value)
    if not files:
        raise UserError(f"{file}: is empty; expected an image's name and {what} a line")
    found = packed(files, file)
    _check_once(file, found)
    return found, np.array(numbers, np.int64)


def indices_of(wanted: NDArray[np.bytes_], files: NDArray[np.bytes_]) -> NDArray[np.int64]:
    """Where each of `wanted` (M,) is in `files` (N,); -1 for those that are not there."""
    order = np.argsort(files, kind="stable")
    positions = np.searchsorted(files, wanted, sorter=order).clip(max=len(files) - 1)
    found = order[positions]
    return np.where(files[found] == wanted, found, -1)


def some(names: NDArray[np.bytes_]) -> str:
    """The first few, for messages."""
    return ", ".join(name.decode(errors="backslashreplace") for name in names[:NAMED].tolist())


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """Number and content of the lines that are not empty."""
    for number, line in read_lines(file):
        if line := line.strip().replace(b"\t", b" "):
            yield number, line


def _check_once(file: Path, files: NDArray[np.bytes_]) -> None:
    known, counts = np.unique(files, return_counts=True)
    if len(twice := known[counts > 1]):
        raise UserError(f"{file}: names {len(twice):,} images more than once, such as {some(twice)}")


def _shown(line: bytes) -> str:
    return repr(line[:60].decode(errors="backslashreplace"))
