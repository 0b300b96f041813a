"""Evaluation by two and three processes gives the figures and the files that one gives, for every task."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from tasks.shared import gathering
from tasks.shared.build import build_data, build_task, target_of
from tasks.shared.config import CONFIGS, compose_config, plain
from tasks.shared.contract import Targets
from tasks.shared.gathering import gathered
from tasks.shared.module import update_evaluator

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
FILES = {  # that hold a row, or a number of them, for each picture
    "classification": "predictions.csv",
    "dogs": "predictions.csv",
    "ssd": "detections.json",
    "faster_rcnn": "detections.json",
    "planet": "predictions.csv",
    "face_attributes": "predictions.csv",
    "facenet": "embeddings.npz",
}

Answers = dict[tuple[str, int], dict[str, Any]]  # by task and count: figures by name, and bytes by file


class Taught:
    """In place of a lesson: a teacher's answer, which depends on the picture alone."""

    def __init__(self, width: int):
        self.width = width

    def answer(self, targets: Targets, device: Any) -> None:
        for target in targets:
            generator = torch.Generator().manual_seed(target["index"])
            target["teacher"] = torch.randn(self.width, generator=generator)


def evaluate(folder: Path, results: Path) -> Answers:
    """What every task's untrained network answers to the first pictures of its sample, scored and saved."""
    answers: Answers = {}
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
        widths = {"face_attributes": data.num_classes, "facenet": 128}
        lesson: Any = Taught(widths[name]) if name in widths else None
        evaluator = task.evaluator(data, data.info)
        for count in COUNTS:
            loader = data.val_loader(shard=True)
            loader.batch_sampler.sampler.data = range(count)  # type: ignore[union-attr]
            evaluator.reset()
            with torch.inference_mode():
                for batch in loader:
                    update_evaluator(task, evaluator, batch, lesson)
            evaluator.gather()
            answers[name, count] = dict(evaluator.compute())
            saved = results / f"{name}_{count}"
            saved.mkdir(parents=True)
            evaluator.save(saved)
            answers[name, count] |= {file.name: file.read_bytes() for file in saved.iterdir()}
    return answers


def _process(rank: int, world: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting_{world}", rank=rank, world_size=world)
    torch.save(evaluate(folder, folder / f"{world}_{rank}"), folder / f"{world}_{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answers]:
    folder = tmp_path_factory.mktemp("gathering")
    return folder, evaluate(folder, folder / "1_0")


@pytest.mark.slow
@pytest.mark.parametrize("world", [2, 3])
def test_several_processes_give_what_one_gives(world: int, alone: tuple[Path, Answers]) -> None:
    folder, expected = alone
    mp.spawn(_process, (world, folder), nprocs=world)
    for rank in range(world):
        found: dict[Any, Any] = torch.load(folder / f"{world}_{rank}.pt", weights_only=True)
        for case, answers in expected.items():
            assert found[case].keys() == answers.keys(), f"{case}, process {rank} of {world}"
            wrong = [key for key, value in answers.items() if found[case][key] != value]
            assert not wrong, f"{case}, process {rank} of {world}: {wrong}"


@pytest.mark.slow
def test_there_is_something_to_compare(alone: tuple[Path, Answers]) -> None:
    _, answers = alone
    for name in TASKS:
        figures = {key: value for key, value in answers[name, 11].items() if isinstance(value, float)}
        assert figures and all(math.isfinite(value) for value in figures.values()), name
        assert answers[name, 7] != answers[name, 11], "what is left out would be seen"
        rows, fewer = (answers[name, count][FILES[name]] for count in (11, 7))
        assert len(rows) > len(fewer), f"{FILES[name]} has something of each picture"


def test_the_order_of_pictures_is_that_of_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of seven pictures; the third process has none, and nobody knows the last column."""
    parts: list[Any] = [([0, 2, 4, 6], list("aceg"), []), ([1, 3, 5], list("bdf"), []), ([], [], [])]
    assert gathered([2, 0], ["c", "a"], []) == [[2, 0], ["c", "a"], []]
    monkeypatch.setattr(gathering.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(gathering.dist, "get_world_size", lambda: 3)
    monkeypatch.setattr(gathering.dist, "all_gather_object", lambda places, _: places.__setitem__(slice(None), parts))
    assert gathered(*parts[1]) == [list(range(7)), list("abcdefg"), []]
