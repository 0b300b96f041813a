"""Optimizers and learning-rate schedules, by name."""

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from tasks.shared.errors import UserError
from tasks.shared.training.settings import OptimConfig

FUSED = {"adamw": {"cpu", "cuda", "mps"}, "sgd": {"cpu", "cuda", "mps"}, "adagrad": {"cpu"}}  # by device
HOW = {"fused", "foreach", "capturable", "differentiable"}  # options that say how a step is computed


def parameter_groups(
    network: nn.Module, weight_decay: float, backbone_rate: float | None = None
) -> list[dict[str, Any]]:
    """Two groups: with weight decay and without. With `backbone_rate`, which is a learning rate, two more: what lies
    below `network.backbone` has them to itself.

    Without decay: depthwise filters, as they have so few weights (Sec. 3.2), and, our addition, batch norm and biases.
    """
    if backbone_rate is not None:
        body = getattr(network, "backbone", nn.Module())
        groups = [group | {"lr": backbone_rate} for group in parameter_groups(body, weight_decay)]
        inside = {id(p) for group in groups for p in group["params"]}
        rest = parameter_groups(network, weight_decay)
        return groups + [group | {"params": [p for p in group["params"] if id(p) not in inside]} for group in rest]
    depthwise = {
        id(m.weight)
        for m in network.modules()
        if isinstance(m, nn.Conv2d) and m.groups == m.in_channels and m.groups > 1
    }
    trained = [p for p in network.parameters() if p.requires_grad]
    free = [p for p in trained if p.ndim <= 1 or id(p) in depthwise]
    decayed = [p for p in trained if p.ndim > 1 and id(p) not in depthwise]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]


def make_optimizer(
    network: nn.Module,
    name: str,
    lr: float,
    weight_decay: float,
    options: dict[str, Any] | None = None,
    backbone_lr: float = 1.0,
    fused: bool = True,
) -> torch.optim.Optimizer:
    """One of `settings.OPTIMIZERS`; `options` go to the optimizer; `backbone_lr` is the backbone's share of `lr`.

    fused: in one operator over all weights where torch has one on their device, unless `options` say how. AdamW takes a
    fifth of its time then. Not for gradients that a scaler has multiplied: it would be undone too late to clip them.

    RMSProp is TensorFlow's, as the paper trained with: epsilon inside the square root, a first mean square of 1,
    and the learning rate inside the momentum buffer. torch's own differs in all three.
    """
    groups = parameter_groups(network, weight_decay, None if backbone_lr == 1 else lr * backbone_lr)
    made: Any = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD, "adagrad": torch.optim.Adagrad}.get(name)
    if name == "rmsprop":
        from timm.optim import RMSpropTF as made
    options = options or {}
    known = inspect.signature(made).parameters.keys() - {"params", "lr", "weight_decay"}
    if unknown := sorted(options.keys() - known):
        raise UserError(f"optim.options: {name} has no {', '.join(unknown)}; it takes {', '.join(sorted(known))}")
    devices = {parameter.device.type for group in groups for parameter in group["params"]}
    if fused and devices <= FUSED.get(name, set()) and not options.keys() & HOW:
        options = options | {"fused": True}
    return made(groups, lr=lr, **options)


def optimizer_of(network: nn.Module, config: OptimConfig, fused: bool = True) -> torch.optim.Optimizer:
    """The optimizer of a run's config. Raises UserError for options that it does not take."""
    told = (config.name, config.lr, config.weight_decay, config.options, config.backbone_lr)
    try:
        return make_optimizer(network, *told, fused=fused)
    except UserError:
        raise
    except (TypeError, ValueError) as error:
        raise UserError(f"optim.*: {error}") from error


def make_schedule(
    optimizer: torch.optim.Optimizer,
    steps_per_epoch: float,
    epochs: int,
    schedule: str = "cosine",
    warmup_epochs: float = 0.0,
    decay: float = 0.1,
    decay_epochs: float = 1.0,
    final: float = 0.0,
) -> LambdaLR:
    """A learning-rate factor that is updated every step.

    schedule: `"cosine"` to `final`, `"exponential"` and `"step"` (times `decay` every `decay_epochs`, smoothly or in
    stairs), or `"constant"`; after `warmup_epochs` of linear warm-up. Lengths are in epochs and may be fractions.
    """
    curves: dict[str, Callable[[float], float]] = {
        "cosine": lambda epoch: final + (1 - final) * (1 + math.cos(math.pi * min(epoch / max(epochs, 1), 1))) / 2,
        "exponential": lambda epoch: decay ** (epoch / decay_epochs),
        "step": lambda epoch: decay ** (epoch // decay_epochs),
        "constant": lambda epoch: 1.0,
    }
    curve, warmup_steps = curves[schedule], warmup_epochs * steps_per_epoch

    def factor(step: int) -> float:
        warmup = min((step + 1) / warmup_steps, 1.0) if warmup_steps > 0 else 1.0
        return warmup * curve(step / steps_per_epoch)

    return LambdaLR(optimizer, factor)
