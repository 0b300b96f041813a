"""Running the tools inside the test process, which saves importing torch for each."""

import importlib.util
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tasks.shared.commands.cli import run_tool

TOOLS = Path(__file__).parents[2] / "tools"
# A run of seconds: eight drawn images, a quarter of the width, 64 pixels.
TINY = (
    "task=ssd", "backbone.alpha=0.25", "resolution=64", "data.train=8", "data.val=4", "data.batch_size=4",
    "data.workers=0", "trainer.accelerator=cpu", "trainer.max_epochs=2", "trainer.val_every_epochs=1",
)  # fmt: skip


class ToolResult(NamedTuple):
    """How a tool ended: exit status, standard output, and the message it ended with."""

    status: int
    out: str
    message: str


Tool = Callable[..., ToolResult]


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Tool]:
    """`tool("train", "task=ssd", ...)` runs tools/train.py with these arguments."""
    root = logging.getLogger()
    before = root.level, list(root.handlers)

    def run(name: str, *arguments: str) -> ToolResult:
        spec = importlib.util.spec_from_file_location(f"tool_{name}", TOOLS / f"{name}.py")
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, "argv", [f"tools/{name}.py", *arguments])
        monkeypatch.setattr("tasks.shared.commands.cli.prepare_process", lambda: None)  # its signals would be pytest's
        command = {"eval": "evaluate"}.get(name, name)
        status, message = 0, ""
        try:
            run_tool(name, module.__doc__ or "", getattr(module, command))
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 1
            message = "" if isinstance(stop.code, int | None) else str(stop.code)
        return ToolResult(status, capsys.readouterr().out, message)

    yield run
    root.setLevel(before[0])
    root.handlers = before[1]  # a tool's log is its process's


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished tiny run."""
    import subprocess

    folder = tmp_path_factory.mktemp("tiny")
    run = folder / "run"
    subprocess.run(
        [sys.executable, TOOLS / "train.py", *TINY, f"data.root={folder}/sample", f"output={run}"],
        check=True, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    return run
