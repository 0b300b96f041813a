"""The cost of one network by layer, stage and kind, against sums worked by hand; and what fits a budget."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from backbone import Cost, count_cost
from tasks.shared.config.compose import compose_config, plain
from tasks.shared.config.typed import typed
from tasks.shared.errors import UserError
from tasks.shared.paper.budget import Budget, Sized, budget_grid, sized_networks
from tasks.shared.paper.composed import cost_data, cost_grids, group, stage, times
from tasks.shared.paper.settings import BudgetConfig
from tests.tools.test_figures import COSTS, RESOLUTIONS


class TwoStages(nn.Module):
    """A body, a head of two parts, and a second stage that runs seven times on crops of 2x2."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.Conv2d(4, 4, 3, groups=4, padding=1))
        self.head = nn.ModuleDict(
            {"extras": nn.ModuleList([nn.Conv2d(4, 5, 1)]), "boxes": nn.ModuleList([nn.Conv2d(5, 2, 1)])}
        )
        self.classes = nn.Linear(4, 6)

    def forward(self, images: Tensor) -> Any:
        maps = self.backbone(images)
        crops = self.backbone[1](maps.new_empty(7, 4, 2, 2))
        return self.head["boxes"][0](self.head["extras"][0](maps)), self.classes(crops.mean((2, 3)))  # type: ignore[index]


@pytest.fixture
def cost() -> Cost:
    with torch.device("meta"):
        return count_cost(TwoStages(), 5)


def test_stages_and_kinds_are_sums_of_their_layers(cost: Cost) -> None:
    assert group(cost, stage) == {
        "backbone": (3 * 4 * 25 + 9 * 4 * 25, 12 + 36),
        "backbone, 7 times": (7 * 9 * 4 * 4, 0),  # its weights have been counted
        "head.extras": (4 * 5 * 25, 20),
        "head.boxes": (5 * 2 * 25, 10),
        "classes, 7 times": (7 * 4 * 6, 24),
    }
    assert group(cost, lambda layer: layer.type) == {
        "1x1 conv": ((12 + 20 + 10) * 25, 42),
        "3x3 depthwise conv": (36 * 25 + 36 * 4 * 7, 36),
        "linear": (168, 24),
    }
    assert [times(layer) for layer in cost.layers] == [1, 1, 7, 1, 1, 7]


def test_tables_have_every_layer_and_the_totals(cost: Cost) -> None:
    layers, stages, kinds = cost_grids("a net", cost)
    assert [row[0].text for row in layers.rows] == [*(layer.name for layer in cost.layers), "all"]
    assert layers.rows[2][2].text == "4x2x2" and layers.rows[2][3].text == "7"
    for grid in (stages, kinds):
        assert [cell.text for cell in grid.rows[-1]] == [
            "all", f"{cost.mult_adds:,}", "100.00 %", f"{cost.weights:,}", "100.00 %",
        ]  # fmt: skip
        assert math.isclose(sum(float(row[2].text[:-2]) for row in grid.rows[:-1]), 100, abs_tol=0.03)
    assert f"{cost.parameters:,}" in kinds.notes[0]
    data = cost_data(cost)
    assert sum(layer["mult_adds"] for layer in data["layers"]) == data["mult_adds"] == cost.mult_adds
    assert sum(part["weights"] for part in data["stages"].values()) == data["weights"] == cost.weights


@pytest.fixture(scope="module")
def networks() -> list[Sized]:
    """Figure 4's."""
    config = compose_config("train", ["task=classification", "data=imagenet"])
    found = sized_networks(config, 1000, list(COSTS), list(RESOLUTIONS))
    assert (config.backbone.alpha, config.resolution) == (1.0, 224), "the config is left as it was"
    return found


@pytest.mark.parametrize("limit", [10e6, 13.58e6, 100e6, 239.3e6, 1e9])
def test_a_budget_keeps_those_below_it_the_largest_first(limit: float, networks: list[Sized]) -> None:
    grid = budget_grid("", networks, Budget(mult_adds=limit))
    costs = {(a, r): c for a, (row, _) in COSTS.items() for r, c in zip(RESOLUTIONS, row, strict=True)}
    expected = sorted((pair for pair, c in costs.items() if c * 1e6 <= limit), key=lambda pair: -costs[pair])
    assert [(float(row[0].text), int(row[1].text)) for row in grid.rows] == expected
    if not expected:
        assert "None of 16 networks" in grid.notes[0] and "alpha 0.25, 128 pixels: 13,570,048" in grid.notes[0]


def test_a_budget_of_parameters_counts_all_that_are_learnable() -> None:
    config = compose_config("train", ["task=ssd", "data=coco"])
    networks = sized_networks(config, 90, [1.0, 0.5], [300])
    wide, thin = (network.cost.parameters for network in networks)
    assert wide == 6_819_839  # Table 13; SSD's own width follows alpha
    assert len(budget_grid("", networks, Budget(parameters=wide)).rows) == 2
    assert len(budget_grid("", networks, Budget(parameters=wide - 1)).rows) == 1
    assert len(budget_grid("", networks, Budget(1e9, thin)).rows) == 1
    assert len(budget_grid("", networks, Budget(1e6, thin)).rows) == 0
    assert str(Budget(1e6, 1.5e6)) == "1,000,000 mult-adds and 1,500,000 learnable parameters"


@pytest.mark.parametrize("value", [0, -1, "many", math.nan, math.inf, True])
def test_a_limit_is_a_number_above_0(value: Any) -> None:
    own = plain(compose_config("cost", []))["budget"]
    for key in ("mult_adds", "parameters"):
        with pytest.raises(UserError, match=f"^budget.{key}=(?i:{value}); expected a number above 0, such as 100e6"):
            typed(BudgetConfig, own | {key: value}, key="budget")
