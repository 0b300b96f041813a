"""What one network costs: by layer, by stage, and by type of layer."""

import math
from collections.abc import Callable
from typing import Any

from backbone import Cost, LayerCost
from tasks.shared.paper.grids import Cell, Grid

BODY = "backbone"


def times(layer: LayerCost) -> int:
    """How often a layer runs for one image: those of a second stage run for each of its proposals."""
    spots = 1 if layer.type == "linear" else math.prod(layer.output_size[1:])
    return layer.mult_adds // (layer.weights * spots)


def stage(layer: LayerCost) -> str:
    """The part of the network that a layer is in, by its name: `backbone`, `head.extras`; and how often it runs."""
    parts = layer.name.split(".")
    numbers = [position for position, part in enumerate(parts) if part.isdigit()]
    name = ".".join(parts[: numbers[0]]) if numbers and parts[0] != BODY else parts[0]
    return name if times(layer) == 1 else f"{name}, {times(layer)} times"


def cost_grids(title: str, cost: Cost) -> list[Grid]:
    """Three tables: layers, stages, and the shares of Table 2. title: of what."""
    total = ["all", "", "", "", f"{cost.mult_adds:,}", f"{cost.weights:,}"]
    rows = [
        [layer.name, layer.type, "x".join(map(str, layer.output_size)), f"{times(layer)}",
         f"{layer.mult_adds:,}", f"{layer.weights:,}"]
        for layer in cost.layers
    ]  # fmt: skip
    headers = ("layer", "type", "output", "times", "mult-adds", "parameters")
    note = (
        f"Parameters are weights, without biases and batch norm, as Tables 2 to 11 count; all learnable parameters are "
        f"{cost.parameters:,}, as Table 13 counts."
    )
    return [
        Grid(title, headers, _cells([*rows, total])),
        _group_grid("By stage", "stage", cost, stage),
        _group_grid("By type of layer, as Table 2", "type", cost, lambda layer: layer.type, note),
    ]


def _group_grid(title: str, name: str, cost: Cost, key: Callable[[LayerCost], str], *notes: str) -> Grid:
    groups = group(cost, key) | {"all": (cost.mult_adds, cost.weights)}
    rows = [
        [label, f"{mult_adds:,}", f"{100 * mult_adds / cost.mult_adds:.2f} %", f"{weights:,}",
         f"{100 * weights / cost.weights:.2f} %"]
        for label, (mult_adds, weights) in groups.items()
    ]  # fmt: skip
    return Grid(title, (name, "mult-adds", "share", "parameters", "share"), _cells(rows), notes)


def group(cost: Cost, key: Callable[[LayerCost], str]) -> dict[str, tuple[int, int]]:
    """Mult-adds and weights of layers with the same key, in the order of the layers. A layer's weights count once."""
    sums: dict[str, tuple[int, int]] = {}
    seen: set[str] = set()
    for layer in cost.layers:
        mult_adds, weights = sums.get(key(layer), (0, 0))
        new = 0 if layer.name in seen else layer.weights
        sums[key(layer)] = mult_adds + layer.mult_adds, weights + new
        seen.add(layer.name)
    return sums


def _cells(rows: list[list[str]]) -> list[list[Cell]]:
    return [[Cell(text) for text in row] for row in rows]


def cost_data(cost: Cost) -> dict[str, Any]:
    """The same as plain data."""
    groups = {"stages": group(cost, stage), "types": group(cost, lambda layer: layer.type)}
    return {
        "mult_adds": cost.mult_adds,
        "weights": cost.weights,
        "parameters": cost.parameters,
        **{
            name: {label: {"mult_adds": m, "weights": w} for label, (m, w) in sums.items()}
            for name, sums in groups.items()
        },
        "layers": [
            {"name": layer.name, "type": layer.type, "stage": stage(layer), "output": list(layer.output_size),
             "times": times(layer), "mult_adds": layer.mult_adds, "weights": layer.weights}
            for layer in cost.layers
        ],
    }  # fmt: skip
