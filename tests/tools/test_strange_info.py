"""Checkpoints whose `info` does not say what a network's outputs mean: one line naming file and key, for all tasks."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from tasks.planet.cells import Cells
from tasks.planet.count import Counter
from tasks.planet.partition import partition
from tasks.shared.config.compose import compose_config, plain
from tasks.shared.config.nodes import NetworkConfig
from tasks.shared.network.build import build_task
from tasks.shared.records.checkpoint import write_weights
from tests.tools.conftest import Tool

SMALL = ("backbone.alpha=0.1", "trainer=cpu", "data.workers=0")
NAMED = {"class_ids": ["a", "b", "c"], "class_names": ["A", "B", "C"]}
BOXES = {"category_ids": [1, 2, 3], "class_names": ["A", "B", "C"]}


def cells() -> dict[str, Any]:
    counter = Counter(3)
    counter.add([48.8, 40.7, -33.9], [2.3, -74.0, 151.2])
    made: Cells = partition(counter, "photos.csv", 1, 1, 0, 3)
    assert len(made) == 3
    return made.plain()


TASKS: dict[str, tuple[int, dict[str, Any]]] = {
    "classification": (32, NAMED), "dogs": (32, NAMED), "ssd": (64, BOXES), "faster_rcnn": (64, BOXES),
    "face_attributes": (32, {"attributes": ["x", "y", "z"]}), "facenet": (32, {}), "planet": (32, {}),
}  # fmt: skip
WRONG: tuple[Any, ...] = (None, 5, [], {}, float("nan"))
ROWS: tuple[Any, ...] = ([[]] * 3, [["4", 1, 2, 3, 4, 5]] * 3)
FREE: dict[str, set[str]] = {"face_attributes": {"attributes"}, "facenet": set()}  # what each task answers without


def draw_run(folder: Path, task: str) -> tuple[Path, dict[str, Any]]:
    """A run of untrained weights, as convert_weights writes them, and its `info`."""
    size, info = TASKS[task]
    info = {"cells": cells()} if task == "planet" else info
    config = plain(compose_config("train", [f"task={task}", f"resolution={size}", *SMALL]))
    config = {key: value for key, value in config.items() if key not in ("output", "resume", "max_megapixels")}
    torch.manual_seed(0)
    net = build_task(NetworkConfig.of(config), 3)
    (folder / "run/checkpoints").mkdir(parents=True)
    (folder / "run/config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    (folder / "run/metrics.json").write_text(json.dumps({"top1": 0.5, "top5": 1.0}), encoding="utf-8")
    file = folder / "run/checkpoints/best.ckpt"
    write_weights(file, config, info, 3, net.state_dict())
    return file, info


def attack(file: Path, info: Any, num_classes: Any = 3) -> None:
    content = torch.load(file, weights_only=True)
    content["mobilenet_toolkit"] |= {"info": info, "num_classes": num_classes}
    torch.save(content, file)


def strange(info: dict[str, Any]) -> list[Any]:
    """Of other kinds, lengths, sizes; with keys that others need and this lacks."""
    made: list[Any] = [{}, None, [], "x", {"class_names": ["A", "B", "C"]}, {"unknown": 5}]
    for key, value in info.items():
        wrong: tuple[Any, ...] = (
            [],
            [None] * 3,
            ["A"],
            5,
            "abc",
            ["A", "B", 3],
            [2**63 - 1] * 3,
            ["x" * 2_000_000] * 3,
            {},
            [True] * 3,
        )
        made += [{name: each for name, each in info.items() if name != key}]
        made += [info | {key: each} for each in wrong]
        if isinstance(value, dict):
            made += [info | {key: value | {name: each}} for name in value for each in WRONG]
            far = [[row[0], row[1], 1e308, *row[3:]] for row in value["cells"]]
            made += [info | {key: value | {"cells": each}} for each in (far, *ROWS)]
    return made


@pytest.mark.parametrize("task", TASKS)
def test_predict_tells_that_there_is_none(task: str, tmp_path: Path, tool: Tool, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    file, info = draw_run(tmp_path, task)
    Image.fromarray(np.full((40, 40, 3), 90, np.uint8)).save(tmp_path / "a.png")
    attack(file, {})
    answer = tool("predict", f"checkpoint={file}", "input=a.png", "output=out")
    if needed := info.keys() - FREE.get(task, set()):
        words = f"error: {file}: its info lacks {', '.join(sorted(needed))}; expected what tools/train.py has written"
        assert answer.status == 1 and answer.message.startswith(words), answer
    else:
        assert answer.status == 0, answer


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_every_tool_tells_what_is_wrong_in_one_line(task: str, tmp_path: Path, tool: Tool, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    file, info = draw_run(tmp_path, task)
    Image.fromarray(np.full((40, 40, 3), 90, np.uint8)).save(tmp_path / "a.png")
    commands = {
        "predict": (f"checkpoint={file}", "input=a.png"),
        "eval": (f"checkpoint={file}", f"data.root={tmp_path}"),
        "convert_weights": (f"source={file}", "format=safetensors"),
        "figures": ("runs=run",),
        "train": ("task=classification", f"init.run={tmp_path}/run", "resolution=32", f"data.root={tmp_path}",
                  "data=image_folder", *SMALL),
    }  # fmt: skip
    sound = tool("predict", *commands["predict"], "output=sound")
    assert sound.status == 0, sound
    needed = info.keys() - FREE.get(task, set())
    for number, other in enumerate(strange(info)):
        attack(file, other)
        answer = tool("predict", *commands["predict"], f"output=out{number}")
        assert answer.status in (0, 1), answer
        if isinstance(other, dict) and needed - other.keys():
            assert answer.status == 1, f"{other} was enough"
        if answer.status:
            assert "\n" not in answer.message and str(file) in answer.message and "info" in answer.message, answer
            assert len(answer.message) < 1000 and not (tmp_path / f"out{number}").exists(), answer
        if number in (0, 1, 4):
            for name, arguments in commands.items():
                if name != "predict":
                    more = tool(name, *arguments, f"output={tmp_path}/{name}{number}")
                    told = str(file) in more.message or more.message.count("\n") == 0 or "data.root" in more.message
                    assert more.status in (0, 1) and told, more


@pytest.mark.parametrize("count", [-1, 2.0, "3", None, True, 10**30, [3], 2**31 - 1])
def test_counts_of_classes_are_told(count: Any, tmp_path: Path, tool: Tool, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    file, _ = draw_run(tmp_path, "face_attributes")
    attack(file, {}, count)
    Image.fromarray(np.full((40, 40, 3), 90, np.uint8)).save(tmp_path / "a.png")
    answer = tool("predict", f"checkpoint={file}", "input=a.png", "output=out")
    assert answer.status == 1 and "\n" not in answer.message and str(file) in answer.message, answer
