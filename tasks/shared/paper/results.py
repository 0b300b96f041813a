"""The paper's tables with our figures beside the printed ones, every one counted and judged."""

from collections.abc import Collection
from fractions import Fraction

from tasks.shared.paper import applications, imagenet, table1
from tasks.shared.paper.accuracy import Accuracies
from tasks.shared.paper.counting import READINGS, Count, Counter
from tasks.shared.paper.rows import Network, Preset, Printed, Table
from tasks.shared.paper.sheets import Figure, Line, Sheet
from tasks.shared.paper.verdict import Number, judge

TABLES = (*imagenet.TABLES, *applications.TABLES)
NUMBERS = (1, *(table.number for table in TABLES))


def fill_tables(numbers: Collection[int], counter: Counter, accuracies: Accuracies | None = None) -> list[Sheet]:
    """These of the paper's tables; accuracies: of our runs, whose column is empty without them."""
    sheets = [table1.sheet(counter)] if 1 in numbers else []
    return sheets + [_sheet(table, counter, accuracies) for table in TABLES if table.number in numbers]


def _sheet(table: Table, counter: Counter, accuracies: Accuracies | None) -> Sheet:
    lines = []
    for row in table.rows:
        counts = _counts(row.mult_adds, row.network, counter), _counts(row.parameters, row.network, counter)
        figures = {
            "mult-adds": _figure(row.mult_adds, table.units[0], [count.mult_adds for count in counts[0]]),
            "parameters": _figure(row.parameters, table.units[1], [count.parameters for count in counts[1]]),
        }
        experiment = row.network.experiment if isinstance(row.network, Preset) else ""
        found = accuracies.of(row, table) if accuracies else ()
        lines.append(Line(row.name, experiment, figures, row.accuracy, found, row.notes))
    return Sheet(table.number, table.title, tuple(lines), table.accuracy)


def _counts(printed: Printed | None, network: Network | None, counter: Counter) -> list[Count]:
    """By each reading of the figure; empty where there is nothing to count."""
    if printed is None or network is None:
        return []
    return [READINGS[reading](counter, network) for reading in printed.readings]


def _figure(printed: Printed | None, unit: str, counts: list[Number]) -> Figure:
    if printed is None:
        return Figure(None)
    if not counts:
        return Figure(None, printed.text, unit, "not rebuilt")
    ours = float(100 * counts[0]) if isinstance(counts[0], Fraction) else counts[0]
    if not printed.text:
        return Figure(ours)
    return Figure(ours, printed.text, unit, *judge(printed, unit, counts))
