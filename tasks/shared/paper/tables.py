"""All tables of the paper that have rows of costs, and what they say of the tasks. Imports nothing heavy."""

from collections.abc import Iterator

from omegaconf import DictConfig, OmegaConf

from tasks.shared.config.compose import CONFIGS
from tasks.shared.errors import UserError
from tasks.shared.paper import applications, imagenet
from tasks.shared.paper.rows import Preset

TABLES = (*imagenet.TABLES, *applications.TABLES)
NUMBERS = range(1, 15)  # Table 1 is in table1.py


def presets() -> Iterator[Preset]:
    """Of all rows, some more than once."""
    return (row.network for table in TABLES for row in table.rows if isinstance(row.network, Preset))


def classes_of(task: str) -> int:
    """How many classes the paper's networks of a task tell apart. Raises UserError for a task that no table has."""
    for preset in presets():
        config = OmegaConf.load(CONFIGS / "experiment" / f"{preset.experiment}.yaml")
        assert isinstance(config, DictConfig)
        if {"override /task": task} in config.defaults:
            return preset.num_classes
    raise UserError(f"num_classes is not set; give num_classes=..., as no table of the paper has task={task}")
