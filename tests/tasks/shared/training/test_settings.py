"""A run's config: the YAML files' keys, types and ranges, and that it is carried as it was."""

import dataclasses
from typing import Any

import pytest
import torch

from tasks.planet.settings import PreparePlanetConfig
from tasks.shared.benchmark.settings import BenchmarkConfig
from tasks.shared.config.carried import check_config, completed
from tasks.shared.config.compose import compose_config, groups, plain
from tasks.shared.config.typed import plain_of
from tasks.shared.errors import UserError
from tasks.shared.inference.settings import ConvertConfig, PredictConfig
from tasks.shared.network.settings import FreezeConfig, InitConfig
from tasks.shared.paper.settings import BudgetConfig, CostConfig, FiguresConfig
from tasks.shared.training.optim import make_optimizer
from tasks.shared.training.settings import (
    OPTIMIZERS,
    EvalConfig,
    OptimConfig,
    RunConfig,
    ScheduleConfig,
    TrainConfig,
    TrainerConfig,
    run_of,
)


def config_of(*overrides: str) -> dict[str, Any]:
    return plain(compose_config("train", ["data.root=x", *overrides]))


def changed(config: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    first, _, rest = key.partition(".")
    return config | {first: changed(config[first], rest, value) if rest else value}


def fields(made: type) -> set[str]:
    return {field.name for field in dataclasses.fields(made)}


@pytest.mark.parametrize(
    ("tool", "made"),
    [("eval", EvalConfig), ("predict", PredictConfig), ("convert_weights", ConvertConfig), ("cost", CostConfig),
     ("figures", FiguresConfig), ("benchmark", BenchmarkConfig), ("prepare_planet", PreparePlanetConfig)],
)  # fmt: skip
def test_a_tool_has_the_keys_of_its_file(tool: str, made: type) -> None:
    assert fields(made) == set(map(str, compose_config(tool, [])))


def test_a_run_has_the_keys_of_the_yaml_files() -> None:
    config = config_of()
    assert fields(RunConfig) | fields(TrainConfig) == config.keys()
    for choice in groups()["trainer"]:
        assert fields(TrainerConfig) == config_of(f"trainer={choice}")["trainer"].keys()
    for choice in groups()["optim"]:
        optim = config_of(f"optim={choice}")["optim"]
        assert (fields(OptimConfig), fields(ScheduleConfig)) == (optim.keys(), optim["schedule"].keys())
    assert (fields(InitConfig), fields(FreezeConfig)) == (config["init"].keys(), config["freeze"].keys())
    assert fields(BudgetConfig) == set(map(str, compose_config("cost", []).budget))


@pytest.mark.parametrize("task", groups()["task"])
@pytest.mark.parametrize("more", [[], ["backbone=timm", "teacher=run", "teacher.path=x"]], ids=["usual", "other"])
def test_what_is_carried_is_what_was_composed(task: str, more: list[str]) -> None:
    config = config_of(f"task={task}", *more)
    wanted = {key: config[key] for key in config if key not in ("output", "resume", "max_megapixels", "stages")}
    run = run_of(config)
    assert plain_of(run) == wanted | {"stages": {}}
    assert run_of(plain_of(run)) == run and run_of(completed(check_config(plain_of(run), "file")), "file") == run


def test_a_checkpoint_of_before_a_key_has_todays_default() -> None:
    config = plain_of(run_of(config_of()))
    old = {key: value for key, value in config.items() if key not in ("teacher", "stages", "freeze", "optim", "seed")}
    old |= {"init": {"run": "x"}, "trainer": {"bn_momentum": 0.1, "max_epochs": 7}}
    run, today = run_of(completed(check_config(old, "file")), "file"), run_of(config_of())
    assert (run.init.run, run.init.head, run.trainer.max_epochs, run.trainer.bn_momentum) == ("x", "keep", 7, 0.1)
    assert run.teacher.node.target is None and run.freeze == today.freeze
    assert (run.optim.name, run.optim.lr, run.seed) == ("adamw", 0.002, 0), "those of configs/optim/adamw.yaml"


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("seed", True, "seed=true; expected a whole number from 0"),
        ("seed", 1.0, "seed=1.0; expected a whole number from 0"),
        ("resolution", None, "resolution=null; expected a whole number from 1"),
        ("optim", 3, "optim=3; expected the keys below it to be set, optim.name, optim.lr"),
        ("optim.name", "lamb", f"optim.name=lamb; expected one of {', '.join(OPTIMIZERS)}"),
        ("optim.lr", 0, "optim.lr=0; expected a number above 0"),
        ("optim.lr", float("inf"), "optim.lr=inf; expected a number above 0"),
        ("optim.lr", float("nan"), "optim.lr=nan; expected a number above 0"),
        ("optim.lr", "1e-3", "optim.lr='1e-3'; expected a number above 0"),
        ("optim.backbone_lr", 0, "optim.backbone_lr=0; expected a share of optim.lr above 0"),
        ("optim.schedule.schedule", "linear", "optim.schedule.schedule=linear; expected one of cosine"),
        ("optim.schedule.momentum", 1, "optim.schedule.momentum=1: there is no such key"),
        ("trainer.ema_decay", 1.0, "trainer.ema_decay=1.0; expected a number from 0 below 1, or null"),
        ("trainer.ema_decay", -0.1, "trainer.ema_decay=-0.1; expected a number from 0 below 1, or null"),
        ("trainer.bn_momentum", 1.5, "trainer.bn_momentum=1.5; expected a number from 0 to 1, or null"),
        ("trainer.compile", 1, "trainer.compile=1; expected true or false"),
        ("trainer.limit_val_batches", 0, "expected a share or a number of batches above 0"),
        ("trainer.precision", [], "trainer.precision=[]; expected a text or a whole number"),
        ("init.head", "old", "init.head=old; expected one of keep, new"),
        ("init.method", 5, "init.method=5; expected one of isometric, or null"),
        ("teacher.cache", 5, "teacher.cache=5; expected true or false"),
        ("data.batch_size", 1.5, "data.batch_size=1.5; expected a whole number from 1"),
        ("data.workers", -1, "data.workers=-1; expected a whole number from 0, or null"),
    ],
)
def test_values_of_other_types_and_ranges_are_told(key: str, value: Any, told: str) -> None:
    config = changed(config_of(), key, value)
    with pytest.raises(UserError) as error:
        run_of(config)
    assert str(error.value).startswith(told) or told in str(error.value)
    with pytest.raises(UserError, match=r"^last\.ckpt: [^\n]*$"):
        run_of(config, "last.ckpt")


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(UserError, match=r"seed=-1; .*\noptim\.lr=-1; .*\ntrainer\.compile=null; "):
        run_of(changed(changed(changed(config_of(), "seed", -1), "optim.lr", -1), "trainer.compile", None))


def test_every_optimizer_that_may_be_named_is_there() -> None:
    for name in OPTIMIZERS:
        make_optimizer(torch.nn.Linear(2, 2), name, 0.1, 0.0)
