"""The paper's Figures 4 and 5: accuracy over mult-adds, and over parameters, of runs; without runs, the costs alone."""

import logging
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from tasks.shared.errors import UserError
from tasks.shared.files.writing import make_folder, probe_folder, save_figure
from tasks.shared.paper.labels import label_points
from tasks.shared.paper.points import (
    COUNTED,
    PAPER,
    Point,
    counted_points,
    order,
    paper_points,
    print_points,
    run_point,
)
from tasks.shared.paper.settings import FiguresConfig
from tasks.shared.records.runs import find_runs

log = logging.getLogger(__name__)
TASK = "classification"
MULT_ADDS, PARAMETERS, ACCURACY = "mult-adds (millions)", "parameters (millions)", "top-1 accuracy (%)"
# Each series has its own of all three, so that it is told apart without colour too. Colours: Okabe and Ito's.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES = ("-", "--", "-.", ":")
FILLS = ("full", "left", "bottom", "right", "top")  # of markers: a data set each; the paper's are hollow
MARKER: dict[str, Any] = {"markersize": 7, "markerfacecoloralt": "white"}


def draw_figures(config: FiguresConfig) -> list[Path]:
    """Write figure4 and figure5, .png and .svg, of the classification runs below the folder `runs`, and print these.

    runs: None draws figure4_cost and figure5_cost: the 16 models without accuracies, so `paper` adds nothing.
    output: a folder; `runs` if None. Returns the two .png. Raises UserError for arguments and runs that will not do.
    """
    runs, output = config.runs, config.output
    if runs is None and output is None:
        raise UserError("runs and output are not set; give runs=..., or output=... for figures of costs alone")
    folder = Path(output or str(runs))
    if folder.exists() and not folder.is_dir():
        raise UserError(f"output={folder} is a file; expected a folder")
    probe_folder("output", folder)
    if runs is None:
        points = counted_points()
        figures = {"figure4_cost": cost_figure_4(points), "figure5_cost": cost_figure_5(points)}
    else:
        points = sorted((run_point(run, Path(runs)) for run in find_runs(Path(runs), TASK)), key=order)
        print_points(points)
        points += paper_points() if config.paper else []
        figures = {"figure4": figure_4(points), "figure5": figure_5(points)}
    make_folder(folder, "output")
    for name, figure in figures.items():
        write_figure(figure, folder / name)
    return [folder / f"{name}.png" for name in figures]


def write_figure(figure: Figure, path: Path) -> None:
    """As .png and .svg, the same bytes each time."""
    with rc_context({"svg.hashsalt": path.name}):
        for suffix, metadata in (("png", {}), ("svg", {"Date": None})):
            file = path.with_name(f"{path.name}.{suffix}")
            save_figure(file, figure, "output", dpi=150, metadata=metadata)
            log.info("written: %s", file)


def figure_4(points: Sequence[Point]) -> Figure:
    """Accuracy over mult-adds; a series is a width multiplier, its points are resolutions."""
    figure, axes = _axes(MULT_ADDS, ACCURACY)
    _draw(axes, {p: (p.mult_adds, p.top1) for p in points}, _by_width(points))
    return figure


def figure_5(points: Sequence[Point]) -> Figure:
    """Accuracy over parameters; a series is a resolution, as the paper colours them."""
    figure, axes = _axes(PARAMETERS, ACCURACY)
    _draw(axes, {p: (p.parameters, p.top1) for p in points}, _by_resolution(points))
    return figure


def cost_figure_4(points: Sequence[Point]) -> Figure:
    """Figure 4 without accuracies: resolution over mult-adds."""
    figure, axes = _axes(MULT_ADDS, "resolution (pixels)")
    axes.set_yticks(sorted({p.resolution for p in points}))
    _draw(axes, {p: (p.mult_adds, p.resolution) for p in points}, _by_width(points))
    return figure


def cost_figure_5(points: Sequence[Point]) -> Figure:
    """Figure 5 without accuracies: mult-adds over parameters."""
    figure, axes = _axes(PARAMETERS, MULT_ADDS)
    axes.set_yscale("log")
    _plain_numbers(axes.yaxis)
    _draw(axes, {p: (p.parameters, p.mult_adds) for p in points}, _by_resolution(points))
    return figure


def _by_width(points: Sequence[Point]) -> dict[Point, tuple[Any, ...]]:
    return {p: (p.variant, -(p.alpha or 0), f"alpha = {p.width}" if p.alpha else p.width) for p in points}


def _by_resolution(points: Sequence[Point]) -> dict[Point, tuple[Any, ...]]:
    return {p: (-p.resolution, f"{p.resolution} pixels") for p in points}


def _axes(x: str, y: str) -> tuple[Figure, Axes]:
    """x on a log axis."""
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=x, ylabel=y, xscale="log")
    _plain_numbers(axes.xaxis)
    axes.margins(0.1)
    axes.grid(alpha=0.3)
    return figure, axes


def _plain_numbers(axis: Axis) -> None:
    """1, 2, 5, 10 ... on a log axis."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def _draw(axes: Axes, positions: dict[Point, tuple[float, float]], series: dict[Point, tuple[Any, ...]]) -> None:
    """A line through the points of each source, variant and series, each point labelled; and the legend.

    positions: x and y. series: what it is sorted by, and last its name.
    """
    sources = sorted({p.source for p in positions}, key=lambda source: (source == PAPER, source))
    fills: dict[str, Any] = dict(zip(sources, cycle(FILLS), strict=False)) | {PAPER: "none"}
    names = sorted(set(series.values()))
    styles: dict[tuple[Any, ...], dict[str, Any]] = {
        name: {"marker": marker, "color": colour, "linestyle": line}
        for name, marker, colour, line in zip(names, cycle(MARKERS), cycle(COLOURS), cycle(LINES), strict=False)
    }
    groups: dict[tuple[Any, ...], list[Point]] = {}
    for point in sorted(positions, key=lambda p: positions[p]):
        groups.setdefault((point.source, point.variant, series[point]), []).append(point)
    for (source, _, name), group in groups.items():
        xs, ys = zip(*(positions[p] for p in group), strict=True)
        look = MARKER | {"fillstyle": fills[source], "linewidth": 0.8, "label": source} | styles[name]
        axes.plot(xs, ys, **look)
    shown = [source for source in sources if source != COUNTED]  # which has the figure for itself
    handles = [Line2D([], [], **MARKER, fillstyle=fills[s], marker="o", color="black", ls="", label=s) for s in shown]
    handles += [Line2D([], [], **MARKER, **styles[name], label=name[-1]) for name in names]
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    figure.legend(handles=handles, loc="outside upper center", ncols=4, handlelength=3.5, frameon=False)
    labelled = sorted(positions, key=lambda p: p.source == PAPER)
    label_points(
        figure, axes, [(*positions[p], p.label, "dimgray" if p.source == PAPER else "black") for p in labelled]
    )
