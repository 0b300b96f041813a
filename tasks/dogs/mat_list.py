"""The two variables of Stanford Dogs' lists, read from MATLAB 5 files: texts in a cell array, and numbers.

A reader of one's own, as files of strangers may stand for gigabytes: what is packed is unpacked up to a limit, and
what is made of a file has no more values than the file has bytes. The format is MathWorks' "MAT-File Format", level 5.
"""

import math
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.shared.errors import UserError

LARGEST = 16 << 20  # bytes of a file, and of all that is unpacked of it; the real ones have less than 1 MB
MOST = 100_000  # texts; the real lists have 12,000
HEADER = 128
COMPRESSED, MATRIX = 15, 14  # types of elements
CELL, CHAR = 1, 4  # classes of arrays; numbers are 6 to 15
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
CODECS = {1: "ascii", 2: "ascii", 4: "utf-16", 16: "utf-8"}  # of characters, by the type of their element
Element = tuple[int, memoryview]  # type and content


class _Damaged(ValueError):
    pass


def read_mat_list(file: Path) -> tuple[list[str], NDArray[np.int64]]:
    """`file_list` and `labels`, as the file has them: N texts, and N whole numbers.

    Raises UserError naming the file, in one line.
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise _Damaged(f"it has more than {LARGEST:,} bytes")
        order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
        if order is None or content[124:126] not in (b"\0\1", b"\1\0"):
            raise _Damaged("it is of no MATLAB 5 to 7, as `save -v7` writes it")
        found: dict[str, tuple[int, list[int], list[Element]]] = {}
        for matrix in _variables(memoryview(content)[HEADER:], order):
            name, array = _array(matrix, order)
            if name in ("file_list", "labels"):
                if name in found:
                    raise _Damaged(f"it holds {name} twice")
                found[name] = array
        if absent := [name for name in ("file_list", "labels") if name not in found]:
            raise UserError(f"{file}: holds no {' and no '.join(absent)}; expected a list of Stanford Dogs")
        return _texts(*found["file_list"], order), _numbers(*found["labels"], order)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error})") from error
    except (_Damaged, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"{file}: not a MATLAB file, or damaged ({error})") from error


def _variables(content: memoryview, order: str) -> Iterator[memoryview]:
    left = LARGEST
    for type_code, packed in _elements(content, order, outside=True):
        if type_code == COMPRESSED:
            inflate = zlib.decompressobj()
            whole = inflate.decompress(packed, left + 1)
            if len(whole) > left or not inflate.eof:
                raise _Damaged(f"it is packed, and stands for more than {LARGEST:,} bytes, or is cut off")
            left -= len(whole)
            for inner, matrix in _elements(memoryview(whole), order):
                if inner == MATRIX:
                    yield matrix
        elif type_code == MATRIX:
            yield packed


def _elements(content: memoryview, order: str, outside: bool = False) -> Iterator[Element]:
    """What lies one after the other in `content`; each begins with its type and length. outside: not in an array."""
    big, position = "little" if order == "<" else "big", 0
    while position < len(content):
        if position + 8 > len(content):
            raise _Damaged("it is cut off")
        type_code = int.from_bytes(content[position : position + 4], big)  # type: ignore[arg-type]
        length, start = type_code >> 16, position + 4  # both in one number where the content takes four bytes at most
        end = position + 8
        if not length:
            length, start = int.from_bytes(content[position + 4 : end], big), end  # type: ignore[arg-type]
            end += length if outside and type_code == COMPRESSED else -(-length // 8) * 8
        elif length > 4:
            raise _Damaged("a short element with more than 4 bytes")
        if start + length > len(content):
            raise _Damaged("an element is longer than what it lies in")
        yield type_code & 0xFFFF, content[start : start + length]
        position = end


def _array(matrix: memoryview, order: str) -> tuple[str, tuple[int, list[int], list[Element]]]:
    """Of an array its name; its class, its sides, and the elements of its content, which nobody has looked at."""
    walk = _elements(matrix, order)
    head = [next(walk, (0, memoryview(b""))) for _ in range(3)]
    flags, sides, name = (part for _, part in head)
    if len(flags) != 8 or len(sides) % 4 or not 8 <= len(sides) <= 64 or len(name) > 64:
        raise _Damaged("an array without a head")
    type_code = int(np.frombuffer(flags, f"{order}u4")[0]) & 0xFF
    dims = np.frombuffer(sides, f"{order}i4").tolist()
    variable = bytes(name).decode("ascii", "replace")
    parts = list(islice(walk, MOST + 1)) if variable in ("file_list", "labels", "") else []
    if len(parts) > MOST:
        raise _Damaged(f"{variable} has more than {MOST:,} parts")
    return variable, (type_code, dims, parts)


def _vector(dims: list[int], found: int, what: str) -> None:
    if min(dims) < 1 or math.prod(dims) != found or max(dims) != found:
        raise _Damaged(f"{what} has the sides {dims} and {found} values; expected one row or column")


def _texts(type_code: int, dims: list[int], parts: list[Element], order: str) -> list[str]:
    if type_code != CELL:
        raise _Damaged("file_list is no cell array")
    _vector(dims, len(parts), "file_list")
    texts: list[str] = []
    for inner, part in parts:
        _, (own, sides, content) = _array(part, order) if inner == MATRIX else ("", (0, [], []))
        if own != CHAR or len(content) != 1 or content[0][0] not in CODECS:
            raise _Damaged(f"file_list[{len(texts)}] is no text")
        codec = CODECS[content[0][0]]
        text = bytes(content[0][1]).decode(f"{codec}-{'le' if order == '<' else 'be'}" if codec == "utf-16" else codec)
        _vector(sides, len(text), f"file_list[{len(texts)}]")
        texts.append(text)
    return texts


def _numbers(type_code: int, dims: list[int], parts: list[Element], order: str) -> NDArray[np.int64]:
    if not 6 <= type_code <= 15 or len(parts) != 1 or parts[0][0] not in NUMBERS:
        raise _Damaged("labels are no numbers")
    dtype = np.dtype(f"{order}{NUMBERS[parts[0][0]]}")
    if len(parts[0][1]) % dtype.itemsize:
        raise _Damaged("labels are cut off")
    values = np.frombuffer(parts[0][1], dtype)
    _vector(dims, len(values), "labels")
    whole = values.astype(np.float64)
    if not (np.abs(whole) < 1 << 31).all() or (whole % 1).any():  # NaN too
        raise _Damaged("labels are no whole numbers")
    return values.astype(np.int64)
