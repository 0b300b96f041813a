"""What Lightning restores of a checkpoint when a run goes on, held against what this run has made itself.

A file gives numbers where the run has numbers, and tensors where it has tensors; names, settings and structure are the
run's own. So nothing of a file is set where Lightning or torch would take whatever comes.
"""

import inspect
import re
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from tasks.shared.errors import UserError
from tasks.shared.network.build import check_weights
from tasks.shared.records.checkpoint import KEY, named_tensors

# Of Lightning: what versions before 2 wrote it moves about by keys that a file may lack.
VERSION = re.compile(r"(?!0|1\.)\d{1,4}\.\d{1,4}(\.\d{1,4})?((\.dev|\.post|a|b|rc)\d{1,8})?", re.ASCII)
MOST = 1 << 53  # steps, images and updates: beyond it floats do not count
TAKEN = ("state_dict", "loops", "callbacks", "optimizer_states", "lr_schedulers", "epoch", "global_step", KEY)
BEST = "Checkpoints"  # the callback with a state, by the name that Lightning has for it
LARGE = 1e300
PROGRESS = ("epoch_progress", "epoch_loop.batch_progress", "epoch_loop.automatic_optimization.optim_progress")
SCHEDULE = ("last_epoch", "_step_count", "_last_lr")  # of a schedule's state: what steps change


def check_restored(content: Any, path: object, scaler: str) -> dict[str, Any]:
    """What Lightning may see of a checkpoint that was read from `path`, before it sees any of it.

    scaler: Lightning's name for the state of its precision. Raises UserError, one line naming file and key.
    """
    if not isinstance(content, dict) or not isinstance(content.get(KEY), dict):
        raise UserError(f"{path}: not a checkpoint of this toolkit; expected one that tools/train.py has written")
    named_tensors(content.get("state_dict"), path)
    version = content.get("pytorch-lightning_version")
    known = isinstance(version, str) and VERSION.fullmatch(version)
    _expect(known, path, "pytorch-lightning_version", version, "a version from 2.0")
    for key, expected_type in (
        ("loops", dict),
        ("callbacks", dict),
        ("optimizer_states", list),
        ("lr_schedulers", list),
    ):
        _expect(isinstance(content.get(key), expected_type), path, key, content.get(key), f"a {expected_type.__name__}")
    for key in ("epoch", "global_step"):
        _expect(_counts(content.get(key)), path, key, content.get(key), "a whole number from 0")
    best = content["callbacks"].get(BEST)
    best = best.get("best") if isinstance(best, dict) else None
    numeric = isinstance(best, int | float) and not isinstance(best, bool) and best < LARGE
    _expect(numeric, path, f"callbacks.{BEST}.best", best, "the best score so far")
    next_epoch = content[KEY].get("next_epoch")
    _expect(_counts(next_epoch), path, f"{KEY}.next_epoch", next_epoch, "a whole number from 0")
    taken = {key: content[key] for key in (*TAKEN, scaler) if key in content}
    return taken | {"callbacks": {BEST: {"best": best}}, "pytorch-lightning_version": version}


def check_state(module: nn.Module, state: dict[str, Tensor], path: object) -> None:
    """Raise UserError where the weights that a run goes on with, and its counters, are not this network's."""
    check_weights(module, state, str(path))
    updates = state.get("ema.updates")
    if updates is not None:
        _expect(_counts(updates.item()), path, "ema.updates", updates.item(), "a whole number from 0")


def check_progress(trainer: pl.Trainer, content: dict[str, Any], path: object) -> None:
    """Bring the state of loops, optimizers, schedules and scaler in `content` to what the trainer's own have; in place.

    To be called when the trainer has made them and has not restored any. Raises UserError naming file and key.
    """
    loops = content["loops"].get("fit_loop")
    for key in PROGRESS:
        _expect(isinstance(loops, dict) and key in loops, path, "loops.fit_loop", loops, f"it to hold {key}")
    content["loops"] = {"fit_loop": _alike(loops, trainer.fit_loop.state_dict(), path, "loops.fit_loop")}
    states, optimizers = content["optimizer_states"], trainer.optimizers
    _expect(len(states) == len(optimizers), path, "optimizer_states", states, f"{len(optimizers)} of them")
    content["optimizer_states"] = [
        _optimizer_state(state, optimizer, path, f"optimizer_states[{k}]")
        for k, (state, optimizer) in enumerate(zip(states, optimizers, strict=True))
    ]
    schedules = [each.scheduler for each in trainer.lr_scheduler_configs]
    states = content["lr_schedulers"]
    _expect(len(states) == len(schedules), path, "lr_schedulers", states, f"{len(schedules)} of them")
    for k, (state, schedule) in enumerate(zip(states, schedules, strict=True)):
        key, own = f"lr_schedulers[{k}]", schedule.state_dict()
        changed = {name: own[name] for name in SCHEDULE}
        content["lr_schedulers"][k] = own | _alike(state, changed, path, key)
    scaler = trainer.precision_plugin
    if (name := type(scaler).__qualname__) in content:
        content[name] = _alike(content[name], scaler.state_dict(), path, name)


