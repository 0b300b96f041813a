"""Images of the world: a partition, and what a network believes of a photo."""

import logging
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from numpy.typing import ArrayLike
from PIL import Image

from tasks.planet import s2
from tasks.planet.cells import Cells
from tasks.planet.coast import coastlines
from tasks.planet.outline import outlines
from tasks.planet.s2 import Floats
from tasks.planet.sphere import coordinates, great_circle_km, unit_vectors

log = logging.getLogger(__name__)
SIZE = (12.0, 5.9)  # inches
COLOURS = "viridis_r"
BORDERED = 5  # level: cells that are not deeper are large enough for a white border
SHOWN = 1e-3  # of the largest probability: cells below it are left blank
TRUTH, PREDICTION = "#D55E00", "black"


def partition_map(cells: Cells) -> Figure:
    """Cells coloured by their photos, on a log scale; what is in no cell stays blank."""
    figure, axes = _world(f"{len(cells):,} cells, {cells.photos - cells.left_out:,} photos")
    drawn = _colour(axes, cells, cells.counts, (int(cells.counts.min()), int(cells.counts.max())), 0.3)
    _key(figure, axes, drawn, "photos in the cell", "{x:,.0f}")
    return figure


def prediction_map(
    cells: Cells, probabilities: ArrayLike, prediction: Sequence[float], truth: Sequence[float] | None = None
) -> Figure:
    """What a network believes about one photo.

    probabilities: (C,) of the cells, 0 to 1. prediction, truth: latitude and longitude in degrees. The great circle
    between them is drawn, and its length is in the title.
    """
    values = np.asarray(probabilities, np.float64)
    if values.shape != (len(cells),) or not values.max() > 0:
        raise ValueError(
            f"probabilities of shape {values.shape}; expected one for each of the {len(cells)} cells, some above 0"
        )
    title = f"most probable cell: {100 * values.max():.0f} %"
    if truth is not None:
        title = f"{great_circle_km(*prediction, *truth):,.0f} km off; {title}"
    figure, axes = _world(title)
    shown = values >= SHOWN * values.max()
    drawn = _colour(axes, cells, np.where(shown, values, np.nan), (SHOWN * values.max(), values.max()), 1)
    _key(figure, axes, drawn, "probability of the cell", "{x:.3g}")
    if truth is not None:
        way = _great_circle(prediction, truth)
        axes.add_collection(LineCollection(_on_the_map(way), colors=TRUTH, linewidths=1.2, zorder=4))
        axes.plot(truth[1], truth[0], "o", color=TRUTH, markeredgecolor="white", markersize=9, label="truth", zorder=5)
    axes.plot(prediction[1], prediction[0], "X", color=PREDICTION, markeredgecolor="white", markersize=10,
              label="prediction", zorder=6)  # fmt: skip
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def to_image(figure: Figure, dpi: int = 100) -> Image.Image:
    """A figure as an RGB image."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def _world(title: str) -> tuple[Figure, Axes]:
    """An empty map, a degree of longitude as long as one of latitude."""
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    axes.set(title=title, xlim=(-180, 180), ylim=(-90, 90), aspect="equal")
    axes.set_xticks(range(-180, 181, 30), [_degrees(x, "WE") for x in range(-180, 181, 30)])
    axes.set_yticks(range(-90, 91, 30), [_degrees(y, "SN") for y in range(-90, 91, 30)])
    axes.tick_params(length=0, labelsize=8)
    axes.grid(color="black", alpha=0.15, linewidth=0.5)
    coasts = coastlines()
    axes.add_collection(LineCollection(_on_the_map(*coasts), colors="black", linewidths=0.4, zorder=3))
    if not coasts:
        log.info("no coastlines: pip install 'mobilenet-toolkit[maps]'")
    return figure, axes


def _degrees(value: int, sides: str) -> str:
    return f"{abs(value)}°{sides[value > 0] if value % 180 else ''}"


def _colour(axes: Axes, cells: Cells, values: ArrayLike, limits: tuple[float, float], width: float) -> PolyCollection:
    """Cells in the colours of their values on a log scale; NaN stays blank.

    width: of their borders in points. They have the cell's colour, so that cells smaller than a pixel are seen.
    """
    shown = np.flatnonzero(np.isfinite(values))
    polygons, owners = outlines(cells.ids[shown])
    drawn = PolyCollection(
        polygons, array=np.asarray(values)[shown[owners]], cmap=COLOURS, norm=LogNorm(*limits), edgecolors="face",
        linewidths=width, zorder=2,
    )  # fmt: skip
    axes.add_collection(drawn)
    level = s2.levels(cells.ids[shown])[owners]
    large = (level <= BORDERED) & (level > 0)  # a face around a pole has no border on either side of the map
    borders = [polygon for polygon, wanted in zip(polygons, large, strict=True) if wanted]
    axes.add_collection(LineCollection(borders, colors="white", linewidths=0.5, zorder=2))
    return drawn


def _key(figure: Figure, axes: Axes, drawn: PolyCollection, label: str, form: str) -> None:
    """What the colours mean, in plain numbers."""
    bar = figure.colorbar(drawn, ax=axes, label=label, pad=0.01)
    bar.ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    bar.ax.yaxis.set_major_formatter(StrMethodFormatter(form))
    bar.ax.yaxis.set_minor_formatter(NullFormatter())


def _great_circle(start: Sequence[float], end: Sequence[float]) -> Floats:
    """(P, 2) longitude and latitude of points on the way."""
    a, b = unit_vectors(*start), unit_vectors(*end)
    side = b - a * (a @ b)
    if np.linalg.norm(side) < 1e-12:  # the same place, or antipodes, which every way joins: over the pole
        side = np.array([-a[0] * a[2], -a[1] * a[2], 1 - a[2] ** 2])
        side = side if np.linalg.norm(side) > 1e-12 else np.array([1.0, 0, 0])
    angle = np.linspace(0, np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b), 200)[:, None]
    return coordinates(np.cos(angle) * a + np.sin(angle) * side / np.linalg.norm(side))[:, ::-1]


def _on_the_map(*lines: ArrayLike) -> list[Floats]:
    """Lines whose longitudes may run over the date line, each as often as some of it is on the map."""
    shown = []
    for line in lines:
        whole = np.array(line, np.float64)
        whole[:, 0] = np.unwrap(whole[:, 0], period=360)
        for turn in (-360, 0, 360):
            moved = whole + np.array([turn, 0])
            if (np.abs(moved[:, 0]) <= 180).any():
                shown.append(moved)
    return shown
