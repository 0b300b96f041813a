"""What tables and figures call a network by: arguments of its backbone's node."""

from typing import Any

from tasks.shared.config.nodes import Node


def alpha_of(backbone: Node) -> Any:
    """Its width multiplier; None where it has none."""
    return backbone.arguments.get("alpha")


def name_of(backbone: Node) -> str:
    """Of one without a width multiplier."""
    return str(backbone.arguments.get("name", backbone.target))


def variant_of(backbone: Node) -> str:
    """What differs from MobileNet as Table 1 has it; empty where nothing does."""
    if alpha_of(backbone) is None:
        return name_of(backbone)
    arguments = backbone.arguments
    names = ["conv"] if arguments.get("block") == "conv" else []  # Table 4
    names += ["shallow"] if arguments.get("shallow") else []  # Table 5
    depth = arguments.get("depth_multiplier", 1)
    return " ".join([*names, f"depth {depth}"] if depth != 1 else names)
