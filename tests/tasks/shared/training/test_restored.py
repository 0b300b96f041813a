"""What a checkpoint makes Lightning restore: whatever passes restores and trains, everything else ends in one line."""

import copy
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import nn

from tasks.shared.errors import UserError
from tasks.shared.records.checkpoint import KEY, write_checkpoint
from tasks.shared.training.callbacks import Checkpoints, WholeCheckpoints
from tasks.shared.training.optim import make_optimizer, make_schedule
from tasks.shared.training.restored import check_progress, check_restored, check_state

WRONG: tuple[Any, ...] = (
    None, "x", True, -1, 10**400, float("nan"), [], {}, [None], {"x": 1}, 1j,
    torch.zeros(3), torch.tensor(-3), torch.tensor(float("nan")), torch.zeros((), dtype=torch.complex64),
)  # fmt: skip
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adamw": {"options": {"amsgrad": True}}, "sgd": {"options": {"momentum": 0.9}}, "adagrad": {}, "rmsprop": {},
}  # fmt: skip


class Run:
    """A network with an optimizer after a step, and Lightning's loops beside it."""

    def __init__(self, name: str = "adamw") -> None:
        self.net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
        self.optimizer = make_optimizer(self.net, name, 0.1, 0.01, **OPTIMIZERS[name])
        self.schedule = make_schedule(self.optimizer, 4, 2)
        self.loops = pl.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu").fit_loop
        plugin = SimpleNamespace(state_dict=dict)
        configs = [SimpleNamespace(scheduler=self.schedule)]
        self.trainer: Any = SimpleNamespace(
            fit_loop=self.loops, optimizers=[self.optimizer], lr_scheduler_configs=configs, precision_plugin=plugin
        )

    def step(self) -> None:
        self.net(torch.ones(4, 3)).square().sum().backward()
        self.optimizer.step()
        self.schedule.step()

    def saved(self) -> dict[str, Any]:
        return copy.deepcopy({
            "epoch": 1, "global_step": 4, "pytorch-lightning_version": pl.__version__,
            "state_dict": self.net.state_dict(), "loops": {"fit_loop": self.loops.state_dict()},
            "callbacks": {"Checkpoints": {"best": 0.5}}, "optimizer_states": [self.optimizer.state_dict()],
            "lr_schedulers": [self.schedule.state_dict()], KEY: {"next_epoch": 1},
        })  # fmt: skip

    def restore(self, content: dict[str, Any]) -> None:
        """As Lightning does, in its order."""
        content = check_restored(content, "last.ckpt", "MixedPrecision")
        check_state(self.net, content["state_dict"], "last.ckpt")
        self.net.load_state_dict(content["state_dict"])
        checkpoints = Checkpoints(Path("x"), ("top1",), resumed=True)
        checkpoints.load_state_dict(content["callbacks"]["Checkpoints"])
        assert (checkpoints.best < 0.5) in (True, False)
        check_progress(self.trainer, content, "last.ckpt")
        self.loops.load_state_dict(content["loops"]["fit_loop"])
        self.optimizer.load_state_dict(content["optimizer_states"][0])
        self.schedule.load_state_dict(content["lr_schedulers"][0])
        assert isinstance(self.loops.epoch_loop.global_step + self.loops.epoch_progress.current.completed + 1, int)
        self.step()


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if at:
        yield at
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inside:
        yield from places(each, (*at, key))


def changed(content: dict[str, Any], place: tuple[Any, ...], change: Callable[[Any, Any], None]) -> dict[str, Any]:
    made = copy.deepcopy(content)
    node: Any = made
    for key in place[:-1]:
        node = node[key]
    change(node, place[-1])
    return made


@pytest.mark.parametrize(
    "name", ["adamw", *(pytest.param(n, marks=pytest.mark.slow) for n in ("sgd", "adagrad", "rmsprop"))]
)
def test_whatever_stands_anywhere_is_told_in_one_line_or_restores(name: str) -> None:
    run = Run(name)
    run.step()
    sound = run.saved()
    Run(name).restore(copy.deepcopy(sound))
    passed = refused = 0
    other = Run(name)
    parts: tuple[Any, ...] = (other.net, other.optimizer, other.schedule, other.loops)
    fresh = copy.deepcopy([part.state_dict() for part in parts])
    for place in places(sound):
        if place[:3] == ("loops", "fit_loop", "epoch_loop.manual_optimization.optim_step_progress"):
            continue  # as the others
        changes: list[Callable[[Any, Any], None]] = [lambda node, key: node.__delitem__(key)]
        changes += [lambda node, key, w=w: node.__setitem__(key, w) for w in WRONG]  # type: ignore[misc]
        changes += [lambda node, key: node.__setitem__(key, node[key].new_zeros(5, 5))] if len(place) == 4 else []
        for change in changes:
            try:
                content = changed(sound, place, change)
            except (AttributeError, TypeError):
                continue  # not a tensor
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    other.restore(content)
                passed += 1
                for part, state in zip(parts, fresh, strict=True):
                    part.load_state_dict(copy.deepcopy(state))
            except UserError as error:
                refused += 1
                assert "\n" not in str(error) and str(error).startswith("last.ckpt"), error
                assert len(str(error)) < 400
    assert refused > 200 and passed > 50  # of settings, which the run has itself, whatever a file says


def test_settings_of_the_optimizer_are_the_runs_own() -> None:
    run = Run()
    run.step()
    content = run.saved()
    group = content["optimizer_states"][0]["param_groups"][0]
    group |= {"betas": (1.0, 1.0), "eps": "x", "hooks": 3, "lr": 0.03}
    content["lr_schedulers"][0] |= {"step": 5, "optimizer": None, "base_lrs": [9.0, 9.0]}
    other = Run()
    other.restore(content)
    assert other.optimizer.param_groups[0]["betas"] == (0.9, 0.999)
    assert other.schedule.base_lrs == [0.1, 0.1] and other.schedule.last_epoch == 2


def test_keys_that_nobody_asked_for_never_reach_lightning() -> None:
    content = Run().saved() | {"hyper_parameters": {"_class_path": "os.system"}, "native_amp_scaling_state": 5}
    taken = check_restored(content, "last.ckpt", "MixedPrecision")
    assert "hyper_parameters" not in taken and "native_amp_scaling_state" not in taken


@pytest.mark.parametrize("version", ["1.9.5", "0.9", "two", "", None, 2.0, "2.0.0\n", "٢.0.0", "2." + "1" * 5000])
def test_versions_are_those_that_need_no_moving_about(version: object, tmp_path: Path) -> None:
    file = tmp_path / "last.ckpt"
    write_checkpoint(file, Run().saved() | {"pytorch-lightning_version": version})
    with pytest.raises(UserError, match=r"last\.ckpt: pytorch-lightning_version=.*; expected a version from 2\.0$"):
        WholeCheckpoints().load_checkpoint(file)
