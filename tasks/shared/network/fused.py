"""A checkpoint's network, ready to answer."""

import shlex

import torch
from torch import nn

from backbone import fold_batch_norm, fuse_activations
from tasks.shared.config.nodes import NetworkConfig
from tasks.shared.contract import Task
from tasks.shared.errors import UserError
from tasks.shared.network.build import load_task
from tasks.shared.network.runtime import check_accelerator, keep_heap, pick_device, pick_precision
from tasks.shared.records.checkpoint import Checkpoint


def network_of(
    checkpoint: Checkpoint, config: NetworkConfig, accelerator: str, precision: str | int
) -> tuple[Task, torch.device]:
    """The network with the checkpoint's weights, as `prepare_for_inference` makes it, and the device that it is on.

    As the final score of a run, `tools/eval.py` and `tools/predict.py` all ask here, they have the same network to the
    last digit.

    config: the checkpoint's own, with what the user has changed (thresholds ...). accelerator, precision: the keys of
    `trainer`.
    """
    if all(name.startswith("backbone.") for name in checkpoint.weights):
        raise UserError(
            f"{checkpoint.path}: a backbone without a head; train one with "
            f"{shlex.quote(f'init.run={checkpoint.path}')} init.head=new"
        )
    check_accelerator(accelerator)
    device = pick_device(accelerator)
    bf16 = pick_precision(device, precision).startswith("bf16")
    task = load_task(config, checkpoint.weights, checkpoint.num_classes, str(checkpoint.path))
    task.check_info(checkpoint.info, str(checkpoint.path))
    keep_heap()
    return prepare_for_inference(task, device, bf16), device


def prepare_for_inference(task: Task, device: torch.device, bf16: bool) -> Task:
    """The network in eval mode, made fast; in place.

    Batch norm is folded into the convolutions: the same function to float precision. In bf16 convolutions and linear
    layers keep rounded weights, which autocast would otherwise round for every batch anew. What outputs mean is
    computed from them in fp32, as in training. On a CPU convolutions activate what they give.
    """
    task.eval()
    fold_batch_norm(task)
    task = task.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if bf16:
        for layer in task.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.to(torch.bfloat16)
        task.answers_under = torch.autocast(device.type, torch.bfloat16)
    fuse_activations(task)
    return task