def _optimizer_state(state: Any, optimizer: torch.optim.Optimizer, path: object, key: str) -> dict[str, Any]:
    """Settings are the run's own, so the file gives learning rates, and of each weight what its optimizer keeps."""
    own = optimizer.state_dict()
    _expect(isinstance(state, dict), path, key, state, "the state of an optimizer")
    groups, kept = state.get("param_groups"), state.get("state")
    _expect(isinstance(groups, list) and len(groups) == len(own["param_groups"]), path, f"{key}.param_groups", groups,
            f"{len(own['param_groups'])} groups of weights")  # fmt: skip
    merged = []
    for n, (group, mine) in enumerate(zip(groups, own["param_groups"], strict=True)):
        where = f"{key}.param_groups[{n}]"
        found = group.get("params") if isinstance(group, dict) else None
        fits = isinstance(found, list) and all(type(each) is int for each in found) and found == mine["params"]
        _expect(fits, path, f"{where}.params", found, f"{len(mine['params'])} weights in their order")
        merged.append(mine | _alike(group, {"lr": mine["lr"]}, path, where))
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    _expect(isinstance(kept, dict), path, f"{key}.state", kept, "what is kept of each weight")
    example = _kept_of(optimizer)
    for number, values in kept.items():
        where = f"{key}.state[{_shown(number)}]"
        fits = type(number) is int and 0 <= number < len(weights) and isinstance(values, dict)
        _expect(fits and (not values or values.keys() == example.keys()), path, where, values,
                f"{', '.join(example) or 'nothing'}, of one of {len(weights)} weights")  # fmt: skip
        for name, value in values.items():
            _check_kept(value, example[name], weights[number], path, f"{where}.{name}")
    filled = sum(bool(values) for values in kept.values())
    together = own["state"] or (isinstance(optimizer, torch.optim.SGD) and filled)  # Adagrad keeps it from the start
    expected = f"what is kept of all {len(weights)} weights"
    _expect(not together or filled == len(weights), path, f"{key}.state", kept, expected)
    return {"state": kept, "param_groups": merged}


def _kept_of(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """What such an optimizer keeps of a weight after a step: of two numbers, so that scalars differ from it."""
    made = type(optimizer)
    taken = inspect.signature(made).parameters.keys() - {"fused", "foreach", "capturable"}
    weight = nn.Parameter(torch.zeros(2))
    trial = made([weight], **{name: value for name, value in optimizer.defaults.items() if name in taken})
    weight.grad = torch.zeros(2)
    trial.step()
    return dict(trial.state[weight])


def _check_kept(value: Any, example: Any, weight: Tensor, path: object, key: str) -> None:
    if isinstance(example, Tensor) and example.ndim:
        fits = isinstance(value, Tensor) and value.shape == weight.shape and value.is_floating_point()
        _expect(fits, path, key, value, f"a tensor of {tuple(weight.shape)}, as its weight")
        return
    number = value.item() if isinstance(value, Tensor) and value.ndim == 0 and not value.is_complex() else value
    if example is None:
        _expect(value is None, path, key, value, "nothing")
    else:
        fits = isinstance(value, Tensor) == isinstance(example, Tensor) and _is_number(number) and 0 <= number < MOST
        _expect(fits, path, key, value, "a number from 0")


def _alike(value: Any, own: Any, path: object, key: str) -> Any:
    """`value` with the keys and kinds of `own`, which has numbers in lists and dicts; what it lacks stays the own."""
    if isinstance(own, dict):
        _expect(isinstance(value, dict), path, key, value, "keys below it")
        missing = sorted(name for name in own if name not in value and not isinstance(own[name], dict))
        _expect(not missing, path, key, value, f"it to hold {', '.join(missing)}")
        return {
            name: _alike(value[name], each, path, f"{key}.{name}") if name in value else each
            for name, each in own.items()
        }
    if isinstance(own, list):
        _expect(isinstance(value, list) and len(value) == len(own), path, key, value, f"a list of {len(own)}")
        return [_alike(v, o, path, f"{key}[{k}]") for k, (v, o) in enumerate(zip(value, own, strict=True))]
    if isinstance(own, bool):
        _expect(isinstance(value, bool), path, key, value, "true or false")
    elif isinstance(own, int):
        _expect(_counts(value), path, key, value, "a whole number from 0")
    elif isinstance(own, Tensor):
        fits = isinstance(value, Tensor) and value.shape == own.shape and value.dtype == own.dtype
        _expect(fits, path, key, value, f"a tensor of {tuple(own.shape)}")
    else:
        _expect(_is_number(value), path, key, value, "a number")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGE


def _counts(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of {tuple(value.shape)}"
    shown = f"a {type(value).__name__}" if isinstance(value, dict | list | tuple | set) else repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


def _expect(fits: object, path: object, key: str, value: Any, expected: str) -> None:
    if not fits:
        raise UserError(f"{path}: {key}={_shown(value)}; expected {expected}")
