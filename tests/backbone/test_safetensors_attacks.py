"""Safetensors files that lie."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from backbone import MobileNetV1, read_weights, save_weights
from tests.limits import assert_refused


def written(path: Path, header: bytes, data: bytes = b"", length: int | None = None) -> Path:
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + data)
    return path


def tensor(**facts: Any) -> bytes:
    return json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | facts}).encode()


@pytest.mark.parametrize(
    ("header", "length"),
    [
        (b"{}", 1 << 62),
        (b"{}", 90 << 20),
        (b"[" * 100_000, None),
        (tensor(shape=[1 << 40]), None),
        (tensor(shape=[1 << 40, 1 << 40]), None),
        (tensor(data_offsets=[0, 1 << 40]), None),
        (tensor(data_offsets=[8, 0]), None),
        (tensor(dtype="F99"), None),
        (b'{"a": ', None),
    ],
)
def test_it_is_refused(header: bytes, length: int | None, tmp_path: Path) -> None:
    file = written(tmp_path / "x.safetensors", header, bytes(8), length)
    assert_refused(lambda: read_weights(file), f"{file}: ")


@pytest.mark.parametrize("said", ["[" * 100_000, "{}", '{"arguments": 3}', "null"])
def test_metadata_that_lie(said: str, tmp_path: Path) -> None:
    save_weights(MobileNetV1(0.25), tmp_path / "x.safetensors")
    whole = (tmp_path / "x.safetensors").read_bytes()
    size = struct.unpack("<Q", whole[:8])[0]
    header = json.loads(whole[8 : 8 + size])
    header["__metadata__"]["mobilenet_toolkit"] = said
    file = written(tmp_path / "y.safetensors", json.dumps(header).encode(), whole[8 + size :])
    assert_refused(lambda: read_weights(file), f"{file}: ", "its metadata")
