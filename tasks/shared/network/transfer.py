"""Starting from the weights of another run, and training only a part of a network."""

import logging
from collections.abc import Set
from pathlib import Path
from typing import Any

from torch import nn

from backbone.features import Backbone
from backbone.unfold import folded_norms
from tasks.shared.config.nodes import NetworkConfig, Node
from tasks.shared.contract import Data, Task
from tasks.shared.errors import UserError
from tasks.shared.files.names import same_classes
from tasks.shared.network.build import BATCH_NORMS, check_weights
from tasks.shared.network.settings import InitConfig
from tasks.shared.records.checkpoint import Checkpoint, find_checkpoint, load_checkpoint

log = logging.getLogger(__name__)
BODY = "backbone."


def source_of(init: InitConfig) -> Checkpoint | None:
    """The checkpoint that `init.run` names, if any."""
    return None if init.run is None else load_checkpoint(find_checkpoint(Path(init.run)))


def adopted(
    init: InitConfig, ours: NetworkConfig, given: Set[str], by_experiment: Set[str] = frozenset()
) -> dict[str, Any]:
    """What changes in the config of a run that starts from `init.run`, values by key.

    That is its backbone, but for the taps, and its resolution where it is a run of the same task.
    given: the keys that the user has set; by_experiment: those that the chosen experiment sets. One that asks for
    another backbone than the run's is an error; a resolution among them stays.
    """
    source = source_of(init)
    if source is None:
        return {}
    if "init.method" in given and init.method is not None and init.head == "keep":
        raise UserError(
            f"init.method={init.method}, init.run={init.run}: the run's weights replace all that "
            "init.method starts; give one of them, or init.head=new, a head that init.method starts"
        )
    explicit = given | by_experiment
    theirs, asked_for = source.network.without_sources().backbone.plain(), ours.backbone.plain()
    asked = {key.removeprefix(BODY) for key in explicit if key.startswith(BODY)} - {"taps"}
    if "backbone" in explicit:
        asked.add("_target_")
    conflicts = [
        f"{BODY}{key}={asked_for.get(key)} was asked for, but the run has {theirs.get(key)}"
        for key in sorted(asked)
        if asked_for.get(key) != theirs.get(key)
    ]
    if conflicts:
        raise UserError(f"init.run={init.run}: {'; '.join(conflicts)}")
    changes: dict[str, Any] = {"backbone": theirs | {"taps": asked_for["taps"]}}
    if source.network.task.name == ours.task.name and "resolution" not in explicit:
        changes["resolution"] = source.network.resolution
    return changes


def start_from(task: Task, source: Checkpoint, head: str, info: dict[str, Any]) -> None:
    """Load a run's weights into a new network: all of them (`head="keep"`), or the backbone's alone (`"new"`).

    info: of the new run's data; a head is only kept for the same classes.
    Raises UserError naming what does not fit; nothing is dropped without a line.
    """
    if head == "keep":
        if not same_classes(source.info, info):
            raise UserError(
                f"init.run={source.path}: its head was trained on other classes than this data has; "
                "init.head=new replaces it"
            )
        check_weights(task, source.weights, str(source.path))
        task.load_state_dict(source.weights)
        log.info("init: all weights of %s", source.path)
        return
    body = {name.removeprefix(BODY): t for name, t in source.weights.items() if name.startswith(BODY)}
    wanted = task.backbone.state_dict()
    deeper = sorted({name.split(".")[0] for name in body.keys() - wanted.keys()})
    check_weights(task.backbone, {name: t for name, t in body.items() if name in wanted}, str(source.path))
    task.backbone.load_state_dict({name: body[name] for name in wanted})
    left_out = {name.split(".")[0] for name in source.weights if not name.startswith(BODY)} | {BODY + n for n in deeper}
    log.info("init: the backbone of %s; the rest is new", source.path)
    log.info("init: not taken from it: %s", ", ".join(sorted(left_out)) or "nothing")


def warn_of_leaks(data: Data, source: Checkpoint | None, backbone: Node) -> None:
    """Say so where a network starts from weights that know images of the validation split.

    backbone: the config's node; what it loads by itself, timm's weights, comes from ImageNet.
    """
    loaded = "imagenet" if backbone.sources() else None
    choice = loaded if source is None else source.data_name
    if choice is not None and choice in data.leak_warnings:
        log.warning("warning: %s", data.leak_warnings[choice])


def freeze(task: Task, up_to: str | None, batch_norm: bool) -> list[nn.Module]:
    """Stop parts of a network from being trained; returns what has to stay in eval mode.

    up_to: the backbone's layer of this name and all before it (with their batch norms).
    batch_norm: every batch norm of the backbone: its statistics stay, and its scale and shift are not trained.
    Batch norms that were folded are always frozen: to train them would destroy the network.
    """
    frozen: list[nn.Module] = []
    if up_to is not None:
        frozen += _layers_up_to(task.backbone, up_to)
    if batch_norm:
        frozen += [m for m in task.backbone.modules() if isinstance(m, BATCH_NORMS)]
    if folded := [task.get_submodule(name) for name in folded_norms(task)]:
        log.info(
            "%d batch norms were folded into their convolutions by whoever published these weights: they stay frozen; "
            "tools/convert_weights.py with pictures=FOLDER makes them trainable", len(folded),
        )  # fmt: skip
    frozen += folded
    for module in frozen:
        module.requires_grad_(False)
    return frozen


def _layers_up_to(backbone: Backbone, name: str) -> list[nn.Module]:
    """The layer `name` and all before it. In a timm model the stages within a layer (`"blocks.3"`) are layers too."""
    body: nn.Module = backbone
    while len(children := dict(body.named_children())) == 1:  # what a timm model is wrapped in
        body = next(iter(children.values()))
    layers: list[tuple[str, nn.Module]] = []
    for layer, module in children.items():
        if type(module) is nn.Sequential:
            layers += [(f"{layer}.{stage}", inside) for stage, inside in module.named_children()]
        layers.append((layer, module))
    names = [layer for layer, _ in layers]
    if name not in names:
        raise UserError(f"freeze.up_to={name}: expected a layer of the backbone, one of {', '.join(names)}")
    return [module for _, module in layers[: names.index(name) + 1]]
