"""ONNX files through onnxruntime, against torch on the same weights."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from backbone import count_cost
from tasks.shared.distillation.onnx_graph import cost_of, entry_of
from tasks.shared.distillation.onnx_model import OnnxNetwork, onnx_teacher
from tasks.shared.errors import UserError

SIDE = 8
Shape = Sequence[int | str]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.PReLU(6),
        nn.Flatten(), nn.Linear(6 * 16, 5),
    ).eval()  # fmt: skip
    nn.init.uniform_(net[1].running_var, 0.5, 2)  # type: ignore[arg-type]
    return net


def tensor(name: str, value: Any) -> TensorProto:
    return numpy_helper.from_array(np.asarray(value), name)


def model_of(
    nodes: list[NodeProto],
    stored: list[TensorProto],
    inputs: dict[str, Shape],
    outputs: Sequence[str],
    kind: int = TensorProto.FLOAT,
) -> ModelProto:
    taken = [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()]
    given = [helper.make_tensor_value_info(name, kind, None) for name in outputs]
    graph = helper.make_graph(nodes, "net", taken, given, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def model(batch: int | str = 1, reshape: int = 1, sides: Shape = (SIDE, SIDE), old: bool = False) -> ModelProto:
    """`network`, as exporters write it. reshape: the first number of the shape that it is flattened to.

    old: weights are listed as inputs too.
    """
    state = {name: t.numpy() for name, t in network().state_dict().items()}
    stored = [tensor(name, value) for name, value in state.items() if value.ndim]
    stored[-2] = tensor("6.weight", state["6.weight"].T)  # of MatMul
    stored += [tensor("4.slope", state["4.weight"].reshape(6, 1, 1))]
    stored = [t for t in stored if t.name != "4.weight"]
    nodes = [
        helper.make_node("Conv", ["x", "0.weight", "0.bias"], ["a"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node(
            "BatchNormalization", ["a", *(f"1.{n}" for n in ("weight", "bias", "running_mean", "running_var"))], ["b"]
        ),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Conv", ["c", "3.weight", "3.bias"], ["d"], group=6, pads=[1, 1, 1, 1]),
        helper.make_node("PRelu", ["d", "4.slope"], ["e"]),
        helper.make_node("Constant", [], ["flat"], value=tensor("", np.array([reshape, -1]))),
        helper.make_node("Reshape", ["e", "flat"], ["f"]),
        helper.make_node("MatMul", ["f", "6.weight"], ["g"]),
        helper.make_node("Add", ["g", "6.bias"], ["y"]),
    ]
    made = model_of(nodes, stored, {"x": [batch, 3, *sides]}, ["y"])
    if old:
        made.graph.input.extend(helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in stored)
    return made


def images(count: int) -> Tensor:
    return torch.randint(0, 256, (count, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def answers_of_torch(count: int) -> Tensor:
    with torch.no_grad():
        return network()((images(count).float() / 255 - 0.5) / 0.5)


def written(folder: Path, made: ModelProto) -> str:
    onnx.save(made, folder / "net.onnx")
    return str(folder / "net.onnx")


@pytest.mark.parametrize(
    ("batch", "reshape", "old"), [("batch", -1, False), ("batch", 0, True), (1, 1, False), (1, -1, True), (3, 3, False)]
)
@pytest.mark.parametrize("count", [1, 4])
def test_it_answers_as_torch_does_in_batches_of_any_size(
    batch: int | str, reshape: int, old: bool, count: int, tmp_path: Path
) -> None:
    made = model(batch, reshape, old=old)
    if reshape == -1:
        made.graph.node[5].attribute[0].t.CopyFrom(tensor("", np.array([-1, 96])))
    teacher = onnx_teacher(written(tmp_path, made))
    assert (teacher.size, teacher.num_outputs, teacher.name) == ((SIDE, SIDE), 5, "onnx net.onnx")
    torch.testing.assert_close(teacher(images(count)), answers_of_torch(count), rtol=1e-4, atol=1e-5)
    assert isinstance(teacher.network, OnnxNetwork) and teacher.network.batch is None, "nothing is looped"


def test_a_batch_of_one_is_made_any_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        onnx_teacher(written(tmp_path, model()))
    assert "net.onnx: made for batches of 1, takes any: its answers are the same" in caplog.text


def centred(count: int) -> ModelProto:
    """Takes the mean of the batch away: with more images than it was made for, other answers."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[2, 3], keepdims=0),
        helper.make_node("ReduceMean", ["m"], ["n"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["m", "n"], ["y"]),
    ]
    return model_of(nodes, [], {"x": [count, 3, SIDE, SIDE]}, ["y"])


