"""The nodes of a run's config that name a class, and what of a run makes its network. Imports nothing heavy."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from tasks.shared.config.typed import Count, In, typed

NAMED = {"task": "name", "data": "choice", "teacher": "choice"}  # by group: the key that tells which choice it is
SOURCES = {"pretrained": False, "checkpoint": None}  # arguments by which backbones load weights, and what is none
BnMomentum = Annotated[float | None, In(0, 1)]


@dataclass(frozen=True)
class Node:
    """A class and its arguments, which are its own affair: `network.build.construct` alone unfolds them.

    group: which node it is, one of `consent.NODES`. target: the name of the class or function, of a file maybe
    anything (`targets.target_of` checks it). name: of the choice, such as ssd or coco_sample.
    """

    group: str
    target: Any
    name: str | None
    arguments: dict[str, Any]

    @classmethod
    def read(cls, group: str, values: Mapping[str, Any]) -> "Node":
        named = NAMED.get(group, "_target_")
        own = {key: value for key, value in values.items() if key not in ("_target_", named)}
        return cls(group, values.get("_target_"), values.get(named) if group in NAMED else None, own)

    def plain(self) -> dict[str, Any]:
        named = {"_target_": self.target, NAMED.get(self.group, "name"): self.name}
        return {key: value for key, value in named.items() if value is not None} | self.arguments

    def changed(self, **arguments: Any) -> "Node":
        return replace(self, arguments=self.arguments | arguments)

    @property
    def root(self) -> Any:
        """The folder of a data set; None where it has none."""
        return self.arguments.get("root")

    @property
    def path(self) -> Any:
        """The file or run that a teacher is read from; None where it is not said."""
        return self.arguments.get("path")

    def sources(self) -> list[str]:
        """The arguments by which a backbone loads weights by itself, as far as they are set."""
        return [key for key in SOURCES if self.arguments.get(key)]


@dataclass(frozen=True)
class NetworkConfig:
    """What makes a run's network. resolution: side of its input in pixels. bn_momentum: None leaves the network's."""

    task: Node
    backbone: Node
    resolution: Count
    bn_momentum: BnMomentum

    @classmethod
    def of(cls, run: Mapping[str, Any], source: str = "") -> "NetworkConfig":
        """Of a run's config as plain data. Raises UserError for values that make no network."""
        made = {key: run[key] for key in ("task", "backbone", "resolution")}
        return typed(cls, made | {"bn_momentum": run["trainer"]["bn_momentum"]}, source)

    def without_sources(self) -> "NetworkConfig":
        """For a network whose weights a checkpoint of ours holds: where they first came from need not be there."""
        none = {key: value for key, value in SOURCES.items() if key in self.backbone.arguments}
        return replace(self, backbone=self.backbone.changed(**none))
