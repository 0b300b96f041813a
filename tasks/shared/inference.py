"""A checkpoint's network, ready to answer."""

from typing import Any

import torch

from tasks.shared.build import load_task
from tasks.shared.checkpoint import Checkpoint
from tasks.shared.contract import Task
from tasks.shared.errors import UserError
from tasks.shared.runtime import check_accelerator, keep_heap, pick_device


def network_of(checkpoint: Checkpoint, config: dict[str, Any]) -> tuple[Task, torch.device]:
    """The network in eval mode with the checkpoint's weights, and the device that it is on.

    config: the checkpoint's own, with what the user has changed (what it runs on, thresholds ...).
    """
    if checkpoint.num_classes == 0:
        raise UserError(
            f"{checkpoint.path}: a backbone without a head; train one with init.run={checkpoint.path} init.head=new"
        )
    check_accelerator(config["trainer"]["accelerator"])
    task = load_task(config, checkpoint.weights, checkpoint.num_classes, str(checkpoint.path))
    keep_heap()
    device = pick_device(config["trainer"]["accelerator"])
    task = task.eval().to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return task, device
