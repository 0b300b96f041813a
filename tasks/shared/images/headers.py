"""What the headers of image files promise, checked before a decoder allocates or computes anything for it.

Decoders believe headers: a file of some kilobytes can promise gigabytes of pixels, or thousands of passes through them.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tasks.shared.images.files import SUFFIXES
from tasks.shared.images.limits import MOST_SCANS, check_pixels, check_scans, check_slow, damaged
from tasks.shared.images.tiff_header import check_tiff

# Only what SUFFIXES means, by PIL's names: PIL itself opens by content whatever it knows, even by starting programs.
MAGIC: tuple[tuple[str, re.Pattern[bytes]], ...] = (
    ("JPEG", re.compile(rb"\xff\xd8\xff")),
    ("PNG", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("GIF", re.compile(rb"GIF8[79]a")),
    ("WEBP", re.compile(rb"RIFF....WEBPVP8[ LX]", re.DOTALL)),
    ("BMP", re.compile(rb"BM")),
    ("TIFF", re.compile(rb"II[*+]\0|MM\0[*+]")),
    ("PPM", re.compile(rb"P[1-6]\s")),
)
FORMATS = tuple(name for name, _ in MAGIC)
HEAD = 1 << 16  # bytes: where the headers of nearly every JPEG end
MOST_SEGMENTS = 1000  # before a JPEG's pixels: of 64 kB each at most, profiles and depth maps take some dozens
MOST_EXIF = 16  # of these: one is usual, and PIL joins them
MOST_COUNTED = 1000  # scans; then there are enough to tell
MOST_BLOCKS = 1 << 16  # of a GIF before its first image, 255 bytes each; and half the chunks of a PNG
DEFLATED = 1032  # bytes that one of a PNG can stand for

# As libjpeg looks for one, passing over garbage and bytes that fill.
MARKER = re.compile(rb"\xff[^\x00\xff]", re.DOTALL)
IN_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)  # where it goes on after a scan
NO_LENGTH = {0x01, *range(0xD0, 0xD8)}
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
BASELINE, SCAN, END, EXIF = (0xC0, 0xC1), 0xDA, 0xD9, 0xE1
PPM = re.compile(rb"P([1-6])(?:\s|#[^\r\n]*[\r\n])+(\d{1,10})(?:\s|#[^\r\n]*[\r\n])+(\d{1,10})"
                 rb"(?:(?:\s|#[^\r\n]*[\r\n])+(\d{1,10}))?")  # fmt: skip
PPM_HEAD = 1 << 12


def format_of(head: bytes) -> str | None:
    """PIL's name of the format that a file begins with, of FORMATS."""
    return next((name for name, magic in MAGIC if magic.match(head)), None)


def check_header(data: np.ndarray, name: str) -> str:
    """PIL's name for the format of a file, (N,) uint8, whose headers promise no more than is allowed.

    Raises UserError, naming it, for another format, for too many pixels or passes through them (see
    `tasks.shared.images.limits`), and for files that end before what they promise.
    """
    head = data[:64].tobytes()
    type_code = format_of(head)
    if type_code is None:
        raise damaged(name, f"none of {', '.join(SUFFIXES)}")
    CHECKS[type_code](data, name)
    return type_code


class Jpeg(NamedTuple):
    """width, height: in pixels, of the first frame. scan: where its first scan's header begins, in bytes."""

    width: int
    height: int
    scan: int


def check_jpeg(data: np.ndarray, name: str) -> Jpeg | None:
    """None for one without a frame before its first scan, which no decoder takes."""
    head = data[:HEAD].tobytes()
    found = _first_scan(head, name)
    if found is None and len(data) > HEAD:
        found = _first_scan(data.tobytes(), name)
    if found is None:
        return None
    jpeg, once = found
    check_pixels(name, jpeg.width, jpeg.height)
    if not once:
        check_scans(name, _count_scans(data.tobytes(), jpeg.scan))
    return jpeg


def _first_scan(data: bytes, name: str) -> tuple[Jpeg, bool] | None:
    """What is told before it, and whether it is the only one that decoders take; None where `data` ends before."""
    position, segments, exif, frame = 2, 0, 0, -1
    while (found := MARKER.search(data, position)) is not None:
        marker, position = data[found.end() - 1], found.end()
        if marker in NO_LENGTH:
            continue
        if marker == END or position + 2 > len(data):
            return None
        segments += 1
        exif += marker == EXIF and data.startswith(b"Exif\0", position + 2)
        if segments > MOST_SEGMENTS or exif > MOST_EXIF:
            raise damaged(name, f"more than {MOST_SEGMENTS} segments, or {MOST_EXIF} of EXIF, before its pixels")
        if marker == SCAN:
            if frame < 0 or position + 2 >= len(data):
                return None
            height, width = (int.from_bytes(data[frame + at : frame + at + 2]) for at in (3, 5))
            once = data[frame - 1] in BASELINE and data[position + 2] == data[frame + 7]
            return Jpeg(width, height, position - 2), once
        if marker in FRAMES and frame < 0 and position + 8 <= len(data):
            frame = position
        position += max(int.from_bytes(data[position : position + 2]), 2)
    return None


