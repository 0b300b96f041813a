"""A checkpoint's network, ready to answer."""

from typing import Any

import torch

from backbone import fold_batch_norm
from tasks.shared.build import load_task
from tasks.shared.checkpoint import Checkpoint
from tasks.shared.contract import Task
from tasks.shared.errors import UserError
from tasks.shared.runtime import check_accelerator, keep_heap, pick_device


def network_of(checkpoint: Checkpoint, config: dict[str, Any]) -> tuple[Task, torch.device]:
    """The network in eval mode with the checkpoint's weights, and the device that it is on.

    Batch norm is folded into the convolutions: the same function to float precision, and faster. As the final score of
    a run, `tools/eval.py` and `tools/predict.py` all ask here, they have the same network to the last digit.

    config: the checkpoint's own, with what the user has changed (what it runs on, thresholds ...).
    """
    if all(name.startswith("backbone.") for name in checkpoint.weights):
        raise UserError(
            f"{checkpoint.path}: a backbone without a head; train one with init.run={checkpoint.path} init.head=new"
        )
    check_accelerator(config["trainer"]["accelerator"])
    task = load_task(config, checkpoint.weights, checkpoint.num_classes, str(checkpoint.path))
    keep_heap()
    device = pick_device(config["trainer"]["accelerator"])
    task.eval()
    fold_batch_norm(task)
    task = task.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return task, device
