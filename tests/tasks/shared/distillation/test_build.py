"""The config group `teacher`: every choice makes its teacher, and none makes none."""

import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
import timm
import torch
from omegaconf import OmegaConf

from tasks.shared.config.compose import CONFIGS, compose_config, groups, plain, quote_paths
from tasks.shared.config.nodes import Node
from tasks.shared.config.targets import target_of
from tasks.shared.distillation.inception_resnet import InceptionResnet
from tasks.shared.distillation.settings import TeacherConfig
from tasks.shared.distillation.teacher import Teacher
from tasks.shared.distillation.teacher_targets import teacher_of
from tasks.shared.errors import UserError
from tasks.shared.training.settings import run_of
from tests.tasks.shared.distillation.test_onnx_model import model
from tests.tasks.shared.distillation.test_run import network, write_run


def make(choice: str, folder: Path) -> list[str]:
    """Overrides for a teacher whose file is made here, at a path that Hydra would not read unquoted."""
    folder = folder / "päth, with=all [sorts]"
    folder.mkdir()
    file = folder / f"file.{choice}"
    match choice:
        case "run":
            config, task = network("classification")
            state = {f"task.{name}": t for name, t in task.state_dict().items()}
            write_run(file, config, state, {"class_names": ["a", "b", "c"]})
        case "timm":
            torch.save(timm.create_model("test_resnet", num_classes=3).state_dict(), file)
            return [f"teacher.path={file}", "teacher.name=test_resnet", "teacher.options.in_chans=3"]
        case "onnx":
            onnx.save(model(), file)
        case "facenet":
            torch.save(InceptionResnet().state_dict(), file)
    return [f"teacher.path={file}"]


@pytest.mark.parametrize("choice", [name for name in groups()["teacher"] if name not in ("none", "exported")])
def test_every_choice_makes_its_teacher(choice: str, tmp_path: Path) -> None:
    given = quote_paths(["task=classification", "data.root=x", f"teacher={choice}", *make(choice, tmp_path)])
    config = plain(compose_config("train", given))
    assert config["teacher"]["choice"] == choice and config["teacher"]["cache"] is True
    teacher = teacher_of(TeacherConfig.read("teacher", config["teacher"]))
    assert isinstance(teacher, Teacher) and teacher.name.startswith(choice)
    images = torch.zeros(1, 3, *teacher.size, dtype=torch.uint8)
    assert teacher(images).shape == (1, teacher.num_outputs) and len(teacher.fingerprint) == 64
    with pytest.raises(UserError, match=r"teacher.mean="):
        teacher_of(TeacherConfig.read("teacher", config["teacher"] | {"mean": [9, 9, 9]}))


def test_none_is_none() -> None:
    config = plain(compose_config("train", ["task=classification", "data.root=x"]))
    assert config["teacher"]["choice"] == "none" and run_of(config).teacher.plain() == {"choice": "none"}
    nodes: tuple[Any, ...] = (config["teacher"], {}, None)
    for node in nodes:
        assert teacher_of(TeacherConfig.read("teacher", node)) is None


def test_what_must_be_given_is_asked_for() -> None:
    with pytest.raises(UserError, match=r"teacher.name is not set; give teacher.name=...; teacher.path is not set"):
        plain(compose_config("train", ["task=classification", "data.root=x", "teacher=timm"]))


@pytest.mark.parametrize("file", sorted((CONFIGS / "teacher").glob("*.yaml")), ids=lambda file: file.stem)
def test_a_file_says_its_own_name(file: Path) -> None:
    node: Any = OmegaConf.load(file)
    assert node.choice == file.stem
    assert file.stem == "none" or {"_target_", "path", "cache", "cache_folder"} <= node.keys()


@pytest.mark.parametrize("absent", ["onnx", "onnxruntime"])
def test_an_absent_extra_is_named_with_the_command_that_installs_it(
    absent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("tasks.shared.distillation.onnx_")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, absent, None)
    node = Node("teacher", "tasks.shared.distillation.onnx_model.onnx_teacher", "onnx", {})
    with pytest.raises(UserError, match=rf"^teacher=onnx needs {absent}.*pip install 'mobilenet-toolkit\[onnx\]'$"):
        target_of(node)
