"""The one place that turns config into objects."""

import inspect
import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from tasks.shared.config.carried import check_names
from tasks.shared.config.targets import target_of
from tasks.shared.contract import Data, Task
from tasks.shared.errors import UserError, check_count
from tasks.shared.network.isometric import isometric_init
from tasks.shared.network.planned import planned

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)  # and what extends them, as timm's


def construct(key: str, node: dict[str, Any], **more: Any) -> Any:
    """Call what `node["_target_"]` names with the node's other keys and `more`.

    A ValueError or TypeError of the callee becomes a UserError.
    """
    made = target_of(key, node)
    arguments = {k: v for k, v in node.items() if k != "_target_"} | more
    try:
        return made(**arguments)
    except UserError:
        raise
    except (ValueError, TypeError) as error:
        message = str(error) if isinstance(error, ValueError) else f"{key}: a value of the wrong type ({error})"
        if isinstance(error, TypeError) and (odd := re.search(r"unexpected keyword argument '(\w+)'$", str(error))):
            message = f"{key}.{odd[1]}={arguments.get(odd[1])!r}: there is no such key; {node['_target_']} takes none"
        raise UserError(message) from error


def build_data(config: dict[str, Any], splits: Iterable[str] = ("train", "val")) -> Data:
    node = config.get("data")
    if node is None:
        raise UserError("data is not set; choose one of configs/data, such as data=coco_sample")
    for key in ("batch_size", "val_batch_size"):
        check_count(f"data.{key}", node.get(key, 1))
    data: Data = construct("data", _without("choice", node), resolution=_resolution(config), splits=tuple(splits))
    check_names(data.info, f"data={node.get('choice')}")
    return data


def build_task(config: dict[str, Any], num_classes: int) -> Task:
    """The network of a run: backbone, head, and the settings that concern the whole of it."""
    task_class(config)  # is one, before a backbone is built for it
    backbone = construct("backbone", config["backbone"])
    node, resolution = _without("name", config["task"]), _resolution(config)
    task = construct("task", node, backbone=backbone, num_classes=num_classes, resolution=resolution)
    momentum = config["trainer"]["bn_momentum"]
    if momentum is not None:
        for module in task.modules():
            if isinstance(module, BATCH_NORMS):
                module.momentum = momentum
    return task


def task_class(config: dict[str, Any]) -> type[Task]:
    """The class of a run's network. Raises UserError where its config names none."""
    made = target_of("task", config["task"])
    if not (inspect.isclass(made) and issubclass(made, Task)):
        raise UserError(
            f"task._target_={config['task']['_target_']!r} is no task; expected a subclass of {Task.__name__}"
        )
    return made


def initialise(task: Task, config: dict[str, Any]) -> None:
    """Give a new network the weights to start from that `init.method` names."""
    method = config["init"]["method"]
    loaded = [key for key in ("pretrained", "checkpoint") if config["backbone"].get(key)]
    if method is not None and loaded:
        raise UserError(f"init.method would overwrite the weights of backbone.{loaded[0]}; give init.method=null")
    if method == "isometric":
        isometric_init(task)
    elif method is not None:
        raise UserError(f"init.method={method!r}; expected null or 'isometric'")


def load_task(config: dict[str, Any], weights: dict[str, torch.Tensor], num_classes: int, source: str) -> Task:
    """`build_task` with weights, every one of which must fit."""
    bare = without_sources(config)
    try:
        with planned(source):  # so that sizes that are not the weights' are told before they take memory
            plan = build_task(bare, num_classes)
    except (RuntimeError, OverflowError) as error:
        raise UserError(
            f"{source}: no network can be built as its config says ({str(error).splitlines()[0]})"
        ) from error
    check_weights(plan, weights, source)
    task = build_task(bare, num_classes)
    task.load_state_dict(weights)
    return task


def check_weights(module: nn.Module, weights: dict[str, torch.Tensor], source: str) -> None:
    """Refuse weights of other names or shapes than the module's."""
    expected = module.state_dict()
    missing, extra = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    both = sorted(expected.keys() & weights.keys())
    shapes = [n for n in both if expected[n].shape != weights[n].shape]
    dtypes = [n for n in both if expected[n].is_floating_point() != weights[n].is_floating_point()
             or weights[n].is_complex()]  # fmt: skip
    if missing or extra or shapes or dtypes:
        parts = [("lacks", missing), ("has, but the network lacks", extra), ("differs in shape", shapes),
                 ("holds numbers of another type", dtypes)]  # fmt: skip
        listed = "; ".join(f"{what} {len(names)}: {', '.join(names[:3])}" for what, names in parts if names)
        raise UserError(f"{source} does not fit the network that the config describes: {listed}")


def without_sources(config: dict[str, Any]) -> dict[str, Any]:
    """For a network whose weights a checkpoint of ours holds: where they first came from need not be there."""
    sources = {key: None if key == "checkpoint" else False for key in ("checkpoint", "pretrained")}
    return config | {"backbone": config["backbone"] | {k: v for k, v in sources.items() if k in config["backbone"]}}


def check_data_type(task: Task, data: Data, config: dict[str, Any]) -> None:
    """Refuse data that the task cannot learn from."""
    if task.data_type != data.data_type:
        raise UserError(
            f"task={config['task']['name']} needs {task.data_type} data, but data={config['data'].get('choice')} "
            f"is {data.data_type} data"
        )


def _without(name: str, node: dict[str, Any]) -> dict[str, Any]:
    """Without the key that tells users and checkpoints which option it is, and the object nothing."""
    return {key: value for key, value in node.items() if key != name}


def _resolution(config: dict[str, Any]) -> int:
    check_count("resolution", config["resolution"])
    return config["resolution"]
