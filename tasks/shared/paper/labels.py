"""Labels beside the points of a diagram, where they hide as little as can be."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

SIZE = 7  # of the letters, in points
GAP = 6  # points from a spot's centre to its label
# Where a label may stand, the preferred first: offset in gaps (right, up), which also says how it is aligned.
PLACES = ((1, 0), (1, -1), (1, 1), (-1, 0), (-1, 1), (-1, -1), (0, 2), (0, -2), (2, -2), (-2, 2), (2, 2), (-2, -2))
NEAR = 2 * GAP  # points of the same label this close share one


def label_points(figure: Figure, axes: Axes, labels: Sequence[tuple[float, float, str, str]]) -> None:
    """Write each label (x, y, text, colour) beside its point; earlier labels have the better choice.

    A point close to another of the same label goes without its own. To be called when all else is drawn: limits and
    layout are then final.
    """
    figure.draw_without_rendering()
    scale = figure.dpi / 72
    spots = axes.transData.transform([(x, y) for x, y, _, _ in labels])
    taken = [Bbox.from_extents(*(spot - 4 * scale), *(spot + 4 * scale)) for spot in spots]
    lines = [line.get_transform().transform_path(line.get_path()) for line in axes.lines]
    frame = axes.get_window_extent()
    written: list[tuple[str, np.ndarray]] = []
    for spot, (x, y, text, colour) in zip(spots, labels, strict=True):
        if any(text == other and np.hypot(*(spot - there)) < NEAR * scale for other, there in written):
            continue
        written.append((text, spot))
        note = axes.annotate(text, (x, y), (0, 0), textcoords="offset points", fontsize=SIZE, color=colour)
        note.set_path_effects([withStroke(linewidth=2, foreground="white")])

        def cost(offset: tuple[int, int], note: Any = note) -> int:
            """How much the label hides there, and how far off it is."""
            _move(note, offset)
            box = note.get_window_extent()
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            covered = sum(box.overlaps(other) for other in taken)
            crossed = sum(path.intersects_bbox(box, filled=False) for path in lines)
            return 6 * covered + 20 * (not inside) + 2 * crossed + abs(offset[0]) + abs(offset[1])

        best = min(PLACES, key=cost)
        _move(note, best)
        taken.append(note.get_window_extent())


def _move(note: Any, offset: tuple[int, int]) -> None:
    right, up = offset
    note.set_position((GAP * right, GAP * up))
    note.set_horizontalalignment("left" if right > 0 else "right" if right < 0 else "center")
    note.set_verticalalignment("center")
