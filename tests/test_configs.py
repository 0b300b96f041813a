"""Contract tests: every YAML is composed, and every task built and stepped once, found by glob."""

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from tasks.shared.config.compose import CONFIGS, compose_config, groups, plain
from tasks.shared.config.typed import plain_of
from tasks.shared.contract import Task
from tasks.shared.network.build import build_data, build_task, check_data_type, task_class
from tasks.shared.training.callbacks import leading
from tasks.shared.training.module import TrainingModule
from tasks.shared.training.optim import make_optimizer, make_schedule
from tasks.shared.training.settings import run_of

TASKS = groups()["task"]
CHOICES = [f"{group}={name}" for group in groups() if group not in ("task", "recipe") for name in groups()[group]]
SMALL = ["backbone.alpha=0.25", "data.batch_size=2", "data.val_batch_size=2", "data.workers=0"]


def compose(*overrides: str) -> dict[str, Any]:
    return plain(compose_config("train", list(overrides)))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_composes_with_every_task(task: str, choice: str) -> None:
    config = compose_config("train", [f"task={task}", choice])
    assert config.task.name == task
    assert isinstance(config.resolution, int)
    assert config.trainer.max_epochs >= 1


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", groups()["backbone"])
def test_a_recipe_sets_no_key_that_another_backbone_lacks(task: str, name: str) -> None:
    own = set(OmegaConf.load(CONFIGS / "backbone" / f"{name}.yaml"))
    assert set(compose_config("train", [f"task={task}", f"backbone={name}"]).backbone) == own


@pytest.mark.parametrize("file", sorted((CONFIGS / "recipe").glob("*.yaml")), ids=lambda p: p.stem)
def test_a_recipe_belongs_to_a_task_and_a_data_set(file: Path) -> None:
    pairs = [f"{task}_{data}" for task in TASKS for data in groups()["data"]]
    assert file.stem in pairs


@pytest.mark.parametrize("optim", groups()["optim"])
def test_every_optimizer_takes_a_step(optim: str) -> None:
    settings = compose(f"optim={optim}")["optim"]
    last = torch.nn.Conv2d(3, 2, 1)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 3, groups=3), torch.nn.BatchNorm2d(3), last)
    optimizer = make_optimizer(network, settings["name"], settings["lr"], settings["weight_decay"], settings["options"])
    schedule = make_schedule(optimizer, 10, 2, **settings["schedule"])
    before = last.weight.clone()
    network(torch.randn(2, 3, 8, 8)).square().mean().backward()
    optimizer.step()
    schedule.step()
    assert not torch.equal(before, last.weight)


@pytest.fixture(params=TASKS)
def run(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[dict[str, Any], Any, Task]:
    """Config, data and network of each task on its sample data, small."""
    sample = [f"data.root='{tmp_path}/sample'", "data.train=4", "data.val=4", "resolution=64"]
    config = compose(f"task={request.param}", *SMALL, *sample)
    run = run_of(config)
    data = build_data(run.data, run.resolution)
    task = build_task(run.network, task_class(run.task).count_outputs(data, None))
    check_data_type(task, data, run.task.name, run.data_name)
    return config, data, task


def test_a_task_keeps_the_contract(run: tuple[dict[str, Any], Any, Task]) -> None:
    _, data, task = run
    batch = next(iter(data.train_loader(0)))
    assert batch.images.dtype == torch.uint8
    assert all({"file", "size"} <= target.keys() for target in batch.targets)

    outputs = task.train()(batch.images)
    losses = task.loss(outputs, batch.targets)
    assert losses and all(value.ndim == 0 and value.isfinite() for value in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    idle = [name for name, p in task.named_parameters() if p.requires_grad and p.grad is None]
    assert not idle, "every parameter takes part in the loss"

    with torch.no_grad():
        assert type(task.eval()(batch.images)) is type(outputs)
        evaluator = task.evaluator(data, data.info)
        for val in reversed(list(data.val_loader())):  # all of it: a pair of images need not be in one batch
            results = task.predict(task(val.images), torch.tensor([t["size"] for t in val.targets]))
            evaluator.update(results, val.targets)
    metrics = evaluator.compute()
    assert leading(task.monitored_metrics, metrics) is not None and all(isinstance(v, float) for v in metrics.values())
    evaluator.reset()
    image = data.image(val.targets[0])
    assert torch.equal(task.prepare(image), val.images[0]), "prediction sees what evaluation saw"
    assert task.describe(results[0], data.info) is not None


def test_a_checkpoint_holds_plain_data(run: tuple[dict[str, Any], Any, Task], tmp_path: Path) -> None:
    config, data, task = run
    module = TrainingModule(
        task, task.evaluator(data, data.info), run_of(config), data.info, data.num_classes, data.train_loader(0)
    )
    content: dict[str, Any] = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(content)
    torch.save(content, tmp_path / "x.ckpt")
    loaded = torch.load(tmp_path / "x.ckpt", weights_only=True)
    assert loaded["mobilenet_toolkit"] == {
        "config": plain_of(run_of(config)),
        "info": data.info,
        "num_classes": data.num_classes,
        "next_epoch": 0,
        "contents": None,
    }
