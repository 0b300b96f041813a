"""What the tools answer before anything heavy is imported, in processes of their own."""

import sys

import pytest

from tasks.shared.benchmark.startup import CASES, HEAVY, heavy_modules
from tasks.shared.benchmark.suite import SUITES
from tests.tools.conftest import TOOLS

NAMES = sorted(file.stem for file in TOOLS.glob("*.py"))


def command(name: str, *arguments: str) -> list[str]:
    return [sys.executable, str(TOOLS / f"{name}.py"), *arguments]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("argument", ["--help", "no.such.key=1"])
def test_help_and_typos_import_nothing_heavy(name: str, argument: str) -> None:
    assert heavy_modules(command(name, argument)) == []


@pytest.mark.parametrize("arguments", CASES.values(), ids=CASES)
def test_missing_paths_are_told_before_anything_heavy_is_imported(arguments: list[str]) -> None:
    assert heavy_modules(command(arguments[0].removesuffix(".py"), *arguments[1:])) == []


def test_heavy_modules_are_seen() -> None:
    code = "import matplotlib, tasks.shared.commands.cli"
    assert heavy_modules([sys.executable, "-c", code]) == ["matplotlib"]
    assert "torch" in HEAVY and SUITES["startup"].endswith("startup_suite")
