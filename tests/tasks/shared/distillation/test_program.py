"""Programs of torch.export, against torch's own way to run them, and files that would run code."""

import json
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from backbone import count_cost
from tasks.shared.distillation.exported import exported_teacher
from tasks.shared.distillation.program_file import read_program
from tasks.shared.errors import UserError
from tests.tasks.shared.distillation.bombs import Bomb

SIDE = 16


class Net(nn.Module):
    """Convolutions with and without groups, batch norm, in-place activations, attention, and computed sizes."""

    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.depthwise = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Hardswish(inplace=True))
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 5))
        self.register_buffer("shift", torch.randn(8), persistent=False)
        nn.init.uniform_(self.conv[1].running_var, 0.5, 2)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        x = self.depthwise(self.conv(x))
        tokens = x.reshape(x.shape[0], x.shape[1], -1).transpose(1, 2) + self.shift
        tokens = nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)
        first, *_ = tokens.split(32, dim=1)
        weights = torch.arange(1, first.shape[1] + 1, dtype=x.dtype, device=x.device)
        pooled, _ = (first * weights[:, None]).clamp(-math.inf, 30).max(1)
        return self.head(pooled)


def export(file: Path, net: nn.Module, count: int, dynamic: bool = False, pictures: int = 1) -> Path:
    torch.manual_seed(0)
    shapes = tuple({0: Dim("batch")} if dynamic else None for _ in range(pictures))
    given = tuple(torch.randn(count, 3, SIDE, SIDE) for _ in range(pictures))
    torch.export.save(torch.export.export(net, given, dynamic_shapes=shapes if dynamic else None), file)
    return file


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("exported")
    torch.manual_seed(0)
    net = Net().eval()
    return {
        "any": export(folder / "any.pt2", net, 2, dynamic=True),
        "one": export(folder / "one.pt2", net, 1),
        "three": export(folder / "three.pt2", net, 3),
    }


