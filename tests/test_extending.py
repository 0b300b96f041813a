"""docs/extending.md, followed literally: its files are written to a folder of their own, and tried there."""

import importlib
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from backbone import Backbone, count_cost
from tasks.shared.config.compose import compose_config, plain
from tasks.shared.errors import UserError
from tasks.shared.network.build import build_data, build_task, task_class
from tasks.shared.network.fused import prepare_for_inference
from tasks.shared.network.timm_backbone import TimmBackbone
from tasks.shared.training.settings import RunConfig, run_of
from tests.markdown import commands, files_given, text_of
from tests.test_configs import SMALL, TASKS
from tests.test_configs import test_a_task_keeps_the_contract as keeps_the_contract
from tests.test_docs import problem

ROOT = Path(__file__).parents[1]
PAGE = text_of(ROOT / "docs/extending.md")
FILES = files_given(PAGE)
OF_THE_TASK = ("segmentation/data.py", "segmentation/model.py", "configs/task/segmentation.yaml",
               "configs/data/mask_folders.yaml")  # fmt: skip
COLORS = {1: (230, 40, 40), 2: (40, 60, 230)}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The page's files, and what their installation would leave."""
    folder = tmp_path_factory.mktemp("my project")
    for name, text in {**FILES, "segmentation/__init__.py": ""}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    about, declared = folder / "segmentation-0.1.0.dist-info", tomllib.loads(FILES["pyproject.toml"])["project"]
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: segmentation\nVersion: 0.1.0\n")
    points = [f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in each.items())
              for group, each in declared["entry-points"].items()]  # fmt: skip
    (about / "entry_points.txt").write_text("\n".join(points))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == "segmentation"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red and blue squares on grey noise, images of several sizes; the first row's class is not known."""
    root, rng = tmp_path_factory.mktemp("masks"), np.random.default_rng(0)
    for split, count in (("train", 40), ("val", 8)):
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True)
        for number in range(count):
            height, width = rng.integers(50, 110, 2)
            image = rng.integers(90, 150, (height, width, 1)).repeat(3, 2).astype(np.uint8)
            mask = np.zeros((height, width), np.uint8)
            for label, color in COLORS.items():
                y, x = rng.integers(0, (height - 25, width - 25))
                side = rng.integers(15, 25)
                image[y : y + side, x : x + side], mask[y : y + side, x : x + side] = color, label
            mask[0] = 255
            Image.fromarray(image).save(root / split / "images" / f"{number}.jpg", quality=95)
            Image.fromarray(mask).save(root / split / "masks" / f"{number}.png")
    (root / "classes.txt").write_text("background\nred\nblue\n")
    return root


def composed(project: Path, *settings: str) -> RunConfig:
    return run_of(plain(compose_config("train", [f"hydra.searchpath=['file://{project}/configs']", *settings])))


def segmentation(project: Path, masks: Path, *settings: str) -> RunConfig:
    small = [setting for setting in SMALL if "alpha" not in setting]
    return composed(project, "task=segmentation", f"data.root='{masks}'", "resolution=64", *small, *settings)


def body(**options: Any) -> Backbone:
    return importlib.import_module("segmentation.mobilenet_v2").MobileNetV2(**options)


def test_the_page_keeps_its_word() -> None:
    """A task with its data in at most 250 lines, a backbone in one file."""
    assert sum(len(FILES[name].splitlines()) for name in OF_THE_TASK) <= 250
    assert FILES.keys() == {*OF_THE_TASK, "pyproject.toml", "segmentation/mobilenet_v2.py",
                            "configs/backbone/mobilenet_v2.yaml"}  # fmt: skip


def test_its_commands_are_understood(project: Path) -> None:
    written = [(tool, arguments) for tool, arguments in commands(PAGE) if any("=" in each for each in arguments)]
    assert {tool for tool, _ in written} == {"train", "eval", "predict", "cost"}
    for tool, arguments in written:
        here = [re.sub(r"\[file:///home/me/my_project/(.*)\]", rf"['file://{project}/\1']", each) for each in arguments]
        assert problem(tool, here, None) is None, arguments


