"""The paper's Figures 4 and 5 of classification runs: accuracy over mult-adds, and over parameters."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle, groupby
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tasks.shared.errors import UserError, check_place
from tasks.shared.labels import label_points
from tasks.shared.runs import METRICS, Run, class_count, find_runs, network_cost

TASK = "classification"
PAPER = "paper, ImageNet"
# The networks of Figures 4 and 5 whose accuracy the paper prints:
# alpha, resolution, million mult-adds, million parameters, top-1 accuracy in percent.
PAPER_POINTS = (
    (1.0, 224, 569, 4.2, 70.6),  # Tables 6 and 7
    (0.75, 224, 325, 2.6, 68.4),  # Table 6
    (0.5, 224, 149, 1.3, 63.7),  # Table 6
    (0.25, 224, 41, 0.5, 50.6),  # Table 6
    (1.0, 192, 418, 4.2, 69.1),  # Table 7
    (1.0, 160, 290, 4.2, 67.2),  # Table 7
    (1.0, 128, 186, 4.2, 64.4),  # Table 7
    (0.5, 160, 76, 1.32, 60.2),  # Table 9
)
# Each series has its own of all three, so that it is told apart without colour too. Colours: Okabe and Ito's.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES = ("-", "--", "-.", ":")
FILLS = ("full", "left", "bottom", "right", "top")  # of markers: a data set each; the paper's are hollow
MARKER: dict[str, Any] = {"markersize": 7, "markerfacecoloralt": "white"}


@dataclass(frozen=True)
class Point:
    """A network in the figures.

    source: whose it is, and on which data. variant: empty for MobileNet as Table 1 has it. folder: the run's, within
        the one that was searched.
    mult_adds, parameters: in millions; parameters are weights, without biases and batch norm, as the paper counts.
    top1, top5: accuracies in percent.
    """

    source: str
    alpha: float | None
    resolution: int
    mult_adds: float
    parameters: float
    top1: float
    top5: float | None = None
    variant: str = ""
    folder: str = ""

    @property
    def width(self) -> str:
        """The network without its resolution: `"0.5"`, `"0.5 shallow"`, `"resnet18"`."""
        return " ".join(str(part) for part in (self.alpha, self.variant) if part)

    @property
    def label(self) -> str:
        """As the paper names its models: `"0.5-160"`."""
        return "-".join(str(part) for part in (self.alpha, self.variant, self.resolution) if part)


def draw_figures(runs: str, output: str | None, paper: bool) -> None:
    """Print a table of the classification runs below the folder `runs`; write figure4 and figure5, .png and .svg.

    output: a folder; `runs` if None. Raises UserError for arguments and runs that will not do.
    """
    if not isinstance(paper, bool):
        raise UserError(f"paper={paper!r}; expected true or false")
    folder = Path(output or runs)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"output={folder} is a file; expected a folder")
    check_place("output", folder)
    ours = sorted((run_point(run, Path(runs)) for run in find_runs(Path(runs), TASK)), key=_order)
    print_points(ours)
    points = ours + ([Point(PAPER, *numbers) for numbers in PAPER_POINTS] if paper else [])
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in (("figure4", figure_4(points)), ("figure5", figure_5(points))):
        for suffix in ("png", "svg"):
            figure.savefig(folder / f"{name}.{suffix}", dpi=150)
            print(f"written: {folder / name}.{suffix}")


def run_point(run: Run, folder: Path) -> Point:
    """A run below `folder` as a point, its cost counted on its network."""
    for name in ("top1", "top5"):
        if (name == "top1" and name not in run.metrics) or not 0 <= run.metrics.get(name, 0) <= 1:
            raise UserError(f"{run.path / METRICS}: {name}={run.metrics.get(name)}; expected an accuracy of 0 to 1")
    classes, backbone = class_count(run), run.config["backbone"]
    cost = network_cost(run.config, classes)
    alpha = backbone.get("alpha")
    return Point(
        source=f"ours, {run.config['data'].get('choice')} ({classes} classes)",
        alpha=None if alpha is None else float(alpha),
        resolution=run.config["resolution"],
        mult_adds=cost.mult_adds / 1e6,
        parameters=cost.weights / 1e6,
        top1=100 * run.metrics["top1"],
        top5=100 * run.metrics["top5"] if "top5" in run.metrics else None,
        variant=_variant(backbone),
        folder=str(run.path.relative_to(folder)),
    )


def _variant(backbone: dict[str, Any]) -> str:
    if "alpha" not in backbone:
        return str(backbone.get("name", backbone.get("_target_")))
    names = ["conv"] if backbone.get("block") == "conv" else []  # Table 4
    names += ["shallow"] if backbone.get("shallow") else []  # Table 5
    depth = backbone.get("depth_multiplier", 1)
    return " ".join([*names, f"depth {depth}"] if depth != 1 else names)


def _order(point: Point) -> tuple[Any, ...]:
    return point.source, point.variant, -(point.alpha or 0), -point.resolution, point.folder


def print_points(points: Iterable[Point]) -> None:
    """A table for each source, in the order of the points."""
    for source, group in groupby(points, key=lambda p: p.source):
        table = Table(title=f"{escape(source)}: costs of one picture", title_justify="left", box=SIMPLE)
        for name in ("alpha", "pixels", "mult-adds M", "weights M", "top-1 %", "top-5 %"):
            table.add_column(name, justify="left" if name == "alpha" else "right", no_wrap=name != "alpha")
        table.add_column("run", overflow="fold")
        for p in group:
            accuracies = (f"{p.top1:.2f}", "-" if p.top5 is None else f"{p.top5:.2f}")
            costs = (f"{p.mult_adds:.2f}", f"{p.parameters:.3f}")
            table.add_row(escape(p.width), str(p.resolution), *costs, *accuracies, escape(p.folder))
        Console().print(table)


def figure_4(points: Sequence[Point]) -> Figure:
    """Accuracy over mult-adds on a log axis; a series is a width multiplier, its points are resolutions."""
    figure, axes = _axes("mult-adds (millions)")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    widths = {p: (p.variant, -(p.alpha or 0), f"alpha = {p.width}" if p.alpha else p.width) for p in points}
    _draw(axes, {p: (p.mult_adds, p.top1) for p in points}, widths)
    return figure


def figure_5(points: Sequence[Point]) -> Figure:
    """Accuracy over parameters; a series is a resolution, as the paper colours them."""
    figure, axes = _axes("parameters (millions)")
    resolutions = {p: (-p.resolution, f"{p.resolution} pixels") for p in points}
    axes.set_xlim(0, 1.15 * max(p.parameters for p in points))
    _draw(axes, {p: (p.parameters, p.top1) for p in points}, resolutions)
    return figure


def _axes(x: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=x, ylabel="top-1 accuracy (%)")
    axes.margins(0.1)
    axes.grid(alpha=0.3)
    return figure, axes


def _draw(axes: Axes, places: dict[Point, tuple[float, float]], series: dict[Point, tuple[Any, ...]]) -> None:
    """A line through the points of each source, variant and series, each point labelled; and the legend.

    places: x and y. series: what it is sorted by, and last its name.
    """
    sources = sorted({p.source for p in places}, key=lambda source: (source == PAPER, source))
    fills: dict[str, Any] = dict(zip(sources, cycle(FILLS), strict=False)) | {PAPER: "none"}
    names = sorted(set(series.values()))
    styles: dict[tuple[Any, ...], dict[str, Any]] = {
        name: {"marker": marker, "color": colour, "linestyle": line}
        for name, marker, colour, line in zip(names, cycle(MARKERS), cycle(COLOURS), cycle(LINES), strict=False)
    }
    groups: dict[tuple[Any, ...], list[Point]] = {}
    for point in sorted(places, key=lambda p: places[p]):
        groups.setdefault((point.source, point.variant, series[point]), []).append(point)
    for (source, _, name), group in groups.items():
        xs, ys = zip(*(places[p] for p in group), strict=True)
        look = MARKER | {"fillstyle": fills[source], "linewidth": 0.8, "label": source} | styles[name]
        axes.plot(xs, ys, **look)
    handles = [Line2D([], [], **MARKER, fillstyle=fills[s], marker="o", color="black", ls="", label=s) for s in sources]
    handles += [Line2D([], [], **MARKER, **styles[name], label=name[-1]) for name in names]
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    figure.legend(handles=handles, loc="outside upper center", ncols=4, handlelength=3.5, frameon=False)
    labelled = sorted(places, key=lambda p: p.source == PAPER)
    label_points(figure, axes, [(*places[p], p.label, "dimgray" if p.source == PAPER else "black") for p in labelled])
