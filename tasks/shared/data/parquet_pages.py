"""What the pages of a Parquet file say of themselves, which its footer does not: Arrow believes them."""

from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

HEADER = 1 << 16  # bytes of a page's header at most: the least and the largest of its values are in it
DEPTH = 8  # structures within structures
# Types of Thrift's compact protocol, in which headers are written.
STOP, TRUE, FALSE, BYTE, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 11, 12
INTEGERS = (4, 5, 6)
UNCOMPRESSED, COMPRESSED = 2, 3  # fields of a PageHeader, in bytes
# Of a PageHeader, what pages with values have, and its fields: how many values there are, and how they are written.
VALUES = {5: (1, 2), 8: (1, 4)}
INDEXED = (2, 8)  # encodings: as places in the dictionary


class Page(NamedTuple):
    """Bytes in memory, in the file, and of the header before it; of a page with values how many, and their encoding."""

    uncompressed: int
    compressed: int
    header: int
    values: int = 0
    encoding: int = -1


def pages(file: BinaryIO, start: int, end: int) -> Iterator[Page]:
    """The pages of a column between two places of a file. Raises ValueError for what is no page."""
    while start < end:
        file.seek(start)
        page = _page(file.read(HEADER))
        start += page.header + page.compressed
        yield page


def _page(data: bytes) -> Page:
    reader = _Reader(data)
    try:
        found = reader.integers(DEPTH)
    except IndexError as error:
        raise ValueError("a page's header has no end") from error
    sizes = [_number(found, field) for field in (UNCOMPRESSED, COMPRESSED)]
    inside = [(fields, found[k]) for k, fields in VALUES.items() if k in found]
    about = [_number(inner, field) for fields, inner in inside for field in fields]
    if min(sizes + about) < 0 or len(inside) > 1:
        raise ValueError("a page's header has no sizes")
    values, encoding = about or (0, -1)
    return Page(sizes[0], sizes[1], reader.position, values, encoding)


def _number(found: Any, field: int) -> int:
    value = found.get(field) if isinstance(found, dict) else None
    return value if isinstance(value, int) else -1


class _Reader:
    """A structure of Thrift's compact protocol. Raises IndexError at the end of the bytes."""

    def __init__(self, data: bytes):
        self.data, self.position = data, 0

    def integers(self, depth: int) -> dict[int, Any]:
        """The numbers of a structure by field, those of structures in it too; all else is passed over."""
        if depth == 0:
            raise ValueError("a page's header is too deep")
        found: dict[int, Any] = {}
        for field, type_code in self._fields():
            if type_code in INTEGERS:
                found[field] = self._zigzag()
            elif type_code == STRUCT:
                found[field] = self.integers(depth - 1)
            elif type_code not in (TRUE, FALSE):  # the type is the value
                self._pass(type_code, depth)
        return found

    def _fields(self) -> Iterator[tuple[int, int]]:
        field = 0
        while head := self._byte():
            field = field + (head >> 4) if head >> 4 else self._zigzag()
            yield field, head & 15

    def _pass(self, type_code: int, depth: int) -> None:
        if depth == 0:
            raise ValueError("a page's header is too deep")
        if type_code in INTEGERS:
            self._varint()
        elif type_code == STRUCT:
            for _, inner in self._fields():
                if inner not in (TRUE, FALSE):  # the type is the value
                    self._pass(inner, depth - 1)
        elif type_code in (LIST, SET):
            head = self._byte()
            for _ in range(self._varint() if head >> 4 == 15 else head >> 4):
                self._pass(head & 15, depth - 1)
        elif type_code == MAP:
            size = self._varint()
            types = self._byte() if size else 0
            for _ in range(size):
                self._pass(types >> 4, depth - 1)
                self._pass(types & 15, depth - 1)
        elif type_code in (TRUE, FALSE, BYTE, DOUBLE, BINARY):
            self._skip({DOUBLE: 8, BINARY: 0}.get(type_code, 1) or self._varint())
        else:
            raise ValueError(f"a page's header has the type {type_code}")

    def _skip(self, count: int) -> None:
        self.position += count
        if self.position > len(self.data):
            raise IndexError

    def _byte(self) -> int:
        self._skip(1)
        return self.data[self.position - 1]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
            if shift > 63:
                raise ValueError("a page's header has a number without an end")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
