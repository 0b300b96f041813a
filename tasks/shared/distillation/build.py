"""The teacher that a run's config names."""

from typing import Any

from tasks.shared.distillation.teacher import Teacher
from tasks.shared.network.build import construct


def build_teacher(config: dict[str, Any]) -> Teacher | None:
    """What the node `teacher` describes; None where it names no `_target_`, as teacher=none does.

    The node holds `_target_` and its arguments alone. Raises UserError naming the file or key.
    """
    node = config.get("teacher") or {}
    return construct("teacher", node) if "_target_" in node else None
