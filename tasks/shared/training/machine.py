"""What a run's config asks of the machine."""

import os
from typing import Any

import torch

from tasks.shared.config.consent import asks_for
from tasks.shared.errors import UserError
from tasks.shared.network.runtime import check_accelerator, pick_device
from tasks.shared.training.settings import TrainerConfig


def check_machine(config: TrainerConfig) -> None:
    """Raise UserError, naming the key, for devices that this machine lacks, or that a file's word alone asks for."""
    if config.devices == -1 and config.accelerator != "gpu" and not torch.cuda.is_available():
        raise UserError("trainer.devices=-1 means all GPUs, but torch sees none; give trainer.devices=NUMBER")
    check_accelerator(config.accelerator)
    _check_processes(config.devices, config.accelerator)


def _check_processes(devices: Any, accelerator: str) -> None:
    """On a CPU each device is a process: on a file's word alone no more of them start than there are cores."""
    try:
        count = int(devices)
    except (TypeError, ValueError):  # a list, or "auto", which is one there
        return
    cores = os.cpu_count() or 1
    if count > cores and pick_device(accelerator).type == "cpu" and not asks_for("trainer.devices"):
        raise UserError(
            f"trainer.devices={count}: a process each, on {cores} cores, is what the run's file asks for; give "
            "trainer.devices=NUMBER on this command line too"
        )
