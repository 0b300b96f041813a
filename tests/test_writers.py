"""Whatever writes goes through tasks/shared/files/writing.py: a file is whole or not there, and a full disk is told."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(p for folder in ("tasks", "tools") for p in (ROOT / folder).rglob("*.py"))
METHODS = {
    "write_text", "write_bytes", "save", "savefig", "savez", "savez_compressed", "save_file", "write_table", "touch",
    "ParquetWriter", "savemat", "VideoWriter", "mkdir", "makedirs", "mkdtemp", "mkstemp", "NamedTemporaryFile",
    "TemporaryDirectory", "dump", "to_csv", "tofile", "replace_file", "SummaryWriter", "CSVLogger",
}  # fmt: skip
# What each file may call by itself, and why that is as safe.
SAMPLE = {"mkdir", "write_text", "write_bytes", "open", "savemat"}  # inside keep_sample's whole_folder
ALLOWED = {
    "shared/files/writing.py": {"mkdir", "write_bytes", "open", "TemporaryDirectory", "save", "savefig"},
    "shared/data/sample_folder.py": {"write_text"},  # inside whole_folder
    "classification/sample.py": SAMPLE,
    "dogs/sample.py": SAMPLE,
    "planet/sample.py": SAMPLE,
    "shared/detection/sample.py": SAMPLE,
    "shared/faces/sample.py": SAMPLE,
    "shared/records/checkpoint.py": {"save", "open"},  # into whole_file
    "shared/records/curves.py": {"open", "save"},  # appends all or nothing; its own name
    "shared/data/shards.py": {"ParquetWriter", "write_table"},  # into whole_file
    "dogs/scan.py": {"write_table"},  # into whole_file
    "facenet/embeddings.py": {"savez", "write_table"},  # into whole_file
    "shared/inference/video.py": {"VideoWriter"},  # into whole_file, and read again
    "shared/training/score.py": {"save", "write_bytes"},  # an evaluator's; images, inside whole_folder
    "shared/inference/convert.py": {"mkdir", "write_text", "save"},  # inside whole_folder; `save` gives bytes
    "planet/prepare.py": {"save"},  # Cells
    "shared/distillation/cache.py": {"mkdir", "write_text", "open", "TemporaryDirectory"},  # reserves room, and tells
    "shared/samples/drawn_photos.py": {"save"},  # into memory
    "shared/processes/ranks.py": {"open"},  # a sign between processes
    "shared/training/stages.py": {"mkdir"},  # told beside its lock
    "shared/training/train.py": {"mkdir"},  # the run's folder is claimed
    "shared/benchmark/input.py": {"TemporaryDirectory", "write_bytes"},  # scratch; benchmark.py tells of TMPDIR
    "classification/benchmark_run.py": {"TemporaryDirectory", "mkdir"},
}


def writes(source: Path) -> set[str]:
    """The calls of a file that write."""
    found = set()
    for node in ast.walk(ast.parse(source.read_text("utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name == "open":
            given = [*node.args, *(k.value for k in node.keywords if k.arg == "mode")]
            modes = [set(a.value) for a in given if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            if any(mode <= set("rwaxbt+") and mode & set("wax+") for mode in modes):
                found.add(name)
        elif name in METHODS and isinstance(node.func, ast.Attribute | ast.Name):
            ours = isinstance(node.func, ast.Name) and name in ("write_text", "write_bytes")
            if not ours:
                found.add(name)
    return found


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_writes_past_the_writer(source: Path) -> None:
    allowed = ALLOWED.get(source.relative_to(ROOT / "tasks").as_posix(), set()) if "tasks" in source.parts else set()
    assert writes(source) <= allowed, "use tasks/shared/files/writing.py, or say here why this is as safe"


def test_the_search_finds_what_writes(tmp_path: Path) -> None:
    lines = ["p.write_text('')", "open(p, 'w')", "p.open('xb')", "open(p, mode='a')", "plt.savefig(p)", "p.open('r+b')"]
    for line in lines:
        (tmp_path / "a.py").write_text(line)
        assert writes(tmp_path / "a.py"), line
    for line in ("p.read_text()", "open(p)", "open(p, 'rb')", "write_text(p, '')", "p.open(encoding='utf-8')"):
        (tmp_path / "a.py").write_text(line)
        assert not writes(tmp_path / "a.py"), line
