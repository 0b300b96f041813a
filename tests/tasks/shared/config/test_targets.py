"""What a config's `_target_` may name: the YAML files' names, those of installed packages, the command line's."""

import importlib.util
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import backbone
import tasks
from tasks.shared.config import consent, targets
from tasks.shared.config.compose import CONFIGS, parse_overrides
from tasks.shared.config.consent import NODES, hear
from tasks.shared.config.nodes import Node
from tasks.shared.config.targets import own_targets, target_of
from tasks.shared.errors import UserError
from tasks.shared.network.build import task_class

OUTSIDE = (
    "os.system", "subprocess.run", "builtins.eval", "builtins.exec", "torch.load", "torch.hub.load", "shutil.rmtree",
    "tasks.shared.commands.cli.sys.exit", "tasks.shared.benchmark.startup.heavy_modules",
    "tasks.shared.paper.command._write",
    "", ".", "tasks", "tasks.", "backbone.", ".system", "os.", "tasks.ssd.SSD.__init__", "tasks.ssd.SSD ",
    " tasks.ssd.SSD", "tasks.ssd.model.SSD", None, 3, ["tasks.ssd.SSD"], {"a": 1}, True,
)  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_given() -> Iterator[None]:
    """The command line says nothing, before and after."""
    hear([], carried=True)
    yield
    hear([], carried=False)


def modules_of(package: ModuleType) -> Iterator[ModuleType]:
    yield package
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if Path(getattr(importlib.util.find_spec(info.name), "origin", "")).suffix == ".py":  # not the native libraries
            yield importlib.import_module(info.name)


def refused(node: str, name: str) -> bool:
    """As pytest.raises, which is slow for ten thousands of names."""
    try:
        target_of(Node(node, name, None, {}))
    except UserError as error:
        return str(error).startswith(f"{node}._target_={name!r}; expected one of configs/{node}")
    return False


def test_every_other_name_of_both_packages_is_refused_at_every_node(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {f"{module.__name__}.{name}" for package in (backbone, tasks) for module in modules_of(package)
             for name in (*vars(module), *getattr(module, "__all__", ()))}  # fmt: skip
    assert len(names) > 3000, "private names and what modules import are among them"
    declared = {node: targets.declared_targets(node) for node in NODES}  # asking takes 10 ms
    monkeypatch.setattr(targets, "declared_targets", declared.get)
    for node in NODES:
        allowed = own_targets(node)
        assert allowed <= names, "the YAML files name what there is"
        assert [name for name in sorted(names - allowed) if not refused(node, name)] == []


@pytest.mark.parametrize("node", NODES)
def test_the_yaml_files_and_the_list_agree(node: str) -> None:
    texts = {file: file.read_text() for file in CONFIGS.rglob("*.yaml")}
    written = {file: re.findall(r"_target_:\s*([^\s}]+)", text) for file, text in texts.items()}
    assert {name for file, names in written.items() if file.parent.name == node for name in names} == own_targets(node)
    assert not any(names for file, names in written.items() if file.parent.name not in NODES)
    for name in own_targets(node):
        assert target_of(Node(node, name, None, {})).__name__ == name.rpartition(".")[2]


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("target", OUTSIDE, ids=str)
def test_names_from_elsewhere_are_refused(node: str, target: object) -> None:
    if target in list(own_targets(node)):
        return
    with pytest.raises(UserError, match=rf"^{node}\._target_="):
        target_of(Node(node, target, None, {}))


def test_a_node_may_not_name_what_another_node_may() -> None:
    for node in NODES:
        for other in set(NODES) - {node}:
            for name in own_targets(other):
                with pytest.raises(UserError):
                    target_of(Node(node, name, None, {}))
    for node in ("optim", "trainer", "init", "stages", "data.train", ""):
        with pytest.raises(UserError):
            target_of(Node(node, "tasks.ssd.SSD", None, {}))
    with pytest.raises(UserError):
        target_of(Node.read("task", {}))


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package `marked` whose import and whose function each leave a file; returns the folder of those files."""
    left = tmp_path / "left"
    left.mkdir()
    (tmp_path / "marked").mkdir()
    (tmp_path / "marked/__init__.py").write_text(
        f"from pathlib import Path\nPath({str(left / 'imported')!r}).touch()\n"
        f"def called(**more):\n    Path({str(left / 'called')!r}).touch()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "marked", raising=False)
    return left


@pytest.mark.parametrize("node", NODES)
def test_refused_means_neither_imported_nor_called(node: str, marker: Path) -> None:
    with pytest.raises(UserError):
        target_of(Node(node, "marked.called", None, {}))
    assert not list(marker.iterdir()) and "marked" not in sys.modules
    hear(parse_overrides([f"{node}._target_=marked.called"]), carried=True)
    target_of(Node(node, "marked.called", None, {}))
    assert [file.name for file in marker.iterdir()] == ["imported"], "the marker tells of an import"
    sys.modules.pop("marked")


def test_the_command_line_names_one_target_for_one_node() -> None:
    hear(parse_overrides(["data._target_=marked.called"]), carried=True)
    for node, name in (
        ("task", "marked.called"),
        ("data", "marked.calle"),
        ("data", "marked.called.more"),
        ("data", "os.system"),
    ):
        assert not targets.is_allowed(node, name)
    assert targets.is_allowed("data", "marked.called")
    hear([], carried=True)
    assert not targets.is_allowed("data", "marked.called"), "another command has said nothing"


def test_an_installed_package_declares_its_names(tmp_path: Path, marker: Path) -> None:
    about = tmp_path / "marked-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: marked\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[mobilenet_toolkit.data]\nmine = marked:called\n")
    assert target_of(Node("data", "marked.called", None, {})).__name__ == "called"
    assert [file.name for file in marker.iterdir()] == ["imported"]
    for node, name in (("task", "marked.called"), ("data", "marked.Path"), ("data", "marked.other")):
        with pytest.raises(UserError):
            target_of(Node(node, name, None, {}))
    sys.modules.pop("marked")


@pytest.mark.parametrize(
    ("name", "told"),
    [("marked.missing", "does not exist"), ("nowhere.at_all", "does not exist"), ("marked.Path.home", "does not exist"),
     ("marked.__name__", "not a class or function"), ("tasks.shared.errors.Path", "of backbone or tasks")],
)  # fmt: skip
def test_what_the_command_line_names_has_to_be_there(name: str, told: str, marker: Path) -> None:
    hear(parse_overrides([f"task._target_={name}"]), carried=False)
    with pytest.raises(UserError, match=told):
        target_of(Node("task", name, None, {}))
    sys.modules.pop("marked", None)


def test_a_task_has_to_be_one(marker: Path) -> None:
    hear(parse_overrides(["task._target_=marked.called"]), carried=False)
    with pytest.raises(UserError, match="is no task; expected a subclass of Task"):
        task_class(Node("task", "marked.called", None, {}))
    sys.modules.pop("marked")
    assert consent.names_target("task", "marked.called")
