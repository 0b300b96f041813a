"""What a run shows at its end: a table of figures and the curves of training."""

import csv
import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from tasks.shared.errors import UserError
from tasks.shared.files.writing import save_figure
from tasks.shared.terminal.escaped import in_diagram
from tasks.shared.terminal.tables import PlainTable

log = logging.getLogger(__name__)
MOST = 1 << 26  # bytes of a log: some million steps


def print_metrics(metrics: dict[str, float]) -> None:
    """The figures as a table, those of single classes (`AP/<class>`) below the others."""
    table = PlainTable("metric", "value")
    for name, value in sorted(metrics.items(), key=lambda item: "/" in item[0]):
        table.add_row(name, f"{value:.4f}")
    Console().print(table)


def draw_curves(output: Path, metrics: Sequence[str]) -> None:
    """Loss and these validation metrics over the steps, from the logs of a run, as curves.png."""
    from matplotlib.figure import Figure

    files = [file for file in output.glob("logs/version_*/metrics.csv") if file.parent.name[8:].isdecimal()]
    rows = []
    for file in sorted(files, key=lambda file: int(file.parent.name[8:])):
        try:
            rows += read_curves(file)
        except UserError as error:  # curves are no reason to lose the end of a run
            log.warning("warning: %s; curves.png is drawn without it", error)
    names = sorted({name for row in rows for name in row if name.startswith("train/")})
    scores = [name for name in (f"val/{metric}" for metric in metrics) if any(name in row for row in rows)]
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, group, label in zip(figure.subplots(1, 2), (names, scores), ("training loss", "validation"), strict=True):
        for name in group:
            points = [(row["step"], row[name]) for row in rows if name in row]
            axes.plot(*zip(*points, strict=True), marker="o" if group is scores else "", label=in_diagram(name))
        axes.set(xlabel="step", title=label)
        if group:
            axes.legend()
        axes.grid(alpha=0.3)
    save_figure(output / "curves.png", figure, "output", dpi=110)


def read_curves(file: Path) -> list[dict[str, float]]:
    """The rows of a metrics.csv. Those that a killed process wrote in part are left out. Raises UserError."""
    rows = []
    try:
        if not file.is_file() or file.stat().st_size > MOST:
            raise UserError(f"{file}: cannot be read; expected a file of at most {MOST:,} bytes")
        with file.open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                if None not in row and None not in row.values():
                    with suppress(ValueError):
                        rows.append({name: float(value) for name, value in row.items() if value})
    except (OSError, UnicodeError, csv.Error) as error:
        raise UserError(f"{file}: cannot be read ({error})") from error
    return [row for row in rows if "step" in row]
