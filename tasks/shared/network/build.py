"""The one place that turns config into objects."""

import inspect
import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from tasks.shared.config.carried import check_names
from tasks.shared.config.nodes import NetworkConfig, Node
from tasks.shared.config.targets import target_of
from tasks.shared.contract import Data, Task
from tasks.shared.errors import UserError
from tasks.shared.network.isometric import isometric_init
from tasks.shared.network.planned import planned

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)  # and what extends them, as timm's


def construct(node: Node, **more: Any) -> Any:
    """Call what the node names with its arguments and `more`.

    A ValueError or TypeError of the callee becomes a UserError.
    """
    made, key = target_of(node), node.group
    arguments = node.arguments | more
    try:
        return made(**arguments)
    except UserError:
        raise
    except (ValueError, TypeError) as error:
        message = str(error) if isinstance(error, ValueError) else f"{key}: a value of the wrong type ({error})"
        if isinstance(error, TypeError) and (odd := re.search(r"unexpected keyword argument '(\w+)'$", str(error))):
            message = f"{key}.{odd[1]}={arguments.get(odd[1])!r}: there is no such key; {node.target} takes none"
        raise UserError(message) from error


def build_data(node: Node | None, resolution: int, splits: Iterable[str] = ("train", "val")) -> Data:
    """A run's data; resolution: side of the network's input in pixels."""
    if node is None:
        raise UserError("data is not set; choose one of configs/data, such as data=coco_sample")
    data: Data = construct(node, resolution=resolution, splits=tuple(splits))
    check_names(data.info, f"data={node.name}")
    return data


def build_task(config: NetworkConfig, num_classes: int) -> Task:
    """The network of a run: backbone, head, and the settings that concern the whole of it."""
    task_class(config.task)  # is one, before a backbone is built for it
    backbone = construct(config.backbone)
    task = construct(config.task, backbone=backbone, num_classes=num_classes, resolution=config.resolution)
    if config.bn_momentum is not None:
        for module in task.modules():
            if isinstance(module, BATCH_NORMS):
                module.momentum = config.bn_momentum
    return task


def task_class(node: Node) -> type[Task]:
    """The class of a run's network. Raises UserError where its config names none."""
    made = target_of(node)
    if not (inspect.isclass(made) and issubclass(made, Task)):
        raise UserError(f"task._target_={node.target!r} is no task; expected a subclass of {Task.__name__}")
    return made


def initialise(task: Task, method: str | None, backbone: Node) -> None:
    """Give a new network the weights to start from that `init.method` names."""
    if method is not None and (loaded := backbone.sources()):
        raise UserError(f"init.method would overwrite the weights of backbone.{loaded[0]}; give init.method=null")
    if method == "isometric":
        isometric_init(task)


def load_task(config: NetworkConfig, weights: dict[str, torch.Tensor], num_classes: int, source: str) -> Task:
    """`build_task` with weights, every one of which must fit."""
    bare = config.without_sources()
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


def check_data_type(task: Task, data: Data, task_name: str | None, data_name: str | None) -> None:
    """Refuse data that the task cannot learn from; the names are those of the choices."""
    if task.data_type != data.data_type:
        raise UserError(f"task={task_name} needs {task.data_type} data, but data={data_name} is {data.data_type} data")