@pytest.mark.parametrize("backbone", ["mobilenet", "mobilenet_v2", "timm"])
def test_the_task_keeps_the_contract(backbone: str, project: Path, masks: Path) -> None:
    """That which the toolkit's own tasks are held to, in its own words."""
    small = ["backbone.name=mobilenetv2_035"] if backbone == "timm" else ["backbone.alpha=0.25"]
    config = segmentation(project, masks, f"backbone={backbone}", *small)
    data = build_data(config.data, config.resolution)
    task = build_task(config.network, task_class(config.task).count_outputs(data, None))
    keeps_the_contract(({}, data, task))
    assert count_cost(task, 64).mult_adds > 0


def test_answers_are_worked_out_by_hand(project: Path, masks: Path, tmp_path: Path) -> None:
    config = segmentation(project, masks)
    data = build_data(config.data, config.resolution)
    task: Any = build_task(config.network, 3)
    evaluator: Any = task.evaluator(data, data.info)
    targets = [target for batch in data.val_loader() for target in batch.targets]
    for target in targets:  # all of it background
        height, width = target["size"]
        evaluator.update([torch.zeros(height, width, dtype=torch.uint8)], [target])
    truth = np.concatenate([np.array(Image.open(file))[1:].ravel() for file in (masks / "val/masks").iterdir()])
    share = (truth == 0).mean()
    figures = evaluator.compute()
    assert figures["pixel_accuracy"] == figures["iou/background"] == pytest.approx(share)
    assert figures["mean_iou"] == pytest.approx(share / 3)
    evaluator.save(tmp_path)
    assert (tmp_path / "confusion.csv").read_text().splitlines()[0] == "truth,background,red,blue"
    outputs = torch.zeros(1, 3, 8, 8)
    outputs[:, 2] = 1
    (result,) = task.predict(outputs, torch.tensor([[20, 30]]))
    assert result.shape == (20, 30) and task.describe(result, data.info) == {"background": 0, "red": 0, "blue": 1}
    assert task.draw(Image.new("RGB", (30, 20)), result, data.info).size == (30, 20)


def test_wrong_masks_are_told(project: Path, masks: Path, tmp_path: Path) -> None:
    (tmp_path / "few.txt").write_text("background\n")
    config = segmentation(project, masks, f"data.classes='{tmp_path}/few.txt'")
    data = build_data(config.data, config.resolution)
    with pytest.raises(UserError, match=r"\.png: value 1; expected 0 to 0, or 255"):
        next(iter(data.val_loader()))
    (tmp_path / "train/images").mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(tmp_path / "train/images/a.jpg")
    config = segmentation(project, tmp_path, f"data.classes='{tmp_path}/few.txt'")
    with pytest.raises(UserError, match=r"1 images have no mask: .*a\.jpg"):
        build_data(config.data, config.resolution, splits=("train",))


def test_the_backbone_is_mobilenet_v2(project: Path) -> None:
    ours, theirs = body(), TimmBackbone("mobilenetv2_100", [32])
    assert [p.shape for p in ours.parameters()] == [p.shape for p in theirs.parameters()]
    assert count_cost(ours, 224).mult_adds == count_cost(theirs, 224).mult_adds
    assert body(taps=("block_3", 16), alpha=0.5).feature_info == [("block_3", 16, 4), ("block_13", 48, 16)]
    with pytest.raises(ValueError, match=r"backbone\.alpha=0;"):
        body(alpha=0)


