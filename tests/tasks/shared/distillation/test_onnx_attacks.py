"""ONNX files that lie, run for ever, or reach for what is not theirs."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from tasks.shared.distillation.onnx_model import onnx_teacher
from tests.limits import assert_refused
from tests.tasks.shared.distillation.test_onnx_model import model


def weights(made: ModelProto) -> TensorProto:
    return made.graph.initializer[0]


def outside(place: str, **more: object) -> ModelProto:
    made = model("batch", 0)
    weights(made).ClearField("raw_data")
    weights(made).data_location = TensorProto.EXTERNAL
    for key, value in {"location": place, **more}.items():
        weights(made).external_data.add(key=key, value=str(value))
    return made


def longer() -> ModelProto:
    made = model("batch", 0)
    weights(made).dims[0] = 1 << 40
    return made


def larger() -> ModelProto:
    made = model("batch", 0)
    made.graph.initializer.append(numpy_helper.from_array(np.array([1 << 20, 1 << 20], np.int64), "shape"))
    made.graph.node.append(helper.make_node("ConstantOfShape", ["shape"], ["huge"]))
    made.graph.node.append(helper.make_node("ReduceSum", ["huge"], ["sum"]))
    made.graph.output.append(helper.make_tensor_value_info("sum", TensorProto.FLOAT, None))
    return made


def untold() -> ModelProto:
    """The same, in a way that no inference of shapes sees through."""
    made = larger()
    made.graph.node[-2].input[0] = "hidden"
    made.graph.node.insert(0, helper.make_node("Identity", ["shape"], ["hidden"]))
    return made


def added(*nodes: NodeProto, **stored: Any) -> ModelProto:
    """A network with more nodes, the last of which gives "huge", whose sum is a second output."""
    made = model("batch", 0)
    made.graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items())
    made.graph.node.extend([*nodes, helper.make_node("ReduceSum", ["huge"], ["sum"])])
    made.graph.output.append(helper.make_tensor_value_info("sum", TensorProto.FLOAT, None))
    return made


def product() -> ModelProto:
    """Of two maps whose size nobody can tell."""
    return added(
        helper.make_node("Identity", ["shape"], ["hidden"]),
        helper.make_node("ConstantOfShape", ["hidden"], ["column"]),
        helper.make_node("Transpose", ["column"], ["row"]),
        helper.make_node("MatMul", ["column", "row"], ["huge"]),
        shape=np.array([1 << 20, 1], np.int64),
    )


def as_images_say() -> ModelProto:
    """As many numbers as the images' own are."""
    taken = model("batch", 0).graph.input[0].name
    return added(
        helper.make_node("Mul", [taken, "zero"], ["zeros"]),
        helper.make_node("ReduceMax", ["zeros"], ["largest"], keepdims=0),
        helper.make_node("Cast", ["largest"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Add", ["whole", "shape"], ["sides"]),
        helper.make_node("Expand", ["zero", "sides"], ["huge"]),
        shape=np.array([1 << 20, 1 << 20], np.int64),
        zero=np.zeros((), np.float32),
    )


def looping() -> ModelProto:
    made = model("batch", 0)
    made.graph.node.append(helper.make_node("Loop", ["a", "b"], ["c"], body=helper.make_graph([], "inner", [], [])))
    return made


def with_function() -> ModelProto:
    made = model("batch", 0)
    made.functions.append(helper.make_function("my", "f", ["x"], ["y"], [], []))
    return made


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (untold(), "its maps of (2, 3, 8, 8) take more than"),
        (product(), "its maps of (2, 3, 8, 8) take more than"),
        (as_images_say(), "its maps of (2, 3, 8, 8) take more than"),
        (outside("/etc/hostname"), "expected weights in its own folder"),
        (outside("../secret"), "expected weights in its own folder"),
        (outside("link"), "expected weights in its own folder"),
        (outside("absent"), "no such file"),
        (outside("net.onnx", offset=0, length=1 << 40), "longer than what"),
        (outside("net.onnx", offset=-5), "longer than what"),
        (outside("net.onnx", offset="x"), "damaged"),
        (longer(), "fewer than its shape"),
        (larger(), "makes 'huge'"),
        (looping(), "has the operator Loop"),
        (with_function(), "functions of its own"),
    ],
)
def test_it_is_refused(made: ModelProto, words: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(100_000))
    (tmp_path / "in").mkdir()
    (tmp_path / "in/link").symlink_to(tmp_path / "secret")
    file = tmp_path / "in/net.onnx"
    file.write_bytes(made.SerializeToString())
    assert_refused(lambda: onnx_teacher(str(file), output_name=made.graph.output[0].name), f"{file}: ", words)


def test_any_cut_ends_in_one_line(tmp_path: Path) -> None:
    whole, file = model("batch", 0).SerializeToString(), tmp_path / "net.onnx"
    for cut in range(0, len(whole), max(len(whole) // 40, 1)):
        file.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"^[^\n]*net\.onnx: [^\n]*$"):
            onnx_teacher(str(file))
    assert onnx.load_from_string(whole).graph.node
