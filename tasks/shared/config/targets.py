"""Which classes and functions a config's `_target_` may name. Checked before anything is imported."""

import importlib
import inspect
from functools import cache
from importlib.metadata import entry_points
from typing import Any

import yaml

from tasks.shared.config.compose import CONFIGS
from tasks.shared.config.consent import NODES, names_target
from tasks.shared.config.nodes import Node
from tasks.shared.errors import UserError

OWN_PACKAGES = ("backbone", "tasks")
# What checkpoints of older versions name, and its name now.
MOVED = {
    "tasks.face_attributes.model.FaceAttributes": "tasks.face_attributes.FaceAttributes",
    "tasks.facenet.model.FaceNet": "tasks.facenet.FaceNet",
    "tasks.planet.model.PlaNet": "tasks.planet.PlaNet",
    "tasks.shared.timm_backbone.TimmBackbone": "tasks.shared.network.timm_backbone.TimmBackbone",
}
GROUP = "mobilenet_toolkit"  # an installed package declares its names as entry points of mobilenet_toolkit.<node>


def target_of(node: Node) -> Any:
    """The class or function that a node names.

    Configs come out of checkpoints, which must not run code. So a node may name what the YAML files of its group
    name, what an installed package declares for it, and what the command line itself gives; anything else is refused
    before it is imported. Raises UserError.
    """
    key, target = node.group, node.target
    if not is_allowed(key, target):
        raise UserError(
            f"{key}._target_={target!r}; expected one of configs/{key}, one that an installed package declares as an "
            f"entry point of {GROUP}.{key}, or one that this command line gives ({key}._target_=...)"
        )
    assert isinstance(target, str)
    module, _, name = target.rpartition(".")
    try:
        made = getattr(importlib.import_module(module), name)
    except UserError:  # a package that it needs is absent
        raise
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{key}._target_={target!r} does not exist ({error})") from error
    own = target.split(".")[0] in OWN_PACKAGES
    at_home = not own or getattr(made, "__module__", "").split(".")[0] in OWN_PACKAGES
    if not at_home or not (inspect.isclass(made) or inspect.isfunction(made)):
        of = f" of {' or '.join(OWN_PACKAGES)}" if own else ""
        raise UserError(f"{key}._target_={target!r} is not a class or function{of}")
    return made


def is_allowed(node: str, target: Any) -> bool:
    """Whether the config's node `node` may name `target`."""
    if node not in NODES or not isinstance(target, str):
        return False
    return target in own_targets(node) or names_target(node, target) or target in declared_targets(node)


@cache
def own_targets(node: str) -> frozenset[str]:
    """The names that the YAML files of configs/`node` give."""
    contents = [yaml.load(file.read_bytes(), _Loader) for file in sorted((CONFIGS / node).glob("*.yaml"))]
    nodes = [content.get(node, {}) if "_target_" not in content else content for content in contents]
    return frozenset(each["_target_"] for each in nodes if "_target_" in each)


def declared_targets(node: str) -> frozenset[str]:
    """The names that installed packages declare for a node. Nothing is imported for it."""
    return frozenset(f"{point.module}.{point.attr}" for point in entry_points(group=f"{GROUP}.{node}"))


_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