def _count_scans(data: bytes, position: int) -> int:
    """Of a JPEG, from its first one on; those that are not in its own data, such as previews', are not counted."""
    most = data.count(b"\xff\xda", position)  # and no more
    if most <= MOST_SCANS:
        return most
    scans = 0
    while scans <= MOST_COUNTED and (found := IN_SCAN.search(data, position)) is not None:
        marker, position = data[found.end() - 1], found.end()
        if marker == END:
            break
        if marker != 0x01:
            scans += marker == SCAN
            position += max(int.from_bytes(data[position : position + 2]), 2)
    return scans


def _check_jpeg(data: np.ndarray, name: str) -> None:
    check_jpeg(data, name)


def _check_png(data: np.ndarray, name: str) -> None:
    head = data[:32].tobytes()
    if len(head) < 29 or head[12:16] != b"IHDR":
        raise damaged(name, "its header is missing")
    width, height = int.from_bytes(head[16:20]), int.from_bytes(head[20:24])
    check_pixels(name, width, height)
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(head[25], 1)
    # In the seven passes of an interlaced file rows end early, but hold no fewer pixels.
    if height * (width * samples * head[24] // 8) > DEFLATED * len(data):
        raise damaged(name, f"{len(data):,} bytes for {width:,} x {height:,} pixels")
    whole, position, chunks = data.data, 8, 0
    while position + 8 <= len(data):
        position += 12 + int.from_bytes(whole[position : position + 4])
        chunks += 1
        if chunks > 2 * MOST_BLOCKS:
            raise damaged(name, f"more than {2 * MOST_BLOCKS:,} chunks")


def _check_gif(data: np.ndarray, name: str) -> None:
    """The first image of it, which alone is decoded, may be larger than the canvas."""
    whole = data.data
    if len(data) < 13:
        raise damaged(name, "its header is cut off")
    size = [int.from_bytes(whole[at : at + 2], "little") for at in (6, 8)]
    position, blocks = 13 + (3 << (whole[10] & 7) + 1 if whole[10] & 0x80 else 0), 0
    while position + 10 <= len(data) and whole[position] != 0x2C:
        if whole[position] == 0x21:  # an extension: its kind, then blocks up to an empty one
            position += 2
            while position < len(data) and whole[position] and blocks <= MOST_BLOCKS:
                position += 1 + whole[position]
                blocks += 1
        position, blocks = position + 1, blocks + 1
        if blocks > MOST_BLOCKS:
            raise damaged(name, f"more than {MOST_BLOCKS:,} blocks before its first image")
    if position + 10 <= len(data):
        left, top, width, height = (
            int.from_bytes(whole[position + at : position + at + 2], "little") for at in (1, 3, 5, 7)
        )
        size = [max(size[0], left + width), max(size[1], top + height)]
    check_pixels(name, *size)


def _check_webp(data: np.ndarray, name: str) -> None:
    head = data[:30].tobytes()
    if len(head) < 30:
        raise damaged(name, "its header is cut off")
    if head[12:16] == b"VP8X":
        width, height = (1 + int.from_bytes(head[at : at + 3], "little") for at in (24, 27))
    elif head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        width, height = (int.from_bytes(head[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    check_pixels(name, width, height)


def _check_bmp(data: np.ndarray, name: str) -> None:
    head = data[:54].tobytes()
    type_code = int.from_bytes(head[14:18], "little")
    if len(head) < (26 if type_code == 12 else 54):
        raise damaged(name, "its header is cut off")
    if type_code == 12:
        width, height = (int.from_bytes(head[at : at + 2], "little") for at in (18, 20))
        bits, packing = int.from_bytes(head[24:26], "little"), 0
    else:
        width = int.from_bytes(head[18:22], "little")
        height = abs(int.from_bytes(head[22:26], "little", signed=True))  # negative from the top down
        bits, packing = (int.from_bytes(head[at:end], "little") for at, end in ((28, 30), (30, 34)))
    check_pixels(name, width, height)
    if packing in (1, 2):
        check_slow(name, width * height, len(data), "a run-length encoded BMP")
    elif height * (width * bits // 8) > len(data):
        raise damaged(name, f"{len(data):,} bytes for {width:,} x {height:,} pixels")


def _check_ppm(data: np.ndarray, name: str) -> None:
    header = PPM.match(data[:PPM_HEAD].tobytes())
    if header is None or (header[4] is None and header[1] not in b"14"):
        raise damaged(name, f"its header does not end within {PPM_HEAD:,} bytes")
    type_code, width, height = (int(header[at]) for at in (1, 2, 3))
    check_pixels(name, width, height)
    values, levels = width * height * (3 if type_code in (3, 6) else 1), int(header[4] or 1)
    if type_code < 4:
        check_slow(name, values, len(data), "decimal numbers")
        if data.tobytes().count(b"#") > PPM_HEAD:
            raise damaged(name, f"more than {PPM_HEAD:,} comments")
    elif (height * ((width + 7) // 8) if type_code == 4 else values * (1 + (levels > 255))) > len(data):
        raise damaged(name, f"{len(data):,} bytes for {width:,} x {height:,} pixels")
    elif type_code != 4 and levels != 255 and (type_code, levels) != (5, 65535):
        check_slow(name, values, 0, f"{levels:,} levels")


CHECKS: dict[str, Callable[[np.ndarray, str], None]] = {
    "JPEG": _check_jpeg, "PNG": _check_png, "GIF": _check_gif, "WEBP": _check_webp, "BMP": _check_bmp,
    "TIFF": check_tiff, "PPM": _check_ppm,
}  # fmt: skip
