"""The paper's two hyper-parameters (Secs. 3.3, 3.4): networks of all widths and resolutions, and what fits a budget."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig

from backbone import Cost
from tasks.shared.config.compose import changed, network_config
from tasks.shared.errors import UserError
from tasks.shared.network.meta import network_cost
from tasks.shared.paper.backbones import alpha_of, name_of
from tasks.shared.paper.grids import Cell, Grid


@dataclass(frozen=True)
class Sized:
    """A network of a width multiplier and a resolution in pixels, and its cost for one image."""

    alpha: float
    resolution: int
    cost: Cost


@dataclass(frozen=True)
class Budget:
    """Limits: mult-adds of one image, and all learnable parameters; None for no limit."""

    mult_adds: float | None = None
    parameters: float | None = None

    def fits(self, cost: Cost) -> bool:
        limits = (self.mult_adds, cost.mult_adds), (self.parameters, cost.parameters)
        return all(limit is None or count <= limit for limit, count in limits)

    def __str__(self) -> str:
        limits = {"mult-adds": self.mult_adds, "learnable parameters": self.parameters}
        return " and ".join(f"{limit:,.15g} {name}" for name, limit in limits.items() if limit is not None)


def sized_networks(
    config: DictConfig, num_classes: int, alphas: Sequence[float], resolutions: Sequence[int]
) -> list[Sized]:
    """Every alpha at every resolution of a composed config, the most mult-adds first.

    Raises UserError for a network that has no alpha.
    """
    backbone = network_config(config).backbone
    if alpha_of(backbone) is None:
        raise UserError(f"backbone.name={name_of(backbone)} has no alpha; expected backbone=mobilenet")
    found = []
    for alpha in alphas:
        for resolution in resolutions:
            network = network_config(changed(config, {"backbone.alpha": alpha, "resolution": resolution}))
            found.append(Sized(alpha, resolution, network_cost(network, num_classes)))
    return sorted(found, key=lambda sized: -sized.cost.mult_adds)


def budget_grid(title: str, networks: Sequence[Sized], budget: Budget) -> Grid:
    """Those that fit, or a note that none does. title: of what."""
    fitting = [sized for sized in networks if budget.fits(sized.cost)]
    rows = [
        [Cell(f"{sized.alpha:g}"), Cell(f"{sized.resolution}"), Cell(f"{sized.cost.mult_adds:,}"),
         Cell(f"{sized.cost.weights:,}"), Cell(f"{sized.cost.parameters:,}")]
        for sized in fitting
    ]  # fmt: skip
    note = f"Within the budget: {len(fitting)} of {len(networks)} networks."
    if not fitting:
        least = networks[-1]
        note = (
            f"None of {len(networks)} networks is within {budget}. The one with the fewest mult-adds has alpha "
            f"{least.alpha:g}, {least.resolution} pixels: {least.cost.mult_adds:,} mult-adds and "
            f"{least.cost.parameters:,} learnable parameters."
        )
    headers = ("alpha", "resolution", "mult-adds", "weights", "learnable parameters")
    return Grid(title, headers, rows, (note,))


def budget_data(networks: Sequence[Sized], budget: Budget) -> dict[str, Any]:
    """The same as plain data."""
    return {
        "budget": {"mult_adds": budget.mult_adds, "parameters": budget.parameters},
        "considered": len(networks),
        "fitting": [
            {"alpha": sized.alpha, "resolution": sized.resolution, "mult_adds": sized.cost.mult_adds,
             "weights": sized.cost.weights, "parameters": sized.cost.parameters}
            for sized in networks
            if budget.fits(sized.cost)
        ],
    }  # fmt: skip