def pictures(count: int) -> Tensor:
    return torch.randint(0, 256, (count, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", ["any", "one", "three"])
@pytest.mark.parametrize("count", [1, 4])
def test_it_answers_as_torch_does_in_batches_of_any_size(kind: str, count: int, files: dict[str, Path]) -> None:
    teacher = exported_teacher(str(files[kind]), mean=[0.4] * 3, std=[0.5] * 3)
    assert (teacher.size, teacher.num_outputs, teacher.name) == ((SIDE, SIDE), 5, f"exported {kind}.pt2")
    program = torch.export.load(files["one"]).module()
    with torch.no_grad():
        wanted = torch.cat([program((each[None].float() / 255 - 0.4) / 0.5) for each in pictures(count)])
    torch.testing.assert_close(teacher(pictures(count)), wanted, rtol=1e-4, atol=1e-5)
    assert torch.equal(teacher(pictures(count)), teacher(pictures(count)))


def test_the_cost_is_that_of_the_network(files: dict[str, Path]) -> None:
    net = Net().eval()
    layers = count_cost(nn.Sequential(net.conv, net.depthwise), SIDE).mult_adds + 8 * 5
    attention = 2 * 64 * 64 * 8  # two products of 64 tokens of 8 numbers
    for file in files.values():
        assert exported_teacher(str(file)).cost() == (layers + attention, sum(p.numel() for p in net.parameters()))


def test_values_are_let_go_after_their_last_use(files: dict[str, Path]) -> None:
    program = read_program(files["any"])
    made = {
        name for call in program.calls for each in call.results for name in (each if isinstance(each, list) else [each])
    }
    gone = [name for call in program.calls for name in call.done]
    assert len(gone) == len(set(gone)) and set(gone) <= made
    unread = {name for name in made - set(gone) if name != program.result}
    assert all(name.startswith(("getitem", "split")) for name in unread), unread
    alive: set[str] = set()
    for call in program.calls:
        needed = {each["as_tensor"]["name"] for each in call.by_name.values() if "as_tensor" in each}
        assert needed <= alive | program.weights.keys() | {program.entry}
        alive |= {name for each in call.results for name in (each if isinstance(each, list) else [each])}
        alive -= set(call.done)
    assert program.result in alive


def test_pictures_of_any_size_need_one(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    shapes = ({0: Dim("batch"), 2: Dim("height", min=4), 3: Dim("width", min=4)},)
    torch.export.save(torch.export.export(net, (torch.randn(2, 3, 9, 8),), dynamic_shapes=shapes), tmp_path / "x.pt2")
    with pytest.raises(UserError, match=r"teacher.size is not set"):
        exported_teacher(str(tmp_path / "x.pt2"))
    teacher = exported_teacher(str(tmp_path / "x.pt2"), size=[12, 10])
    assert teacher.size == (12, 10) and teacher.cost() == (10 * 8 * 4 * 27, 4 * 27 + 4)


def test_another_size_than_the_files_is_refused(files: dict[str, Path]) -> None:
    with pytest.raises(UserError, match=r"teacher.size=32: the file takes 16x16 pixels"):
        exported_teacher(str(files["any"]), size=32)


class Two(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return (x + y).mean((2, 3))


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.mean((2, 3)), x


def counting() -> nn.Module:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return net.train()


@pytest.mark.parametrize(
    ("net", "inputs", "message"),
    [
        (Two(), 2, r"takes 2 values \(x, y\); expected one tensor, pictures"),
        (Pair(), 1, r"gives 2 values \(mean, x\); expected one tensor, answers"),
        (counting(), 1, "exported in training mode .*call eval\\(\\) and export it anew"),
        (nn.Sequential(nn.Flatten(), nn.Dropout(0.5)).train(), 1, "exported in training mode .*dropout"),
        (nn.Sequential(nn.Flatten(), nn.Linear(768, 2), nn.Unflatten(1, (1, 2))), 1, r"with \(2, 1, 2\) numbers"),
    ],
)
def test_networks_of_another_form_are_refused(net: nn.Module, inputs: int, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"x.pt2.*{message}"):
        exported_teacher(str(export(tmp_path / "x.pt2", net, 2, pictures=inputs)))


def rewritten(file: Path, to: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """A copy of an archive with other members, by name without the folder that they all are in."""
    with zipfile.ZipFile(file) as archive:
        members = {name.split("/", 1)[1]: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(to, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"x/{name}", content)
    return to


def edited(file: Path, to: Path, member: str, edit: Callable[[Any], None]) -> Path:
    """A copy of an archive with a change in one of its JSON files."""

    def change(members: dict[str, bytes]) -> None:
        content = json.loads(members[member])
        edit(content)
        members[member] = json.dumps(content).encode()

    return rewritten(file, to, change)


MODEL, WEIGHTS = "models/model.json", "data/weights/model_weights_config.json"


def first_node(content: Any) -> Any:
    return content["graph_module"]["graph"]["nodes"][0]


@pytest.mark.parametrize(
    "target",
    ["torch.os.system", "torch.ops.aten.save.default", "torch.ops.aten.from_file.default", "torch.load",
     "torch.hub.load", "_operator.call", "torch.ops.aten.relu.default.__class__", "torch.ops.aten.relu.__class__",
     "torch.ops.aten.relu.overloads", "torch.ops.aten.__class__.relu", "#evil:op", "torch.ops.higher_order.cond",
     "torch.ops.my_library.op.default", "torch.ops.aten.relu_backward.nope"],
)  # fmt: skip
def test_no_function_is_called_but_known_operators(target: str, files: dict[str, Path], tmp_path: Path) -> None:
    file = edited(files["any"], tmp_path / "x.pt2", MODEL, lambda c: first_node(c).update(target=target))
    with pytest.raises(UserError, match=rf"x.pt2: calls {target}; expected none but the operators"):
        exported_teacher(str(file))


def pickled(marker: Path) -> bytes:
    torch.save(Bomb(marker), marker.with_suffix(".bomb"))
    return marker.with_suffix(".bomb").read_bytes()


def test_pickles_in_a_file_are_not_read(files: dict[str, Path], tmp_path: Path) -> None:
    marker = tmp_path / "exploded"

    def replace(members: dict[str, bytes]) -> None:
        members["data/sample_inputs/model.pt"] = pickled(marker)
        members["data/weights/model.pt"] = pickled(marker)
        members["data/constants/model.pt"] = pickled(marker)

    file = rewritten(files["any"], tmp_path / "x.pt2", replace)
    assert exported_teacher(str(file)).num_outputs == 5
    for kind, name in (("weights", "weight_900"), ("constants", "tensor_900"), ("constants", "opaque_obj_0")):

        def call_it_a_pickle(members: dict[str, bytes], kind: str = kind, name: str = name) -> None:
            members[f"data/{kind}/{name}"] = pickled(marker)
            listed = f"data/{kind}/model_{kind}_config.json"
            content = json.loads(members[listed])
            meta = json.loads(members[WEIGHTS])["config"]["conv.0.weight"]["tensor_meta"]
            content["config"]["evil"] = {"path_name": name, "is_param": False, "use_pickle": True, "tensor_meta": meta}
            members[listed] = json.dumps(content).encode()

        file = rewritten(files["any"], tmp_path / "y.pt2", call_it_a_pickle)
        with pytest.raises(UserError, match=r"y.pt2: evil is a pickle, which may run code"):
            exported_teacher(str(file))
    assert not marker.exists()


def test_text_in_a_file_is_not_evaluated(files: dict[str, Path], tmp_path: Path) -> None:
    marker = tmp_path / "exploded"
    code = f"__import__('os').mkdir({str(marker)!r})"

    def edit(content: Any) -> None:
        content["guards_code"] = [code]
        graph = content["graph_module"]["graph"]
        for value in graph["tensor_values"].values():
            for side in value["sizes"]:
                if "as_expr" in side:
                    side["as_expr"]["expr_str"] = code
        for node in graph["nodes"]:
            node["name"] = code

    file = edited(files["any"], tmp_path / "x.pt2", MODEL, edit)
    original = exported_teacher(str(files["any"]))
    assert torch.equal(exported_teacher(str(file))(pictures(2)), original(pictures(2)))
    assert not marker.exists()


def test_a_compiled_library_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    library = {"data/aotinductor/model/wrapper.so": b"\x7fELF"}
    file = rewritten(files["any"], tmp_path / "x.pt2", lambda m: m.update(library))
    with pytest.raises(UserError, match=r"x.pt2: holds a compiled library, which would run code"):
        exported_teacher(str(file))


def test_a_program_that_changes_its_weights_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    def edit(content: Any) -> None:
        graph = content["graph_module"]["graph"]
        name = next(
            each["as_tensor"]["name"] for each in graph["inputs"] if "running_mean" in each["as_tensor"]["name"]
        )
        one = {"name": "other", "arg": {"as_float": 1.0}, "kind": 1}
        changed = {"name": "self", "arg": {"as_tensor": {"name": name}}, "kind": 1}
        outputs = [{"as_tensor": {"name": "counted"}}]
        node = {"target": "torch.ops.aten.add_.Scalar", "inputs": [changed, one], "outputs": outputs, "metadata": {}}
        graph["nodes"].insert(0, node)

    file = edited(files["any"], tmp_path / "x.pt2", MODEL, edit)
    with pytest.raises(
        UserError, match=r"x.pt2: changes its own weights when it runs; expected a network in eval mode"
    ):
        exported_teacher(str(file))


def test_files_that_are_something_else_are_refused(files: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"teacher.path=nowhere.pt2: no such file; expected a program"):
        exported_teacher("nowhere.pt2")
    file = tmp_path / "x.pt2"
    file.write_text("hello")
    with pytest.raises(UserError, match=r"x.pt2: not a program that torch.export.save has written"):
        exported_teacher(str(file))
    torch.save({"weight": torch.zeros(2)}, file)
    with pytest.raises(UserError, match=r"x.pt2: a zip file, but no archive of torch.export of today"):
        exported_teacher(str(file))
    file.write_bytes(files["any"].read_bytes()[:3000])
    with pytest.raises(UserError, match=r"x.pt2: not a program .*, or damaged"):
        exported_teacher(str(file))
    edited(files["any"], file, MODEL, lambda c: c["schema_version"].update(major=9))
    with pytest.raises(UserError, match=r"x.pt2: version 9 of the format; expected 8: export it anew"):
        exported_teacher(str(file))
    rewritten(files["any"], file, lambda m: m.pop(WEIGHTS))  # type: ignore[arg-type,return-value]
    with pytest.raises(UserError, match=r"x.pt2: holds no data/weights/model_weights_config.json, as files of older"):
        exported_teacher(str(file))
    edited(
        files["any"], file, WEIGHTS, lambda c: c["config"]["conv.0.weight"]["tensor_meta"]["sizes"][0].update(as_int=9)
    )
    with pytest.raises(UserError, match=r"x.pt2: not a program .*, or damaged"):
        exported_teacher(str(file))
    edited(files["any"], file, MODEL, lambda c: c["graph_module"].pop("signature"))
    with pytest.raises(UserError, match=r"x.pt2: not a program .*, or damaged"):
        exported_teacher(str(file))
