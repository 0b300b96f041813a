"""What the loaders of all data sets are told. Imports nothing heavy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from tasks.shared.config.nodes import Node
from tasks.shared.config.typed import Count, In, typed


@dataclass(frozen=True)
class LoaderConfig:
    """Keys of the node `data`, whatever the data are. workers: loader processes; None chooses from the machine."""

    batch_size: Count = 1
    val_batch_size: Count = 1
    workers: Annotated[int | None, In(0)] = None


class DataNode(Node):
    """The node `data`, whose class has arguments of its own besides those of its loaders."""

    @classmethod
    def read(cls, group: str, values: Mapping[str, Any]) -> Node:
        own = {key: values[key] for key in LoaderConfig.__dataclass_fields__ if key in values}
        typed(LoaderConfig, own, key=group)
        return super().read(group, values)
