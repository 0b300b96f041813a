"""The arrows between packages: tools -> tasks/<name> -> tasks/shared -> backbone."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(p for folder in ("backbone", "tasks", "tools") for p in (ROOT / folder).rglob("*.py"))
FILE_FORMATS = {"h5py", "tflite", "flatbuffers", "safetensors", "timm", "numpy"}  # what reads published weights


def imported(path: Path) -> set[str]:
    """Every module that a file imports, at the top or inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_follow_the_arrows(path: Path) -> None:
    package, *inner = path.relative_to(ROOT).parts
    modules = imported(path)
    assert not any(m.split(".")[0] == "tools" for m in modules), "nothing imports tools"
    if package == "backbone":
        assert not any(m.split(".")[0] == "tasks" for m in modules)
        third_party = {m.split(".")[0] for m in modules} - {"backbone", "torch"}
        # Inside functions, as tests/backbone/test_import.py sees to.
        optional = FILE_FORMATS if inner[0] in ("sources", "weights.py") else set()
        assert third_party <= sys.stdlib_module_names | optional, "the backbone needs torch alone"
    if package == "tasks" and len(inner) > 1:
        own = inner[0]
        others = {m.split(".")[1] for m in modules if m.startswith("tasks.") and m.count(".") >= 1}
        assert others <= {own, "shared"}, "a task never imports a task; shared imports none"


def test_the_top_level_is_what_the_design_fixes() -> None:
    folders = {p.name for p in ROOT.iterdir() if p.is_dir() and not p.name.startswith(".")}
    assert {"backbone", "tasks", "configs", "tools", "tests", "docs"} <= folders
    assert folders - {"backbone", "tasks", "configs", "tools", "tests", "docs"} <= {
        "data", "runs", "build", "venv", "mobilenet_toolkit.egg-info",
    }  # fmt: skip


EXTRAS = {"onnx", "onnxruntime", "cv2", "h5py", "tflite", "flatbuffers", "mpl_toolkits"}
# Imported only by those who ask for the extra: onnx_model.py and benchmark_inference.py, under `installed_by`.
ASKED_FOR = ("onnx_file", "onnx_graph", "benchmark_onnx")


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_what_an_extra_installs_is_imported_when_it_is_asked_for(path: Path) -> None:
    tree = ast.parse(path.read_text())
    at_once = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    at_once |= {str(node.module) for node in tree.body if isinstance(node, ast.ImportFrom)}
    if path.stem not in ASKED_FOR:
        assert not {name.split(".")[0] for name in at_once} & EXTRAS
        assert not {name.split(".")[-1] for name in at_once} & set(ASKED_FOR)


def test_one_file_knows_the_library_of_cells() -> None:
    """It is one person's port of Google's, and may have to be changed for another."""
    assert [path.name for path in SOURCES if "s2rst" in {m.split(".")[0] for m in imported(path)}] == ["s2.py"]


# Of tasks/shared, from the bottom up: a package imports those of earlier lines, inside functions too.
LAYERS = (
    ("errors", "terminal", "samples"),
    ("contract", "files", "images"),
    ("config", "processes"),
    ("data", "records"),
    ("network",),
    ("distillation", "inference", "paper"),
    ("training", "detection", "classification"),
    ("faces", "commands", "benchmark"),
)


def test_packages_of_shared_import_those_below_them_alone() -> None:
    """So there are no circles. Prints what the table in docs/architecture.md has."""
    shared = ROOT / "tasks/shared"
    level = {name: number for number, names in enumerate(LAYERS) for name in names}
    assert {
        p.stem for p in shared.iterdir() if not p.name.startswith("_") and (p.is_dir() or p.suffix == ".py")
    } == set(level)
    edges = set()
    for path in shared.rglob("*.py"):
        own = path.relative_to(shared).parts[0].removesuffix(".py")
        for module in imported(path):
            if module.startswith("tasks.shared.") and (other := module.split(".")[2]) != own:
                assert level[other] < level[own], f"{path}: {own} imports {module}"
                edges.add((own, other))
    loose = [p for p in shared.glob("*.py") if p.stem != "__init__"]
    assert {p.stem for p in loose} == {"contract", "errors"}
    print(f"{len(loose)} loose files, {len(level) - len(loose)} packages, {len(edges)} edges between them")


RAW = {"config", "composed", "run", "job", "stage", "node", "keys"}  # what raw configs are called
KEYS = {folder.name for folder in (ROOT / "configs").iterdir()} | {"resolution", "seed", "output", "init", "freeze"}
MOST_RAW = 6  # files that take them apart; below `commands` configs are dataclasses


def reads_raw_config(path: Path) -> bool:
    """Whether a file reads keys by their names, of a config as plain data or as composed, or of a node's arguments."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            if isinstance(node.slice.value, str) and name_of(node.value) in RAW:
                return True
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
            of = node.func.value
            if name_of(of) in RAW or (isinstance(of, ast.Attribute) and of.attr == "arguments"):
                return True
        elif isinstance(node, ast.FunctionDef):
            composed = {a.arg for a in node.args.args if a.annotation and "DictConfig" in ast.unparse(a.annotation)}
            if any(isinstance(n, ast.Attribute) and name_of(n.value) in composed and n.attr in KEYS
                   for n in ast.walk(node)):  # fmt: skip
                return True
    return False


def name_of(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def test_few_files_read_a_raw_config() -> None:
    raw = [str(p.relative_to(ROOT)) for p in SOURCES if not p.is_relative_to(ROOT / "backbone") and reads_raw_config(p)]
    print(f"{len(raw)} files read a raw config: {', '.join(raw)}")
    assert len(raw) <= MOST_RAW, raw


def test_the_command_line_is_read_once_and_never_written() -> None:
    """What processes and libraries have to be told, they are told by arguments and the environment."""
    assert [p.name for p in SOURCES if "sys.argv" in p.read_text()] == ["cli.py"]


def test_the_core_imports_no_paper_and_no_benchmark() -> None:
    """What shows the paper's tables and what measures speed may go, and nothing else changes."""
    extras = ("paper", "benchmark")
    core = [p for p in (ROOT / "tasks").rglob("*.py") if not {*p.parts} & {*extras} and "benchmark" not in p.stem]
    for path in core:
        found = [m for m in imported(path) if m.startswith(tuple(f"tasks.shared.{each}" for each in extras))]
        assert not found, f"{path}: {found}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_stay_readable(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 320
