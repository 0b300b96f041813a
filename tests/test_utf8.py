"""Every text file is read and written as UTF-8, whatever the locale, because the call says so."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [p for folder in ("backbone", "tasks", "tools") for p in sorted((ROOT / folder).rglob("*.py"))]
OTHERS = ("Image.open", "os.open", "tarfile.open", "archive.open")  # of images, bytes and archives


def unsaid(tree: ast.AST) -> Iterator[int]:
    """The lines of calls that open a text file without saying its encoding."""
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call) or any(keyword.arg == "encoding" for keyword in call.keywords):
            continue
        name = ast.unparse(call.func)
        modes = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        reads = name.endswith(".read_text") and not call.args
        writes = name.endswith(".write_text") and len(call.args) == 1
        opens = name.split(".")[-1] in ("open", "fdopen") and name not in OTHERS and not any("b" in m for m in modes)
        if reads or writes or opens:
            yield call.lineno


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_text_files_say_their_encoding(path: Path) -> None:
    assert list(unsaid(ast.parse(path.read_text(encoding="utf-8")))) == []


def test_calls_without_an_encoding_are_found() -> None:
    wrong = "p.read_text()\np.write_text(x)\nopen(p)\np.open('w', newline='')\nopen(p, 'r')\n"
    right = "p.read_text('utf-8')\np.write_text(x, encoding='utf-8')\nopen(p, 'rb')\nImage.open(p)\nwrite_text(p, x)\n"
    assert list(unsaid(ast.parse(wrong))) == [1, 2, 3, 4, 5]
    assert list(unsaid(ast.parse(right))) == []