@pytest.mark.parametrize("task", TASKS)
def test_the_backbone_goes_under_every_head(task: str, project: Path) -> None:
    config = composed(project, f"task={task}", "backbone=mobilenet_v2", "backbone.alpha=0.25", "resolution=64")
    network = build_task(config.network, 5)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        trained, before = network.train()(images), network.eval()(images)
    assert type(trained) is type(before)
    assert count_cost(network, 64).mult_adds > 0
    assert any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())
    with torch.inference_mode():
        after = prepare_for_inference(network, torch.device("cpu"), bf16=False)(images)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules()), "folded"
    first, second = (each if isinstance(each, torch.Tensor) else each[0] for each in (before, after))
    torch.testing.assert_close(second, first, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_the_backbone_trains_under_every_head(task: str, project: Path, tmp_path: Path) -> None:
    sample = [f"data.root='{tmp_path}/sample'", "data.train=4", "data.val=4", "resolution=64"]
    config = composed(project, f"task={task}", "backbone=mobilenet_v2", *SMALL, *sample)
    data = build_data(config.data, config.resolution)
    keeps_the_contract(({}, data, build_task(config.network, task_class(config.task).count_outputs(data, None))))


@pytest.mark.slow
def test_the_tools_take_it(project: Path, masks: Path, tmp_path: Path) -> None:
    """Train, resume, eval with data chosen anew, predict, cost; and none of it on a checkpoint's word."""
    bare = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    installed = bare | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(project)])}
    search = f"hydra.searchpath=['file://{project}/configs']"

    def tool(name: str, *arguments: str, env: dict[str, str] = installed) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / f"tools/{name}.py"), *arguments]
        return subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)

    short = ["resolution=64", "backbone.alpha=0.25", "data.batch_size=8", "data.workers=0", "trainer=cpu",
             "trainer.max_epochs=15", "trainer.ema_decay=null", "optim.lr=3e-3"]  # fmt: skip
    trained = tool(
        "train", search, "task=segmentation", "backbone=mobilenet_v2", f"data.root={masks}", *short, "output=run"
    )
    assert trained.returncode == 0, trained.stderr
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["mean_iou"] > 0.45, "a third of it is had by calling all background"

    for name, more in {"plain": [], "anew": [search, "data=mask_folders", f"data.root={masks}"]}.items():
        scored = tool("eval", "checkpoint=run", *more, f"output={name}")
        assert scored.returncode == 0, scored.stderr
        assert json.loads((tmp_path / name / "metrics.json").read_text()) == metrics
    told = tool("predict", "checkpoint=run", f"input={masks}/val/images", "output=told")
    assert told.returncode == 0, told.stderr
    answers = json.loads((tmp_path / "told/predictions.json").read_text())
    assert len(answers) == 8 and answers[0]["answer"].keys() == {"background", "red", "blue"}
    cost = tool("cost", search, "task=segmentation", "backbone=mobilenet_v2", "num_classes=3", "format=json")
    assert cost.returncode == 0 and json.loads(cost.stdout)["task"] == "segmentation", cost.stderr
    small = ["data.root=sample", "data.train=4", "data.val=2", "data.workers=0", "resolution=64", "task.proposals=5"]
    other = tool("train", search, "task=faster_rcnn", "backbone=mobilenet_v2", *small, "trainer=cpu",
                 "trainer.max_epochs=1", "output=other")  # fmt: skip
    assert other.returncode == 0, "with a recipe, which asks for the backbone's keys inside Hydra's job" + other.stderr
    longer = tool("train", "resume=run", "trainer.max_epochs=16")
    assert longer.returncode == 0, longer.stderr

    reached = bare | {"PYTHONPATH": installed["PYTHONPATH"]}
    (project / "segmentation-0.1.0.dist-info/entry_points.txt").rename(project / "hidden.txt")
    try:
        refused = tool("predict", "checkpoint=run", f"input={masks}/val/images", "output=no", env=reached)
        named = [
            "task._target_=segmentation.model.Segmentation",
            "backbone._target_=segmentation.mobilenet_v2.MobileNetV2",
        ]
        taken = tool("predict", "checkpoint=run", f"input={masks}/val/images", "output=yes", *named, env=reached)
    finally:
        (project / "hidden.txt").rename(project / "segmentation-0.1.0.dist-info/entry_points.txt")
    assert refused.returncode == 1 and "an installed package declares" in refused.stderr
    assert taken.returncode == 0, taken.stderr
