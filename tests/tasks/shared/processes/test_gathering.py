"""Evaluation by two and three processes gives the figures and the files that one gives, for every task."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from tasks.shared.processes import gathering
from tasks.shared.processes.gathering import gathered
from tests.tasks.shared.every_task import TASKS, ready

COUNTS = (1, 7, 11)  # images: fewer than processes, and odd
FILES = {  # that hold a row, or a number of them, for each image
    "classification": "predictions.csv",
    "dogs": "predictions.csv",
    "ssd": "detections.json",
    "faster_rcnn": "detections.json",
    "planet": "predictions.csv",
    "face_attributes": "predictions.csv",
    "facenet": "embeddings.npz",
}

PredictionCache = dict[tuple[str, int], dict[str, Any]]  # by task and count: figures by name, and bytes by file


def evaluate(folder: Path, results: Path) -> PredictionCache:
    """What every task's untrained network answers to the first images of its sample, scored and saved."""
    answers: PredictionCache = {}
    for name in TASKS:
        made = ready(name, folder / name)
        for count in COUNTS:
            made.evaluate(count)
            made.evaluator.gather()
            answers[name, count] = dict(made.evaluator.compute())
            saved = results / f"{name}_{count}"
            saved.mkdir(parents=True)
            made.evaluator.save(saved)
            answers[name, count] |= {file.name: file.read_bytes() for file in saved.iterdir()}
    return answers


def _process(rank: int, world: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting_{world}", rank=rank, world_size=world)
    torch.save(evaluate(folder, folder / f"{world}_{rank}"), folder / f"{world}_{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PredictionCache]:
    folder = tmp_path_factory.mktemp("gathering")
    return folder, evaluate(folder, folder / "1_0")


@pytest.mark.slow
@pytest.mark.parametrize("world", [2, 3])
def test_several_processes_give_what_one_gives(world: int, alone: tuple[Path, PredictionCache]) -> None:
    folder, expected = alone
    mp.spawn(_process, (world, folder), nprocs=world)
    for rank in range(world):
        found: dict[Any, Any] = torch.load(folder / f"{world}_{rank}.pt", weights_only=True)
        for case, answers in expected.items():
            assert found[case].keys() == answers.keys(), f"{case}, process {rank} of {world}"
            wrong = [key for key, value in answers.items() if found[case][key] != value]
            assert not wrong, f"{case}, process {rank} of {world}: {wrong}"


@pytest.mark.slow
def test_there_is_something_to_compare(alone: tuple[Path, PredictionCache]) -> None:
    _, answers = alone
    for name in TASKS:
        figures = {key: value for key, value in answers[name, 11].items() if isinstance(value, float)}
        assert figures and all(math.isfinite(value) for value in figures.values()), name
        assert answers[name, 7] != answers[name, 11], "what is left out would be seen"
        rows, fewer = (answers[name, count][FILES[name]] for count in (11, 7))
        assert len(rows) > len(fewer), f"{FILES[name]} has something of each image"


def test_the_order_of_images_is_that_of_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of seven images; the third process has none, and nobody knows the last column."""
    parts: list[Any] = [([0, 2, 4, 6], list("aceg"), []), ([1, 3, 5], list("bdf"), []), ([], [], [])]
    assert gathered([2, 0], ["c", "a"], []) == [[2, 0], ["c", "a"], []]
    monkeypatch.setattr(gathering.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(gathering.dist, "get_world_size", lambda: 3)
    monkeypatch.setattr(gathering.dist, "all_gather_object", lambda places, _: places.__setitem__(slice(None), parts))
    assert gathered(*parts[1]) == [list(range(7)), list("abcdefg"), []]
