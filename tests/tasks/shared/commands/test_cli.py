"""What errors, the log and tables show on a terminal."""

import io
import logging
import re
from pathlib import Path

import pytest
from rich.console import Console

import tasks
from tasks.shared.commands.cli import Lines, text_of
from tasks.shared.errors import UserError
from tasks.shared.paper.grids import Grid, as_markdown, as_text
from tasks.shared.records.report import print_metrics
from tasks.shared.terminal.tables import PlainTable


def test_what_a_file_holds_does_not_steer_the_terminal() -> None:
    error = UserError("classes.txt: '\x1b]0;owned\x07', 'Größe', '\udcff'\nsecond line")
    assert text_of(error) == "classes.txt: '\\x1b]0;owned\\x07', 'Größe', '\\udcff'\nsecond line"


def test_what_a_file_holds_does_not_fill_the_terminal() -> None:
    told = text_of(UserError("a.csv: lat=" + "9" * 100_000 + " is no number"))
    assert len(told) < 300 and told.startswith("a.csv: lat=9") and told.endswith("... is no number")


HOSTILE = (
    "AP/[/x]",
    "[link=file:///etc/passwd]a[/link]",
    "[red]a[/]",
    "\x1b]0;owned\x07",
    "a\x9b31m",
    "\\[b]",
    ":skull:",
    "\u202eb",
)


def shown(name: str) -> str:
    """Every sign of it, those that are not to be read as Python writes them."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)


@pytest.mark.parametrize("name", HOSTILE)
def test_names_of_classes_are_texts_in_tables(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """rich would follow its markup in them, and end a run that is trained, for a closing tag, with a traceback."""
    print_metrics({name: 0.5})
    assert f" {shown(name)} " in capsys.readouterr().out
    table = PlainTable(name, title=name)
    table.add_column(name)
    table.add_row(name, name)
    stream = io.StringIO()
    Console(file=stream, force_terminal=True, width=200).print(table)
    told = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())  # rich's own colours
    assert told.count(shown(name)) == 5 and "\x1b" not in told and "\x9b" not in told


@pytest.mark.parametrize("name", HOSTILE)
def test_names_in_the_log_are_texts(name: str) -> None:
    stream = io.StringIO()
    record = logging.LogRecord("a", logging.INFO, "f", 1, "skipped %s\nand this", (name,), None)
    Lines(stream).handle(record)
    assert stream.getvalue() == f"skipped {shown(name)}\nand this\n"


@pytest.mark.parametrize("name", HOSTILE)
def test_names_of_runs_are_texts_in_the_papers_tables(name: str) -> None:
    grid = Grid(name, ["a", name], [], (name,))
    for told in (as_text([grid], terminal=False), as_markdown(grid)):
        assert told.count(shown(name)) == 3


def test_no_other_table_is_made() -> None:
    sources = [file for file in Path(tasks.__path__[0]).rglob("*.py") if "rich.table" in file.read_text("utf-8")]
    assert [file.name for file in sources] == ["tables.py"]
