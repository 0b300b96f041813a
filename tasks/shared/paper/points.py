"""What the paper's Figures 4 and 5 show: networks of runs, of the paper, or without accuracies."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from math import nan
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console

from tasks.shared.config.compose import compose_config
from tasks.shared.errors import UserError
from tasks.shared.files.folders import METRICS
from tasks.shared.network.meta import network_cost
from tasks.shared.paper import imagenet
from tasks.shared.paper.backbones import alpha_of, variant_of
from tasks.shared.paper.budget import sized_networks
from tasks.shared.records.runs import Run, class_count
from tasks.shared.terminal.tables import PlainTable

PAPER = "paper, ImageNet"
COUNTED = "the 16 models, 1000 classes"
ALPHAS, RESOLUTIONS = [1.0, 0.75, 0.5, 0.25], [224, 192, 160, 128]  # Secs. 3.3 and 3.4


@dataclass(frozen=True)
class Point:
    """A network in the figures.

    source: whose it is, and on which data. variant: empty for MobileNet as Table 1 has it. folder: the run's, within
        the one that was searched.
    mult_adds, parameters: in millions; parameters are weights, without biases and batch norm, as the paper counts.
    top1, top5: accuracies in percent; top1 is nan where only costs are drawn.
    """

    source: str
    alpha: float | None
    resolution: int
    mult_adds: float
    parameters: float
    top1: float = nan
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


def paper_points() -> list[Point]:
    """The networks of Figures 4 and 5 whose accuracy the paper prints, in Tables 6, 7 and 9."""
    found: dict[str, Point] = {}
    for row in (row for table in imagenet.TABLES if table.number in (6, 7, 9) for row in table.rows):
        if (name := re.fullmatch(r"([\d.]+) MobileNet-(\d+)", row.name)) and row.mult_adds and row.parameters:
            costs = float(row.mult_adds.text), float(row.parameters.text)
            point = Point(PAPER, float(name[1]), int(name[2]), *costs, float(row.accuracy))
            found[point.label] = point
    return list(found.values())


def counted_points() -> list[Point]:
    """The 16 models of Figures 4 and 5, counted, without accuracies."""
    config = compose_config("train", ["task=classification", "data=imagenet"])
    return [
        Point(COUNTED, n.alpha, n.resolution, n.cost.mult_adds / 1e6, n.cost.weights / 1e6)
        for n in sized_networks(config, 1000, ALPHAS, RESOLUTIONS)
    ]


def run_point(run: Run, folder: Path) -> Point:
    """A run below `folder` as a point, its cost counted on its network."""
    for name in ("top1", "top5"):
        if (name == "top1" and name not in run.metrics) or not 0 <= run.metrics.get(name, 0) <= 1:
            raise UserError(f"{run.path / METRICS}: {name}={run.metrics.get(name)}; expected an accuracy of 0 to 1")
    classes, network = class_count(run), run.network
    cost = network_cost(network, classes)
    alpha = alpha_of(network.backbone)
    return Point(
        source=f"ours, {run.data_name} ({classes} classes)",
        alpha=None if alpha is None else float(alpha),
        resolution=network.resolution,
        mult_adds=cost.mult_adds / 1e6,
        parameters=cost.weights / 1e6,
        top1=100 * run.metrics["top1"],
        top5=100 * run.metrics["top5"] if "top5" in run.metrics else None,
        variant=variant_of(network.backbone),
        folder=str(run.path.relative_to(folder)),
    )


def order(point: Point) -> tuple[Any, ...]:
    """To sort by: sources, then the widest network at the highest resolution first."""
    return point.source, point.variant, -(point.alpha or 0), -point.resolution, point.folder


def print_points(points: Iterable[Point]) -> None:
    """A table for each source, in the order of the points."""
    for source, group in groupby(points, key=lambda p: p.source):
        table = PlainTable(title=f"{source}: costs of one image", title_justify="left", box=SIMPLE)
        for name in ("alpha", "pixels", "mult-adds M", "weights M", "top-1 %", "top-5 %"):
            table.add_column(name, justify="left" if name == "alpha" else "right", no_wrap=name != "alpha")
        table.add_column("run", overflow="fold")
        for p in group:
            accuracies = (f"{p.top1:.2f}", "-" if p.top5 is None else f"{p.top5:.2f}")
            costs = (f"{p.mult_adds:.2f}", f"{p.parameters:.3f}")
            table.add_row(p.width, str(p.resolution), *costs, *accuracies, p.folder)
        Console().print(table)
