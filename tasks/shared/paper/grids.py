"""Tables of texts, and how they are written: for a terminal, or as Markdown."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rich.box import SIMPLE
from rich.console import Console
from rich.text import Text

from tasks.shared.paper.sheets import Figure, Line, Sheet, State
from tasks.shared.terminal.escaped import escaped
from tasks.shared.terminal.tables import PlainTable

STYLES: dict[State, str] = {"equal": "green", "differs": "yellow", "alarm": "bold red", "": ""}
UNLIMITED = 1000  # columns of what is no terminal


@dataclass(frozen=True)
class Cell:
    """A text, and of a verdict what it says."""

    text: str
    state: State = ""


@dataclass(frozen=True)
class Grid:
    """A table: rows with a cell for each of the headers; notes are numbered from 1, as the rows refer to them."""

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()

    def is_numeric(self, column: int) -> bool:
        """Whether numbers alone stand in a column; the first is of names."""
        texts = [row[column].text for row in self.rows]
        return column > 0 and all(re.fullmatch(r"([\d,.]+( [%MB])?)?", text) for text in texts)


def sheet_grid(sheet: Sheet) -> Grid:
    """A table of the paper with ours: three columns a figure, and two for accuracies."""
    headers = ["row"]
    for name in sheet.columns:
        headers += [f"{name}, ours", "paper", "verdict"]
    headers += [f"{sheet.accuracy}, ours", "paper"] if sheet.accuracy else []
    rows = []
    for line in sheet.lines:
        cells = [Cell(_marked(line, sheet))]
        for figure in (line.figures[name] for name in sheet.columns):
            cells += [Cell(_ours(figure)), _paper(figure), Cell(figure.verdict, figure.state)]
        if sheet.accuracy:
            cells += [Cell(_found(line)), Cell(line.accuracy)]
        rows.append([*cells, Cell(line.experiment)])
    return Grid(f"Table {sheet.number}: {sheet.title}", [*headers, "experiment="], rows, sheet.notes)


def sheet_lines(sheet: Sheet) -> Grid:
    """The same for narrow terminals: a line for each figure of a row, and its experiment below its name."""
    rows = []
    for line in sheet.lines:
        lines = [
            [Cell(name), Cell(_ours(figure)), _paper(figure), Cell(figure.verdict, figure.state)]
            for name, figure in line.figures.items()
            if _ours(figure) or figure.paper
        ]
        if line.accuracy:
            lines.append([Cell(sheet.accuracy), Cell(_found(line)), Cell(line.accuracy), Cell("")])
        names = [Cell(_marked(line, sheet)), Cell(f"  {line.experiment}"), Cell("")]
        rows += [[name, *cells] for name, cells in zip(names, lines, strict=False)]
    return Grid(f"Table {sheet.number}: {sheet.title}", ("row", "of", "ours", "paper", "verdict"), rows, sheet.notes)


def _marked(line: Line, sheet: Sheet) -> str:
    """Its name, and the numbers of its notes."""
    return line.name + "".join(f" [{sheet.notes.index(note) + 1}]" for note in line.notes)


def _paper(figure: Figure) -> Cell:
    return Cell(f"{figure.paper} {figure.unit}".strip())


def _found(line: Line) -> str:
    return ", ".join(f"{found.percent:.1f} ({found.data})" for found in line.found)


def _ours(figure: Figure) -> str:
    if isinstance(figure.ours, float):
        return f"{figure.ours:.2f} %"
    return f"{figure.ours:,}" if isinstance(figure.ours, int) else figure.ours or ""


def as_markdown(grid: Grid) -> str:
    """What should not be is bold."""

    def line(texts: Sequence[str]) -> str:
        return f"| {' | '.join(texts)} |"

    rules = ["--:" if grid.is_numeric(column) else "---" for column in range(len(grid.headers))]
    rows = [[f"**{cell.text}**" if cell.state == "alarm" else cell.text for cell in row] for row in grid.rows]
    notes = [f"{number}. {note}" for number, note in enumerate(grid.notes, 1)]
    lines = [f"## {grid.title}", "", line(grid.headers), line(rules), *map(line, rows)]
    return escaped("\n".join([*lines, *([""] if notes else []), *notes]) + "\n")


def as_text(grids: Sequence[Grid], terminal: bool) -> str:
    """For people. terminal: coloured and as wide as it; the words alone say all."""
    console = Console(force_terminal=True) if terminal else Console(width=UNLIMITED, no_color=True)
    with console.capture() as capture:
        for grid in grids:
            console.print(escaped(f"\n{grid.title}"), style="bold", markup=False, highlight=False, emoji=False)
            table = PlainTable(box=SIMPLE)
            for column, header in enumerate(grid.headers):
                numeric = grid.is_numeric(column)
                whole = numeric or column == 0
                table.add_column(header, justify="right" if numeric else "left", no_wrap=whole, overflow="fold")
            for row in grid.rows:
                table.add_row(*(Text(cell.text, STYLES[cell.state]) for cell in row))
            console.print(table)
            for number, note in enumerate(grid.notes, 1):
                console.print(escaped(f"  {number}. {note}"), markup=False, highlight=False, emoji=False)
    return capture.get()
