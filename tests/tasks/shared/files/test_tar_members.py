"""Tar files whose headers lie: nothing is read on their word, and none of them hangs."""

import io
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.shared.data.shards import Beside, read_shard_index
from tests.limits import assert_refused, cost_of_reading


def header(kind: bytes, size: int | bytes, name: bytes = b"a.jpg") -> bytes:
    field = size if isinstance(size, bytes) else b"%011o\0" % size
    head = name.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + field + b"00000000000\0" + b" " * 8 + kind
    head = head.ljust(257, b"\0") + b"ustar\x0000"
    head = head.ljust(512, b"\0")
    return head[:148] + b"%06o\0 " % sum(head) + head[156:]


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


def pax(key: str, value: str) -> bytes:
    body = f" {key}={value}\n"
    size = next(n for n in range(len(body), len(body) + 9) if len(f"{n}{body}") == n)
    return f"{size}{body}".encode()


END = bytes(1024)
LIES: dict[str, bytes] = {
    "a name of gigabytes": header(b"L", 4 << 30) + END,
    "facts of gigabytes": header(b"x", 4 << 30) + END,
    "a negative size": header(b"0", b"\xff" * 12) + END,
    "a negative size of facts": header(b"x", len(pax("size", "-1024"))) + padded(pax("size", "-1024"))
                                + header(b"0", 0) + END,
    "a size of terabytes": header(b"0", b"\x80" + struct.pack(">3xQ", 1 << 50)) + END,
    "sparse": header(b"S", 512) + bytes(512) + END,
    "sparse by facts": header(b"x", len(pax("GNU.sparse.major", "1"))) + padded(pax("GNU.sparse.major", "1"))
                       + header(b"0", 512) + b"9999999999\n".ljust(512, b"0") + END,
    "names of names": header(b"L", 512) * 5000 + END,
    "facts for all": (header(b"g", 60_000) + padded(b"60000 a=" + b"b" * 59_991 + b"\n")) * 3 + header(b"0", 0) + END,
    "digits without an end": header(b"x", 60_000) + padded(b"1" * 60_000) + header(b"0", 0) + END,
}  # fmt: skip


def index(file: Path) -> Callable[[], object]:
    return lambda: read_shard_index([file], "the shards", Beside(("json",)), file.parent / "cache", "error")


@pytest.mark.parametrize("name", LIES)
def test_a_header_that_lies(name: str, tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(LIES[name])
    assert_refused(index(tmp_path / "x.tar"), "broken")


def test_what_lies_beside_a_image_is_not_of_gigabytes(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name, size in (("a.jpg", 100), ("a.json", 2 << 20)):
            info = tarfile.TarInfo(name)
            info.size = size
            tar.addfile(info, io.BytesIO(bytes(size)))
    assert_refused(index(tmp_path / "x.tar"), "what is beside it than 1,048,576")


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_honest_files_of_every_format_are_read(form: int, tmp_path: Path) -> None:
    names = ["a.jpg", "ü" * 20 + ".jpg", *([] if form == tarfile.USTAR_FORMAT else ["long/" * 60 + "c.jpg"])]
    with tarfile.open(tmp_path / "x.tar", "w", format=form) as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 700
            tar.addfile(info, io.BytesIO(name.encode()[:1] * 700))
    images, _ = read_shard_index([tmp_path / "x.tar"], "x", Beside(), tmp_path / "cache", "error")
    assert [images.name(k) for k in range(len(names))] == [str(tmp_path / "x.tar" / name) for name in names]
    assert all(bytes(images.encoded(k).data) == name.encode()[:1] * 700 for k, name in enumerate(names))


def test_members_are_not_kept(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(header(b"5", 0, b"folder") * 20_000 + END)
    cost = cost_of_reading(index(tmp_path / "x.tar"))
    assert cost.error is not None and "hold no samples" in cost.error and cost.megabytes < 40
