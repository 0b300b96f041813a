"""What a TIFF's first directory promises, checked before PIL and libtiff read it."""

from typing import NamedTuple

import numpy as np

from tasks.shared.errors import UserError
from tasks.shared.images.limits import check_pixels, damaged

MOST_ENTRIES = 4096  # of a directory: writers fill some dozens
MOST_PARTS = 1 << 17  # strips or tiles: of 180 megapixels in tiles of 64 pixels a side a third of it
MOST_BITS = 64  # of a sample
MOST_SAMPLES = 8  # of a pixel
RAW = 1
# Left out are those whose decoders allocate what the file says (LZMA), or that nobody has looked at in years.
COMPRESSIONS = {
    RAW: "none", 2: "CCITT", 3: "CCITT group 3", 4: "CCITT group 4", 5: "LZW", 7: "JPEG", 8: "deflate",
    32773: "PackBits", 32946: "deflate", 50000: "Zstandard",
}  # fmt: skip
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
WHOLE = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}  # types of whole numbers, as numpy has them
WIDTH, HEIGHT, BITS, COMPRESSION, COLOURS, OFFSETS, SAMPLES, ROWS, COUNTS = 256, 257, 258, 259, 262, 273, 277, 278, 279
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS = 322, 323, 324, 325
READ = (WIDTH, HEIGHT, BITS, COMPRESSION, COLOURS, OFFSETS, SAMPLES, ROWS, COUNTS, TILE_WIDTH, TILE_HEIGHT,
        TILE_OFFSETS, TILE_COUNTS)  # fmt: skip
YCBCR = 6  # colours that may be stored in fewer samples than there are pixels


class Layout(NamedTuple):
    """How numbers lie in a file: byte order, bytes of an offset, of the number of entries, and of an entry."""

    order: str
    offset: int
    number: int
    entry: int

    def whole(self, data: bytes | memoryview) -> int:
        return int.from_bytes(data, "little" if self.order == "<" else "big")


def check_tiff(data: np.ndarray, name: str) -> None:
    """Of a file, (N,) uint8; raises UserError naming it. Later directories are never decoded, and not looked at."""
    tags = _first_directory(data, name)

    def one(tag: int, otherwise: int) -> int:
        values = tags.get(tag)
        return otherwise if values is None or not len(values) else int(values[0])

    width, height = one(WIDTH, 0), one(HEIGHT, 0)
    check_pixels(name, width, height)
    if width == 0 or height == 0:
        raise damaged(name, "its width or height is missing")
    compression, samples, bits = one(COMPRESSION, RAW), one(SAMPLES, 1), one(BITS, 1)
    if compression not in COMPRESSIONS:
        known = ", ".join(dict.fromkeys(COMPRESSIONS.values()))
        raise UserError(f"{name}: is a TIFF of compression {compression}; expected one of {known}. Save it anew")
    if samples > MOST_SAMPLES or bits > MOST_BITS:
        raise damaged(name, f"{samples:,} samples of {bits:,} bits a pixel")
    across, down = (one(TILE_WIDTH, width), one(TILE_HEIGHT, 0)) if TILE_WIDTH in tags else (width, one(ROWS, height))
    if across == 0 or down == 0:
        raise damaged(name, "its tiles are of no size")
    columns, rows = -(-width // across), -(-height // down)
    if TILE_WIDTH in tags:
        check_pixels(name, columns * across, rows * down)  # tiles are whole, also at the edges
    lengths = [len(tags[tag]) for tag in (OFFSETS, COUNTS, TILE_OFFSETS, TILE_COUNTS) if tag in tags]
    if (parts := max(columns * rows, *lengths, 0)) > MOST_PARTS:
        raise damaged(name, f"{parts:,} strips or tiles; expected up to {MOST_PARTS:,}")
    if compression == RAW:
        if one(COLOURS, 0) != YCBCR and height * (width * samples * bits // 8) > len(data):
            raise damaged(name, f"{len(data):,} bytes for {width:,} x {height:,} pixels")
    elif any(int(tags[tag].astype(object).sum()) > 2 * len(data) for tag in (COUNTS, TILE_COUNTS) if tag in tags):
        raise damaged(name, "its strips or tiles are longer than the file")


def _first_directory(data: np.ndarray, name: str) -> dict[int, np.ndarray]:
    """The values of READ that are whole numbers."""
    whole, layout = data.data, _layout(data)
    start = layout.whole(whole[layout.offset : 2 * layout.offset])
    entries = layout.whole(whole[start : start + layout.number])
    first = start + layout.number
    if first + entries * layout.entry > len(data):
        raise damaged(name, "its directory is cut off")
    if entries > MOST_ENTRIES:
        raise damaged(name, f"{entries:,} entries in its directory; expected up to {MOST_ENTRIES:,}")
    tags: dict[int, np.ndarray] = {}
    outside = 0
    for position in range(first, first + entries * layout.entry, layout.entry):
        tag, type_code = (layout.whole(whole[position + at : position + at + 2]) for at in (0, 2))
        count = layout.whole(whole[position + 4 : position + 4 + layout.offset])
        size, at = count * SIZES.get(type_code, 0), position + 4 + layout.offset
        if size > layout.offset:
            outside += size
            at = layout.whole(whole[at : at + layout.offset])
        if outside > len(data):
            raise damaged(name, "its directory promises more than the file holds")
        if tag in READ:
            if tag in tags:
                raise damaged(name, f"two entries of tag {tag}")
            if type_code in WHOLE and at + size <= len(data):
                tags[tag] = np.frombuffer(whole[at : at + size], f"{layout.order}{WHOLE[type_code]}")
    return tags


def _layout(data: np.ndarray) -> Layout:
    order = "<" if data[0] == ord("I") else ">"
    big = ord("+") in (data[2], data[3])
    return Layout(order, 8, 8, 20) if big else Layout(order, 4, 2, 12)
