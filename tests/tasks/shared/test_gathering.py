"""Evaluation by two and three processes gives the figures that one gives, for every task."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from tasks.shared.build import build_data, build_task, target_of
from tasks.shared.config import CONFIGS, compose_config, plain
from tasks.shared.module import update_evaluator

pytestmark = pytest.mark.slow

TASKS = sorted(file.stem for file in (CONFIGS / "task").glob("*.yaml"))
COUNTS = (1, 7, 11)  # pictures: fewer than processes, and odd
SAMPLES = {  # of eleven pictures and a few more
    "classification": ["data.train=2", "data.val=2"],
    "dogs": ["data.train=2", "data.val=2"],
    "ssd": ["data.train=2", "data.val=11"],
    "faster_rcnn": ["data.train=2", "data.val=11"],
    "planet": ["data.train=30", "data.val=11", "data.partition.min_photos=1", "data.partition.max_photos=10"],
    "face_attributes": ["data.train=12", "data.val=12"],
    "facenet": ["data.train=12", "data.train_pictures=2", "data.val=12", "data.val_pictures=2"],
}

Figures = dict[tuple[str, int], dict[str, float]]


def evaluate(folder: Path) -> Figures:
    """The figures of every task's untrained network on the first pictures of its sample, by task and count."""
    figures: Figures = {}
    for name in TASKS:
        overrides = ["backbone.alpha=0.25", "resolution=64", "data.workers=0", "data.val_batch_size=2", *SAMPLES[name]]
        root = f"data.root={folder}/{name}"
        config = plain(compose_config("train", [f"task={name}", root, "teacher=none", *overrides]))
        torch.manual_seed(0)
        data = build_data(config)
        task = build_task(config, target_of("task", config["task"]).count_outputs(data, None)).eval()
        for layer in task.modules():  # so that answers differ from picture to picture
            if isinstance(layer, nn.Linear | nn.Conv2d) and layer.bias is not None:
                nn.init.normal_(layer.bias, std=0.5)
        evaluator = task.evaluator(data, data.info)
        for count in COUNTS:
            loader = data.val_loader(shard=True)
            loader.batch_sampler.sampler.data = range(count)  # type: ignore[union-attr]
            evaluator.reset()
            with torch.inference_mode():
                for batch in loader:
                    update_evaluator(task, evaluator, batch, None)
            evaluator.gather()
            figures[name, count] = evaluator.compute()
    return figures


def _process(rank: int, world: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting_{world}", rank=rank, world_size=world)
    torch.save(evaluate(folder), folder / f"{world}_{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Figures]:
    folder = tmp_path_factory.mktemp("gathering")
    return folder, evaluate(folder)


@pytest.mark.parametrize("world", [2, 3])
def test_several_processes_give_the_figures_of_one(world: int, alone: tuple[Path, Figures]) -> None:
    folder, expected = alone
    mp.spawn(_process, (world, folder), nprocs=world)
    for rank in range(world):
        found: dict[Any, Any] = torch.load(folder / f"{world}_{rank}.pt", weights_only=True)
        assert found == expected, f"process {rank} of {world}"


def test_there_are_figures_to_compare(alone: tuple[Path, Figures]) -> None:
    _, figures = alone
    for name in TASKS:
        assert figures[name, 11], name
        assert all(math.isfinite(value) for value in figures[name, 11].values()), name
        assert figures[name, 7] != figures[name, 11], "what is left out would be seen"