@pytest.mark.parametrize("count", [1, 2])
def test_a_file_that_answers_otherwise_in_larger_batches_is_looped(
    count: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        teacher = onnx_teacher(written(tmp_path, centred(count)))
    assert f"runs in batches of {count}, as it was made for; in larger ones: its answers change" in caplog.text
    means = images(4).float().mean((2, 3)) / 127.5 - 1
    pairs = means.view(-1, count, 3)
    wanted = (pairs - pairs.mean(1, keepdim=True)).view(4, 3)
    torch.testing.assert_close(teacher(images(4)), wanted, rtol=1e-3, atol=1e-5)
    last = teacher(images(3))
    assert last.shape == (3, 3) and torch.allclose(last[:2], wanted[:2], atol=1e-5)


def test_a_file_that_fails_on_larger_batches_is_looped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = model(1, 1)
    made.graph.node[5].attribute[0].t.CopyFrom(tensor("", np.array([1, 96])))  # not to be freed where it is computed
    made.graph.node[5].output[0] = "known"
    made.graph.node.insert(6, helper.make_node("Identity", ["known"], ["flat"]))
    with caplog.at_level(logging.INFO):
        teacher = onnx_teacher(written(tmp_path, made))
    assert "runs in batches of 1, as it was made for" in caplog.text and "cannot run it" in caplog.text
    torch.testing.assert_close(teacher(images(3)), answers_of_torch(3), rtol=1e-4, atol=1e-5)


def test_sizes_that_only_other_maps_tell_are_no_reason_to_refuse(tmp_path: Path) -> None:
    """As torch writes a class token that is expanded, padding that is worked out, and scaling to another map's size."""
    node = helper.make_node
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "first"], ["batch"]),
        node("Concat", ["batch", "others"], ["wanted"], axis=0),
        node("ConstantOfShape", ["four"], ["ones"], value=tensor("", [1])),
        node("Mul", ["ones", "minus"], ["kept"]),
        node("Equal", ["wanted", "kept"], ["same"]),
        node("Where", ["same", "ones", "wanted"], ["sides"]),
        node("Expand", ["token", "sides"], ["tokens"]),
        node("Reshape", ["pairs", "by two"], ["rows"]),
        node("Transpose", ["rows"], ["columns"]),
        node("Reshape", ["columns", "minus"], ["pads"]),
        node("Pad", ["x", "pads"], ["padded"]),
        node("Shape", ["tokens"], ["size"]),
        node("Resize", ["padded", "", "", "size"], ["scaled"], mode="nearest", nearest_mode="floor",
             coordinate_transformation_mode="asymmetric"),
        node("Mul", ["tokens", "scaled"], ["product"]),
        node("ReduceMean", ["product"], ["y"], axes=[2, 3], keepdims=0),
    ]  # fmt: skip
    numbers = {"first": [0], "others": [-1, SIDE, SIDE], "four": [4], "minus": [-1], "by two": [-1, 2],
               "pairs": [0, 0, 0, 0, 3, 5, 2, 6]}  # fmt: skip
    token = torch.tensor([1.0, 2, 3]).view(1, 3, 1, 1)
    made = model_of(nodes, [*(tensor(name, value) for name, value in numbers.items()), tensor("token", token.numpy())],
                    {"x": ["batch", 3, SIDE, SIDE]}, ["y"])  # fmt: skip
    x = images(3).float() / 127.5 - 1
    wanted = (token * nn.functional.interpolate(nn.functional.pad(x, (2, 6, 3, 5)), SIDE)).mean((2, 3))
    torch.testing.assert_close(onnx_teacher(written(tmp_path, made))(images(3)), wanted, rtol=1e-4, atol=1e-5)


