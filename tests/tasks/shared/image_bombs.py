"""Files of some bytes whose headers promise images of any size, written by hand; and how they are changed."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image


def saved(kind: str, width: int = 40, height: int = 30, mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, pixels: bytes = bytes(8)) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def jpeg(width: int, height: int, **options: object) -> bytes:
    """A small JPEG whose frame says that it is of another size."""
    data = bytearray(saved("JPEG", **options))  # type: ignore[arg-type]
    frame = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + saved("GIF")[13:]


def gif_frame(width: int, height: int) -> bytes:
    """On a canvas of one pixel."""
    return (
        b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0) + b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\2"
    )


def webp(width: int, height: int) -> bytes:
    canvas = bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + canvas
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_lossless(width: int, height: int) -> bytes:
    bits = (width - 1) | (height - 1) << 14
    body = b"WEBPVP8L" + struct.pack("<IBI", 16, 0x2F, bits) + bytes(12)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_lossy(width: int, height: int) -> bytes:
    body = b"WEBPVP8 " + struct.pack("<I", 16) + b"\x10\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height) + bytes(12)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def bmp(width: int, height: int, packing: int = 0, bits: int = 24, pixels: bytes = bytes(64)) -> bytes:
    start = 54 + (1024 if bits == 8 else 0)
    header = struct.pack("<IHHI", 0, 0, 0, start)
    header += struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, packing, 0, 0, 0, 256 if bits == 8 else 0, 0)
    return b"BM" + header + bytes(start - 54) + pixels


def ppm(width: int, height: int, kind: int = 6, levels: int = 255, pixels: bytes = bytes(64)) -> bytes:
    return f"P{kind} # drawn\n{width} {height}\n{levels}\n".encode() + pixels


def tiff(width: int, height: int, order: str = "<", big: bool = False, **tags: int) -> bytes:
    """One strip of 8-bit grey; tags: others, as `t322=512`, of 32 bits."""
    given = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: 64}
    given |= {int(name[1:]): value for name, value in tags.items()}
    mark = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}H", 43 if big else 42)
    if big:
        entries = b"".join(struct.pack(f"{order}HHQII", tag, 4, 1, v, 0)
                           for tag, v in sorted(given.items()))  # fmt: skip
        return mark + struct.pack(f"{order}HHQQ", 8, 0, 16, len(given)) + entries + bytes(8 + 64)
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in sorted(given.items()))
    return mark + struct.pack(f"{order}IH", 8, len(given)) + entries + bytes(4 + 64)


# By name: files of the given width and height in pixels.
PROMISING: dict[str, Callable[[int, int], bytes]] = {
    "png": png, "jpeg": jpeg, "progressive jpeg": lambda w, h: jpeg(w, h, progressive=True),
    "grey jpeg": lambda w, h: jpeg(w, h, mode="L"), "cmyk jpeg": lambda w, h: jpeg(w, h, mode="CMYK"),
    "gif": gif, "gif frame": gif_frame, "webp": webp, "lossless webp": webp_lossless, "lossy webp": webp_lossy,
    "bmp": bmp, "bmp upside down": lambda w, h: bmp(w, -h), "ppm": ppm, "pgm": lambda w, h: ppm(w, h, kind=5),
    "tiff": tiff, "tiff of Motorola": lambda w, h: tiff(w, h, ">"), "big tiff": lambda w, h: tiff(w, h, big=True),
    "big tiff of Motorola": lambda w, h: tiff(w, h, ">", big=True),
}  # fmt: skip


def with_scans(scans: int) -> bytes:
    """A sound progressive JPEG whose last scan is there again and again."""
    data = saved("JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * (scans - data.count(b"\xff\xda")) + data[-2:]
