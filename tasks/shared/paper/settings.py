"""The keys of tools/cost.py and tools/figures.py. Imports nothing heavy."""

from dataclasses import dataclass
from typing import Annotated, Any

from tasks.shared.config.typed import Count, In, NotEmpty, OneOf

FORMATS = ("terminal", "markdown", "json")
Limit = Annotated[float | None, In(above=0, unit="such as 100e6")]


@dataclass(frozen=True)
class BudgetConfig:
    """Limits of mult-adds of one image and of all learnable parameters, and the networks to choose from."""

    mult_adds: Limit
    parameters: Limit
    alphas: Annotated[list[Annotated[float, In(above=0)]], NotEmpty()]
    resolutions: Annotated[list[Count], NotEmpty()]


@dataclass(frozen=True)
class CostConfig:
    """configs/cost.yaml. table: one of the paper's or several, which `command` reads."""

    table: Any
    runs: str | None
    format: Annotated[str, OneOf(FORMATS)]
    output: str | None
    images: str | None
    check: bool
    num_classes: Annotated[int | None, In(0)]
    budget: BudgetConfig


@dataclass(frozen=True)
class FiguresConfig:
    """configs/figures.yaml"""

    runs: str | None
    output: str | None
    paper: bool
