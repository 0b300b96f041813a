"""Runs of ours as teachers."""

from pathlib import Path
from typing import Any

import pytest
import torch

from backbone import count_cost
from tasks.shared.config.compose import compose_config, plain
from tasks.shared.config.nodes import NetworkConfig
from tasks.shared.contract import Task
from tasks.shared.distillation.run import run_teacher
from tasks.shared.errors import UserError
from tasks.shared.network.build import build_task
from tasks.shared.records.checkpoint import KEY
from tests.tasks.shared.distillation.bombs import Bomb

NAMES = ["hat", "smile", "beard"]


def network(task: str, classes: int = 3) -> tuple[dict[str, Any], Task]:
    torch.manual_seed(0)
    sizes = ["backbone.alpha=0.25", "resolution=64"]
    config = plain(compose_config("train", [f"task={task}", "data.root=nowhere", *sizes]))
    return config, build_task(NetworkConfig.of(config), classes).eval()


def write_run(folder: Path, config: dict[str, Any], weights: dict[str, Any], info: Any, classes: int = 3) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    ours = {"config": config, "info": info, "num_classes": classes}
    torch.save({"state_dict": weights, KEY: ours}, folder / "checkpoints/best.ckpt")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> tuple[Path, Task]:
    config, task = network("classification")
    state = {f"task.{name}": torch.zeros_like(t) for name, t in task.state_dict().items()}
    state |= {f"ema.network.{name}": t for name, t in task.state_dict().items()}
    info = {"class_ids": ["n1", "n2", "n3"], "class_names": NAMES}
    return write_run(tmp_path / "a run, 1", config, state, info), task


def test_it_answers_as_the_runs_network_with_its_moving_average(run: tuple[Path, Task]) -> None:
    folder, task = run
    teacher = run_teacher(str(folder))
    images = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = task(images)
    torch.testing.assert_close(teacher(images), wanted, rtol=1e-4, atol=1e-5)
    assert wanted.abs().max() > 0
    assert (teacher.size, teacher.num_outputs, teacher.class_names) == ((64, 64), 3, NAMES)
    assert (teacher.name, teacher.crop) == (f"run {folder}", ("short_side", task.crop_share))  # type: ignore[attr-defined]
    cost = count_cost(task, 64)
    assert teacher.cost() == (cost.mult_adds, cost.parameters)
    same = run_teacher(str(folder / "checkpoints/best.ckpt"))
    assert same.fingerprint == teacher.fingerprint


def test_attributes_are_what_its_outputs_are_called(tmp_path: Path) -> None:
    config, task = network("face_attributes")
    weights = {f"task.{name}": t for name, t in task.state_dict().items()}
    teacher = run_teacher(str(write_run(tmp_path / "run", config, weights, {"attributes": NAMES})))
    assert teacher.class_names == NAMES


def test_an_embedding_needs_no_classes(tmp_path: Path) -> None:
    config, task = network("facenet", 0)
    weights = {f"task.{name}": t for name, t in task.state_dict().items()}
    teacher = run_teacher(str(write_run(tmp_path / "run", config, weights, {}, 0)))
    assert (teacher.num_outputs, teacher.class_names) == (128, None)


def test_a_task_that_answers_otherwise_is_refused_with_what_came(tmp_path: Path) -> None:
    config, task = network("ssd")
    weights = {f"task.{name}": t for name, t in task.state_dict().items()}
    folder = write_run(tmp_path / "run", config, weights, {"class_names": NAMES})
    with pytest.raises(UserError, match=r"teacher run .*: answers with (?!Tensor).*; expected K numbers an image"):
        run_teacher(str(folder))


def test_what_is_no_run_is_refused(run: tuple[Path, Task], tmp_path: Path) -> None:
    folder, _ = run
    with pytest.raises(UserError, match=r"teacher.path is not set"):
        run_teacher(None)
    with pytest.raises(UserError, match=r"nowhere: no such checkpoint"):
        run_teacher(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"no run folder, it holds no checkpoints/best\.ckpt"):
        run_teacher(str(tmp_path))
    file = folder / "checkpoints/best.ckpt"
    content = torch.load(file, weights_only=True)
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"best\.ckpt: not a checkpoint, or damaged"):
        run_teacher(str(folder))
    torch.save({"weight": torch.zeros(2)}, file)
    with pytest.raises(UserError, match=r"best\.ckpt: not a checkpoint of this toolkit"):
        run_teacher(str(folder))
    body = {name: t for name, t in content["state_dict"].items() if name.startswith("task.backbone.")}
    torch.save(content | {"state_dict": body}, file)
    with pytest.raises(UserError, match=r"best\.ckpt: a backbone without a head"):
        run_teacher(str(folder))
    marker = tmp_path / "exploded"
    torch.save({"state_dict": Bomb(marker)}, file)
    with pytest.raises(UserError, match=r"best\.ckpt: not a checkpoint"):
        run_teacher(str(folder))
    assert not marker.exists()
