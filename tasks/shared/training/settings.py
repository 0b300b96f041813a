"""Values of a run's config that no constructor sees."""

import math
import os
from typing import Any

import torch

from tasks.shared.config.consent import asks_for
from tasks.shared.config.types import NONE
from tasks.shared.contract import Task
from tasks.shared.errors import UserError, check_count
from tasks.shared.network.runtime import check_accelerator, pick_device
from tasks.shared.training.optim import OPTIMIZERS, SCHEDULES, make_optimizer


def check_settings(config: dict[str, Any]) -> None:
    """Refuse values that no constructor sees."""
    settings = config["trainer"]
    for key in ("max_epochs", "val_every_epochs"):
        check_count(f"trainer.{key}", settings[key])
    check_count("seed", config["seed"], least=0)
    decay_epochs = config["optim"]["schedule"]["decay_epochs"]
    if not isinstance(decay_epochs, int | float) or not decay_epochs > 0:
        raise UserError(f"optim.schedule.decay_epochs={config['optim']['schedule']['decay_epochs']}; expected above 0")
    for key, value, known in (
        ("optim.name", config["optim"]["name"], OPTIMIZERS),
        ("optim.schedule.schedule", config["optim"]["schedule"]["schedule"], SCHEDULES),
    ):
        if value not in known:
            raise UserError(f"{key}={value!r}; expected one of {', '.join(known)}")
    checks = (
        ("optim.weight_decay", config["optim"]["weight_decay"], 0.0, math.inf),
        ("optim.schedule.warmup_epochs", config["optim"]["schedule"]["warmup_epochs"], 0.0, math.inf),
        ("optim.schedule.decay", config["optim"]["schedule"]["decay"], 0.0, math.inf),
        ("optim.schedule.final", config["optim"]["schedule"]["final"], 0.0, math.inf),
        ("trainer.bn_momentum", settings["bn_momentum"], 0.0, 1.0),
        ("trainer.ema_decay", settings["ema_decay"], 0.0, 1.0 - 1e-9),
        ("trainer.gradient_clip_norm", settings["gradient_clip_norm"], 0.0, math.inf),
    )
    for key, value, least, most in checks:
        if value is None and key.split(".")[-1] in NONE:
            continue
        if not isinstance(value, int | float) or not least <= value <= most:
            raise UserError(
                f"{key}={value!r}; expected a number from {least:g}" + (f" to {most:g}" if most <= 1 else "")
            )
    for key in ("limit_train_batches", "limit_val_batches"):
        if not isinstance(settings[key], int | float) or settings[key] <= 0:
            raise UserError(f"trainer.{key}={settings[key]!r}; expected a share or a number of batches above 0")
    if not isinstance(config["optim"]["lr"], int | float) or not 0 < config["optim"]["lr"] < math.inf:
        raise UserError(f"optim.lr={config['optim']['lr']!r}; expected a number above 0")
    if settings["devices"] == -1 and settings["accelerator"] != "gpu" and not torch.cuda.is_available():
        raise UserError("trainer.devices=-1 means all GPUs, but torch sees none; give trainer.devices=NUMBER")
    check_accelerator(settings["accelerator"])
    _check_processes(settings["devices"], settings["accelerator"])


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


def try_optimizer(task: Task, optim: dict[str, Any]) -> None:
    """Fail on its options now, not when training has begun."""
    try:
        make_optimizer(task, **{key: value for key, value in optim.items() if key != "schedule"})
    except UserError:
        raise
    except (TypeError, ValueError) as error:
        raise UserError(f"optim.*: {error}") from error