def test_the_cost_is_that_of_the_network(tmp_path: Path) -> None:
    cost = count_cost(network(), SIDE)
    for made in (model(), model("batch", 0), model(3, 3)):
        assert onnx_teacher(written(tmp_path, made)).cost() == (cost.mult_adds, cost.parameters)


def test_a_cost_that_cannot_be_counted_is_none() -> None:
    made = model()
    made.graph.node[3].op_type = "ConvTranspose"
    assert cost_of(made, entry_of(made, "net"), (SIDE, SIDE)) is None


def test_gemm_and_products_of_maps_are_counted() -> None:
    stored = [tensor("w", np.zeros((7, 12), np.float32))]
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("Gemm", ["f", "w"], ["g"], transB=1),
        helper.make_node("Unsqueeze", ["g", "one"], ["column"]),
        helper.make_node("Transpose", ["column"], ["row"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["column", "row"], ["y"]),
    ]
    made = model_of(nodes, [*stored, tensor("one", np.array([2]))], {"x": ["b", 3, 2, 2]}, ["y"])
    assert cost_of(made, entry_of(made, "net"), (2, 2)) == (7 * 12 + 7 * 7, 7 * 12)


def test_images_with_channels_last(tmp_path: Path) -> None:
    made = model("batch", 0)
    made.graph.node.insert(0, helper.make_node("Transpose", ["pictures"], ["x"], perm=[0, 3, 1, 2]))
    made.graph.input[0].CopyFrom(helper.make_tensor_value_info("pictures", TensorProto.FLOAT, [1, SIDE, SIDE, 3]))
    teacher = onnx_teacher(written(tmp_path, made))
    torch.testing.assert_close(teacher(images(3)), answers_of_torch(3), rtol=1e-4, atol=1e-5)
    assert teacher.size == (SIDE, SIDE) and teacher.cost() == onnx_teacher(written(tmp_path, model())).cost()


def test_images_of_any_size_need_one(tmp_path: Path) -> None:
    file = written(tmp_path, model("batch", 0, ("height", "width")))
    with pytest.raises(UserError, match=r"teacher.size is not set"):
        onnx_teacher(file)
    torch.testing.assert_close(onnx_teacher(file, size=SIDE)(images(2)), answers_of_torch(2), rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match=r"net.onnx: onnxruntime cannot run it on"):
        onnx_teacher(file, size=2 * SIDE)
    with pytest.raises(UserError, match=r"teacher.size=16: the file takes 8x8 pixels"):
        onnx_teacher(written(tmp_path, model()), size=16)


def test_half_precision(tmp_path: Path) -> None:
    nodes = [helper.make_node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)]
    made = model_of(nodes, [], {"x": ["b", 3, SIDE, SIDE]}, ["y"], TensorProto.FLOAT16)
    wanted = images(3).float().mean((2, 3)) / 127.5 - 1
    torch.testing.assert_close(onnx_teacher(written(tmp_path, made))(images(3)), wanted, rtol=1e-2, atol=1e-2)


def test_one_of_several_outputs(tmp_path: Path) -> None:
    made = model("batch", 0)
    made.graph.output.append(helper.make_tensor_value_info("f", TensorProto.FLOAT, None))
    file = written(tmp_path, made)
    with pytest.raises(UserError, match=r"net.onnx: has the outputs y, f; teacher.output_name is not set"):
        onnx_teacher(file)
    with pytest.raises(UserError, match=r"has the outputs y, f; teacher.output_name 'z' is none of them"):
        onnx_teacher(file, output_name="z")
    first, second = onnx_teacher(file, output_name="y"), onnx_teacher(file, output_name="f")
    assert (first.num_outputs, second.num_outputs) == (5, 96) and first.fingerprint != second.fingerprint


