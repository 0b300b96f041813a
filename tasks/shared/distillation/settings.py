"""What a run's config says of its teacher. Imports nothing heavy."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tasks.shared.config.nodes import Node
from tasks.shared.config.typed import typed


@dataclass(frozen=True)
class TeacherKeys:
    """This toolkit's own keys: which stage of the run the teacher is, if one, and where its predictions are kept."""

    stage: str | int | None = None
    cache: bool = True
    cache_folder: str | None = None


@dataclass(frozen=True)
class TeacherConfig:
    """node: the teacher itself; its target is None where there is none."""

    node: Node
    own: TeacherKeys

    @classmethod
    def read(cls, group: str, values: Mapping[str, Any] | None) -> "TeacherConfig":
        values = values or {}
        own = {key: values[key] for key in TeacherKeys.__dataclass_fields__ if key in values}
        return cls(
            Node.read(group, {k: v for k, v in values.items() if k not in own}), typed(TeacherKeys, own, key=group)
        )

    def plain(self) -> dict[str, Any]:
        return self.node.plain() | (asdict(self.own) if self.node.target is not None else {})
