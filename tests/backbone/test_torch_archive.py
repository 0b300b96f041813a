"""Files of torch.save that lie: each is refused in one line, before it costs memory or time."""

import io
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from backbone.sources.torch_archive import load_archive
from tests.limits import assert_refused


def archive(pickled: bytes, storages: dict[str, bytes] | None = None, **more: Any) -> bytes:
    """A zip file as torch.save writes it, with a pickle and storages of one's own."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as out:
        out.writestr("x/data.pkl", pickled, **more)
        out.writestr("x/version", "3\n")
        for key, content in (storages or {}).items():
            out.writestr(f"x/data/{key}", content, **more)
    return made.getvalue()


def saved(content: object) -> bytes:
    made = io.BytesIO()
    torch.save(content, made)
    return made.getvalue()


def tensor(sides: str, steps: str, numel: bytes = b"K\x04", key: str = "0") -> bytes:
    """The instructions for a float32 tensor of a storage; sides and steps: instructions too."""
    named = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x00" + key.encode()
    persistent = named + b"X\x03\x00\x00\x00cpu" + numel + b"tQ"
    rebuilt = b"ctorch._utils\n_rebuild_tensor_v2\n(" + persistent + b"K\x00" + sides.encode("latin1")
    return rebuilt + steps.encode("latin1") + b"\x89ccollections\nOrderedDict\n)RtR"


NUMBERS = {"0": struct.pack("<4f", 1, 2, 3, 4)}
BIG = "J\xff\xff\xff\x7f"


def calling(name: str, arguments: bytes) -> bytes:
    return b"\x80\x02c" + name.replace(".", "\n", 1).encode() + b"\n" + arguments + b"R."


def doubling(levels: int) -> bytes:
    """A list of the list before it, twice, and so on: as a tree it has 2^levels leaves."""
    made = b"\x80\x02]q\x00K\x01a"
    for level in range(levels):
        made += b"](h" + bytes([level]) + b"h" + bytes([level]) + b"eq" + bytes([level + 1])
    return b"\x80\x02(" + made[2:] + b"t."


LIES: dict[str, tuple[bytes, str]] = {
    "bytearray of a terabyte": (calling("builtins.bytearray", b"\x8a\x06\x00\x00\x00\x00\x00\x01\x85"), "would run"),
    "a command": (calling("os.system", b"X\x04\x00\x00\x00true\x85"), "it would run os.system"),
    "a huge number": (b"\x80\x02\x8a\xff" + b"\x7f" * 255 + b".", "more than 64 bits"),
    "a long number": (b"\x80\x02\x8b\x00\x00\x00\x7f" + b"\x7f" * 99 + b".", "instruction"),
    "a long text": (b"\x80\x02X\xff\xff\xff\x7fabc.", "cut off"),
    "deep lists": (b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".", "nests"),
    "deep tuples": (b"\x80\x02N" + b"\x85" * 100_000 + b".", "nests"),
    "marks": (b"\x80\x02" + b"(" * 1_000_000 + b".", "out of proportion"),
    "doubled lists": (doubling(60), "out of proportion"),
    "a list in itself": (b"\x80\x02]q\x00h\x00a.", "what it has ended"),
    "copied dicts": (b"\x80\x02" + b"}q\x00(" + b"".join(b"J" + struct.pack("<i", n) + b"N" for n in range(50_000))
                     + b"u" + b"h\x00" * 5000 + b".", "out of proportion"),
    "keys in one place": (b"\x80\x02}(" + b"".join(
        b"\x8a\x0b" + (n * (2**61 - 1)).to_bytes(11, "little") + b"N" for n in range(1, 99)) + b"u.", "64 bits"),
    "an attribute": (b"\x80\x02ccollections\nOrderedDict\n)R}X\x05\x00\x00\x00itemsK\x01sb.", "attributes"),
    "repeated by stride 0": (b"\x80\x02" + tensor(f"{BIG}{BIG}\x86", "K\x00K\x00\x86") + b".", "larger than its sto"),
    "beyond its storage": (b"\x80\x02" + tensor("K\x02\x85", "K\x09\x85") + b".", "larger than its storage"),
    "a storage that lies": (b"\x80\x02" + tensor("K\x04\x85", "K\x01\x85", b"M\xff\xff") + b".", "not as long"),
    "a storage that is absent": (b"\x80\x02" + tensor("K\x04\x85", "K\x01\x85", key="9") + b".", "not as long"),
    "a negative stride": (b"\x80\x02" + tensor("K\x04\x85", "J\xff\xff\xff\xff\x85") + b".", "no numbers"),
    "another protocol": (pickle.dumps({}, 4), "protocol"),
    "nothing": (b"", "protocol"),
    "no end": (b"\x80\x02}", "cut off"),
    "sparse": (calling("torch._utils._rebuild_sparse_tensor", b")"), "it would run torch._utils._rebuild_sparse"),
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_a_pickle_that_lies(name: str, tmp_path: Path) -> None:
    pickled, words = LIES[name]
    (tmp_path / "x.ckpt").write_bytes(archive(pickled, NUMBERS))
    assert_refused(lambda: load_archive(tmp_path / "x.ckpt"), f"{tmp_path / 'x.ckpt'}: ", words)


def test_what_the_lies_are_made_of_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.ckpt").write_bytes(archive(b"\x80\x02" + tensor("K\x02K\x02\x86", "K\x02K\x01\x86") + b".", NUMBERS))
    assert load_archive(tmp_path / "x.ckpt").tolist() == [[1, 2], [3, 4]]


def test_plain_data_tensors_and_parameters_are_read_as_torch_reads_them(tmp_path: Path) -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    shared = torch.randn(3, 4)
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.randn(2, 3, 5, 5)).sum().backward()
    optimizer.step()
    content = {
        "state_dict": net.state_dict(), "optimizer": optimizer.state_dict(), "parameter": net[0].weight, "empty": (),
        "views": [shared, shared.T, shared[1:, ::2], shared[:0]], "size": shared.shape, "types": torch.float16,
        "plain": {"a": [1, 2.5, None, True, "é", (1, (2,))], 3: -(1 << 40)}, "device": torch.device("cpu"),
    }  # fmt: skip
    torch.save(content, tmp_path / "x.ckpt")
    found, expected = load_archive(tmp_path / "x.ckpt"), torch.load(tmp_path / "x.ckpt", weights_only=True)
    assert str(found) == str(expected) and found["plain"] == content["plain"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda whole: b"", "it is empty"),
        (lambda whole: pickle.dumps({"a": 1}, 2), "bare pickle"),
        (lambda whole: b"GIF89a" + whole, "no zip archive"),
        (lambda whole: whole + b"\0", "does not end"),
        (lambda whole: archive(b"\x80\x02}.", compress_type=zipfile.ZIP_DEFLATED), "compressed"),
        (lambda whole: archive(b"\x80\x02}.", {"DATA": b"1", "data": b"2"}), "two members"),
        (lambda whole: archive(b"\x80\x02}.").replace(b"x/data.pkl", b"x/code.pkl"), "none of torch.save"),
    ],
)
def test_an_archive_that_lies(change: Callable[[bytes], bytes], words: str, tmp_path: Path) -> None:
    file = tmp_path / "x.ckpt"
    file.write_bytes(change(saved({"a": torch.ones(3)})))
    assert_refused(lambda: load_archive(file), f"{file}: ", words)


def test_every_flipped_byte_of_a_tensor_is_found_and_every_cut(tmp_path: Path) -> None:
    whole, file = saved({"a": torch.arange(40.0), "b": [1, "x"]}), tmp_path / "x.ckpt"
    with zipfile.ZipFile(io.BytesIO(whole)) as opened:
        info = next(each for each in opened.infolist() if each.filename.endswith("data/0"))
    start = info.header_offset + 30 + int.from_bytes(whole[info.header_offset + 26 :][:2], "little")
    start += int.from_bytes(whole[info.header_offset + 28 :][:2], "little")
    for place in range(start, start + info.file_size, 7):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(ValueError, match=r"x\.ckpt: damaged or truncated PyTorch file \(Bad CRC-32"):
            load_archive(file)
    for cut in range(0, len(whole), 13):
        file.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"^[^\n]*x\.ckpt: [^\n]*$"):
            load_archive(file)


def test_any_changed_byte_ends_in_one_line_or_the_same_numbers(tmp_path: Path) -> None:
    content = {"a": torch.arange(4.0), "b": [1, "x", {"c": 2.5}]}
    whole, file = saved(content), tmp_path / "x.ckpt"
    for place in range(0, len(whole), 7):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            found = load_archive(file)
        except ValueError as error:
            assert "\n" not in str(error) and "weights_only" not in str(error)
        else:
            assert str(found) == str(content)


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for file in (tmp_path / "fifo", tmp_path, Path("/dev/zero"), tmp_path / "absent"):
        assert_refused(partial(load_archive, file), f"{file}: ", "file")


def test_checksums_of_the_pickle_too(tmp_path: Path) -> None:
    whole = archive(b"\x80\x02X\x05\x00\x00\x00hello.")
    (tmp_path / "x.ckpt").write_bytes(whole.replace(b"hello.", b"hullo."))
    assert zlib.crc32(b"hello.") != zlib.crc32(b"hullo.")
    assert_refused(lambda: load_archive(tmp_path / "x.ckpt"), "Bad CRC-32")
