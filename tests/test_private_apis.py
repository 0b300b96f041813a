"""What other libraries do not promise is used in few places, and nothing of theirs is replaced.

A torch that moves one of its private names must not break this toolkit, nor quietly change what it computes.
"""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for folder in ("backbone", "tasks", "tools")
    for path in sorted((ROOT / folder).rglob("*.py"))
}
DOCUMENTED = {"_replace", "_asdict", "_fields", "_make", "_exit", "_xoptions"}  # of NamedTuple, os and sys

# By file, the private names of others that it may use. Beside each, the test that takes them away.
PRIVATE = {
    # tests/backbone/test_private.py
    "backbone/private.py": {
        "_C", "_len_torch_dispatch_stack", "_functorch", "_current_level", "_forward_hooks", "_forward_pre_hooks",
        "_backward_hooks", "_backward_pre_hooks", "_convolution_pointwise", "_is_mkldnn_bf16_supported", "_apply",
    },
    # tests/tasks/classification/test_torchvision_sets.py: without them each label is asked for
    "tasks/classification/torchvision_sets.py": {"_labels", "_samples"},
    # tests/tasks/shared/network/test_timm_backbone.py: without it blocks are run that nobody asked for
    "tasks/shared/network/timm_backbone.py": {"_stage_out_idx"},
    # tests/tasks/shared/files/test_tar_members.py: of Python, whose versions pyproject.toml bounds
    "tasks/shared/files/tar_members.py": {"_proc_member"},
}  # fmt: skip

# What is set on a module or a class of others, and why nobody else notices.
PATCHED = {
    "tasks/shared/images/decode.py": {"Image.MAX_IMAGE_PIXELS"},  # or PIL warns below what `max_megapixels` allows
    "tasks/classification/torchvision_sets.py": {"Image.open"},  # under a lock, while an image is read
    "tasks/classification/benchmark.py": {"torch.backends.cudnn.benchmark"},  # in a process of its own
}
# Who may set filters of warnings and levels of loggers that are not its own.
LOUDNESS = {
    "tasks/shared/training/quiet.py": {"filterwarnings", "setLevel"},  # around a training
    "tasks/shared/network/timm_backbone.py": {"setLevel"},  # around the making of a network
    "tasks/shared/commands/cli.py": {"setLevel"},  # of a tool, whose process it is
}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name.strip("_") != ""


def own_names(tree: ast.AST) -> set[str]:
    """What a file defines, and what it sets on `self`."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
            names.add(node.attr)
    return names


# Methods of our classes that others of ours extend.
INHERITED = {
    node.name
    for tree in SOURCES.values()
    for node in ast.walk(tree)
    if isinstance(node, ast.FunctionDef) and node.args.args and node.args.args[0].arg == "self"
}


def overrides(tree: ast.AST) -> Iterator[str]:
    """Private methods that call those of the class above: not a file's own, but another library's."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr=name):
                yield name


def private_names(tree: ast.AST) -> set[str]:
    """The private names of others in a file: attributes, imports, and what getattr and its like are given."""
    found = {name for name in overrides(tree) if is_private(name)}
    own = own_names(tree) | DOCUMENTED
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="self"), attr=name) if name in INHERITED:
                pass
            case ast.Attribute(attr=name) if name not in own:
                found |= {name} if is_private(name) else set()
            case ast.Import(names=aliases):
                found |= {part for alias in aliases for part in alias.name.split(".") if is_private(part)}
            case ast.ImportFrom(module=module, names=aliases):
                parts = [*(module or "").split("."), *(alias.name for alias in aliases)]
                found |= {part for part in parts if is_private(part)}
            case ast.Call(func=ast.Name(id="getattr" | "hasattr" | "setattr" | "delattr"), args=[_, argument, *_]):
                for value in ast.walk(argument):
                    if isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value not in own:
                        found |= {value.value} if is_private(value.value) else set()
    return found


def patches(tree: ast.AST) -> set[str]:
    """`a.b = ...` where `a` is imported from elsewhere, and every `x.forward = ...`."""
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            imported |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
            name = ast.unparse(node)
            if name.split(".")[0] in imported or node.attr == "forward":
                found.add(name)
        match node:
            case ast.Call(func=ast.Name(id="setattr"), args=[_, ast.Constant(value="forward"), _]):
                found.add("forward")
            case ast.Assign(targets=[ast.Attribute(value=owner) as target], value=ast.Lambda()) if not (
                isinstance(owner, ast.Name) and owner.id == "self"
            ):
                found.add(ast.unparse(target))
    return found - {"sys.argv"}  # a process's own arguments


def loudness(tree: ast.AST) -> set[str]:
    names = {"filterwarnings", "simplefilter", "resetwarnings", "setLevel", "disable"}
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {call.attr for call in calls if isinstance(call, ast.Attribute) and call.attr in names}


@pytest.mark.parametrize(
    ("search", "allowed"),
    [(private_names, PRIVATE), (patches, PATCHED), (loudness, LOUDNESS)],
    ids=["private names", "replacements", "filters and levels"],
)
def test_others_are_used_as_they_promise(search: Callable[[ast.AST], set[str]], allowed: dict[str, set[str]]) -> None:
    """Exactly: what is used no more is to be allowed no more."""
    found = {file: names for file, tree in SOURCES.items() if (names := search(tree))}
    assert found == allowed, "use what others promise, or backbone/private.py with what takes its place"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("torch._foreach_lerp_(a, b, 1)", {"_foreach_lerp_"}),
        ("isinstance(m, nn.modules.batchnorm._BatchNorm)", {"_BatchNorm"}),
        ("trainer._signal_connector.x = 1", {"_signal_connector"}),
        ("import torch.utils._device", {"_device"}),
        ("from torchvision.models.detection._utils import BoxCoder", {"_utils"}),
        ("from torch.nn.modules.batchnorm import _BatchNorm", {"_BatchNorm"}),
        ("getattr(net, '_hidden', None)", {"_hidden"}),
        ("class A(B):\n  def _load(self):\n    super()._load()", {"_load"}),
        ("class A(B):\n  def _mine(self):\n    self._mine()", set()),
        ("self._x = 1\nother._x", set()),
        ("batch._replace(a=1); os._exit(1); x.__dict__", set()),
    ],
)
def test_the_search_finds_private_names(line: str, found: set[str]) -> None:
    assert private_names(ast.parse(line)) == found


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("task.forward = f", {"task.forward"}),
        ("setattr(task, 'forward', f)", {"forward"}),
        ("connector.register = lambda: None", {"connector.register"}),
        ("from PIL import Image\nImage.open = f", {"Image.open"}),
        ("import torch\ntorch.nn.ReLU.forward = f", {"torch.nn.ReLU.forward"}),
        ("self.answer = lambda: 1\nnode.value = 3", set()),
    ],
)
def test_the_search_finds_what_is_replaced(line: str, found: set[str]) -> None:
    assert patches(ast.parse(line)) == found


def test_the_search_finds_filters_and_levels() -> None:
    assert loudness(ast.parse("warnings.simplefilter('ignore')\nlog.setLevel(3)")) == {"simplefilter", "setLevel"}
