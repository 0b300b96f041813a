"""What a run shows at its end: a table of figures and the curves of training."""

import csv
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tasks.shared.writing import save_figure


def print_metrics(metrics: dict[str, float]) -> None:
    """The figures as a table, those of single classes (`AP/<class>`) below the others."""
    table = Table("metric", "value")
    for name, value in sorted(metrics.items(), key=lambda item: "/" in item[0]):
        table.add_row(name, f"{value:.4f}")
    Console().print(table)


def draw_curves(output: Path, metrics: Sequence[str]) -> None:
    """Loss and these validation metrics over the steps, from the logs of a run, as curves.png."""
    from matplotlib.figure import Figure

    rows: list[dict[str, str]] = []
    for file in sorted(output.glob("logs/version_*/metrics.csv"), key=lambda p: int(p.parent.name.split("_")[1])):
        with file.open(encoding="utf-8", newline="") as lines:
            rows += csv.DictReader(lines)
    names = sorted({name for row in rows for name, value in row.items() if value and name.startswith("train/")})
    scores = [n for n in (f"val/{m}" for m in metrics) if any(row.get(n) for row in rows)]
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, group, label in zip(figure.subplots(1, 2), (names, scores), ("training loss", "validation"), strict=True):
        for name in group:
            points = [(int(row["step"]), float(row[name])) for row in rows if row.get(name)]
            axes.plot(*zip(*points, strict=True), marker="o" if group is scores else "", label=name)
        axes.set(xlabel="step", title=label)
        if group:
            axes.legend()
        axes.grid(alpha=0.3)
    save_figure(output / "curves.png", figure, "output", dpi=110)
