"""FlatBuffers and FlexBuffers whose offsets lead to one place a thousand times, or in circles."""

import struct
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
import tflite
from flatbuffers import flexbuffers

from backbone.sources.tflite_file import _numbers, read_graph
from tests.backbone.test_weights_tflite import write
from tests.backbone.tflite_writer import MobileNetWriter
from tests.limits import assert_refused


def crowd(sides: int, tensors: int) -> bytes:
    """A model of one tensor with a long shape, which its list of tensors names again and again."""
    b = flatbuffers.Builder(1 << 20)
    shape = b.CreateNumpyVector(np.ones(sides, "i4"))
    tflite.TensorStart(b)
    tflite.TensorAddShape(b, shape)
    tensor = tflite.TensorEnd(b)
    b.StartVector(4, tensors, 4)
    for _ in range(tensors):
        b.PrependUOffsetTRelative(tensor)
    listed = b.EndVector()
    tflite.SubGraphStart(b)
    tflite.SubGraphAddTensors(b, listed)
    graph = tflite.SubGraphEnd(b)
    tflite.BufferStart(b)
    buffer = tflite.BufferEnd(b)
    vectors = []
    for offset in (graph, buffer):
        b.StartVector(4, 1, 4)
        b.PrependUOffsetTRelative(offset)
        vectors.append(b.EndVector())
    tflite.ModelStart(b)
    tflite.ModelAddSubgraphs(b, vectors[0])
    tflite.ModelAddBuffers(b, vectors[1])
    b.Finish(tflite.ModelEnd(b), b"TFL3")
    return bytes(b.Output())


def test_tensors_that_are_one_tensor(tmp_path: Path) -> None:
    (tmp_path / "x.tflite").write_bytes(crowd(40_000, 40_000))
    assert_refused(lambda: read_graph(tmp_path / "x.tflite"), f"{tmp_path / 'x.tflite'}: ", "more tensors")
    (tmp_path / "y.tflite").write_bytes(crowd(4, 3))
    assert len(read_graph(tmp_path / "y.tflite").tensors) == 3


def test_convolutions_that_share_a_filter(tmp_path: Path) -> None:
    writer = MobileNetWriter("float")
    x = writer.conv("a", writer.image, 3, 1)
    y = writer.conv("b", x, 3, 1)
    writer.operators[-1][1][1] = writer.operators[0][1][1]
    writer.save(tmp_path / "x.tflite", [writer.image], [y])
    assert_refused(lambda: read_graph(tmp_path / "x.tflite"), "two convolutions with one filter")


def test_options_that_lead_in_circles_are_not_followed() -> None:
    assert _numbers(flexbuffers.GetRoot(flexbuffers.Dumps({"a": 2.5, "b": [[[1]]] * 9, "c": 3}))) == {"a": 2.5, "c": 3}


@pytest.mark.parametrize("seed", range(2))
def test_any_changed_word_ends_in_one_line_and_in_time(seed: int, tmp_path: Path) -> None:
    write(tmp_path / "x.tflite", "uint8", 5)
    whole = (tmp_path / "x.tflite").read_bytes()
    for place in range(8 * seed, 4000, 160):
        for value in (0, 0x7FFFFFFF, 0xFFFFFFFF):
            changed = whole[:place] + struct.pack("<I", value) + whole[place + 4 :]
            (tmp_path / "y.tflite").write_bytes(changed)
            try:
                read_graph(tmp_path / "y.tflite")
            except ValueError as error:
                assert "y.tflite: " in str(error) and "\n" not in str(error) and len(str(error)) < 1000