def test_weights_in_files_of_their_own_belong_to_the_fingerprint(tmp_path: Path) -> None:
    made = model("batch", 0)
    onnx.save(made, tmp_path / "net.onnx", save_as_external_data=True, location="net.data", size_threshold=0)
    first = onnx_teacher(str(tmp_path / "net.onnx"))
    torch.testing.assert_close(first(images(2)), answers_of_torch(2), rtol=1e-4, atol=1e-5)
    content = bytearray((tmp_path / "net.data").read_bytes())
    content[0] ^= 1
    (tmp_path / "net.data").write_bytes(content)
    assert onnx_teacher(str(tmp_path / "net.onnx")).fingerprint != first.fingerprint
    (tmp_path / "inner").mkdir()
    outside = onnx.load(tmp_path / "net.onnx", load_external_data=False)
    for weights in outside.graph.initializer:
        next(entry for entry in weights.external_data if entry.key == "location").value = "../net.data"
    (tmp_path / "inner/net.onnx").write_bytes(outside.SerializeToString())
    with pytest.raises(UserError, match=r"inner/net.onnx: refers to '../net.data'; expected weights in its own folder"):
        onnx_teacher(str(tmp_path / "inner/net.onnx"))
    (tmp_path / "net.data").unlink()
    with pytest.raises(UserError, match=r"net.onnx: refers to .*net.data: no such file"):
        onnx_teacher(str(tmp_path / "net.onnx"))


@pytest.mark.parametrize(
    ("inputs", "kind", "message"),
    [
        ({"x": ["b", 3, 8, 8], "mask": ["b", 8, 8]}, TensorProto.FLOAT, r"takes 2 inputs \(x, mask\); expected one"),
        ({"x": ["b", 1, 8, 8]}, TensorProto.FLOAT, r"input x takes \(any, 1, 8, 8\) of float; expected"),
        ({"x": ["b", 192]}, TensorProto.FLOAT, r"input x takes \(any, 192\) of float"),
        ({"x": ["b", 3, 8, 8]}, TensorProto.UINT8, r"input x takes \(any, 3, 8, 8\) of uint8"),
    ],
)
def test_inputs_of_another_form_are_refused(inputs: dict[str, Shape], kind: int, message: str, tmp_path: Path) -> None:
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    with pytest.raises(UserError, match=rf"net.onnx: .*{message}"):
        onnx_teacher(written(tmp_path, model_of(nodes, [], inputs, ["y"], kind)))


def test_answers_of_another_form_are_refused(tmp_path: Path) -> None:
    made = model_of([helper.make_node("Relu", ["x"], ["y"])], [], {"x": ["b", 3, SIDE, SIDE]}, ["y"])
    with pytest.raises(UserError, match=r"teacher onnx net.onnx: answers 2 images with \(2, 3, 8, 8\) numbers"):
        onnx_teacher(written(tmp_path, made))


def test_operators_of_ones_own_are_refused(tmp_path: Path) -> None:
    made = model_of([helper.make_node("Magic", ["x"], ["y"], domain="my")], [], {"x": ["b", 3, 8, 8]}, ["y"])
    made.opset_import.append(helper.make_opsetid("my", 1))
    with pytest.raises(UserError, match=r"net.onnx: the operator Magic of 'my' needs a library; refused"):
        onnx_teacher(written(tmp_path, made))


def test_files_that_are_something_else_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"teacher.path=nowhere.onnx: no such file; expected an ONNX file"):
        onnx_teacher("nowhere.onnx")
    file = tmp_path / "net.onnx"
    torch.save({"weight": torch.zeros(2)}, file)
    with pytest.raises(UserError, match=r"net.onnx: not an ONNX file, or damaged"):
        onnx_teacher(str(file))
    file.write_bytes(b"")
    with pytest.raises(UserError, match=r"net.onnx: holds no network"):
        onnx_teacher(str(file))
    content = Path(written(tmp_path, model())).read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"net.onnx: not an ONNX file, or damaged"):
        onnx_teacher(str(file))
