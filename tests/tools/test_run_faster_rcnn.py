"""Faster-RCNN from train to predict, at two resolutions, with the aspect of images kept, and from other weights."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from tasks.shared.config.compose import compose_config, plain
from tasks.shared.config.nodes import NetworkConfig
from tasks.shared.network.build import build_task
from tasks.shared.network.isometric import isometric_init
from tasks.shared.records.checkpoint import write_weights
from tests.tools.conftest import TOOLS, Tool

TINY = (
    "task=faster_rcnn", "backbone.alpha=0.25", "data.train=8", "data.val=4", "data.batch_size=4", "data.workers=0",
    "trainer.accelerator=cpu", "trainer.max_epochs=1", "trainer.val_every_epochs=1", "task.proposals=20",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished tiny run, its sample beside it."""
    folder = tmp_path_factory.mktemp("faster_rcnn")
    arguments = [
        *TINY,
        "resolution=96",
        "task.resize=keep_aspect",
        f"data.root={folder}/sample",
        f"output={folder}/run",
    ]
    done = subprocess.run([sys.executable, TOOLS / "train.py", *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "recipe: configs/recipe/faster_rcnn_coco_sample" in done.stdout
    return folder / "run"


def test_recall_of_the_proposals_is_among_the_metrics(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    assert {"AP", "AP50", "AR100", "rpn_recall"} <= metrics.keys()
    assert all(0 <= value <= 1 for value in metrics.values())


def test_eval_repeats_the_score_and_takes_another_resolution(run: Path, tool: Tool, tmp_path: Path) -> None:
    answer = tool("eval", f"checkpoint={run}", f"output={tmp_path}/eval")
    assert answer.status == 0, answer.message
    assert (tmp_path / "eval/metrics.json").read_text() == (run / "metrics.json").read_text()
    answer = tool("eval", f"checkpoint={run}", "resolution=192", f"output={tmp_path}/large")
    assert answer.status == 0, answer.message
    assert (tmp_path / "large/metrics.json").read_text() != (run / "metrics.json").read_text()


def test_data_chosen_anew_keep_the_aspect_as_the_run_does(run: Path, tool: Tool, tmp_path: Path) -> None:
    root = run.parent / "sample"
    val = [f"data.val.images={root}/val", f"data.val.annotations={root}/annotations/instances_val.json"]
    answer = tool("eval", f"checkpoint={run}", "data=coco_json", *val, f"output={tmp_path}/eval")
    assert answer.status == 0, answer.message
    assert (tmp_path / "eval/metrics.json").read_text() == (run / "metrics.json").read_text()
    answer = tool("eval", f"checkpoint={run}", "task.resize=square", f"output={tmp_path}/square")
    assert answer.status == 0, "the run's data follow the task"
    both = ["task.resize=square", "data.resize=keep_aspect"]
    answer = tool("eval", f"checkpoint={run}", *both, f"output={tmp_path}/both")
    assert answer.status == 1 and "data.resize=keep_aspect" in answer.message, answer


def test_predicted_boxes_lie_in_wide_and_tall_images(run: Path, tool: Tool, tmp_path: Path) -> None:
    sizes = {"wide.png": (200, 50), "tall.png": (40, 160)}
    (tmp_path / "photos").mkdir()
    for name, size in sizes.items():
        Image.new("RGB", size, "red").save(tmp_path / "photos" / name)
    places = (f"input={tmp_path}/photos", f"output={tmp_path}/out", "task.min_score=0.0")
    answer = tool("predict", f"checkpoint={run}", *places)
    assert answer.status == 0, answer.message
    for told in json.loads((tmp_path / "out/predictions.json").read_text()):
        width, height = sizes[Path(told["file"]).name]
        assert told["answer"]
        for x, y, w, h in (detection["bbox"] for detection in told["answer"]):
            assert min(x, y) >= 0 and min(w, h) > 0 and x + w <= width + 0.01 and y + h <= height + 0.01


def test_from_a_classifiers_weights_with_its_batch_norm_frozen(run: Path, tool: Tool, tmp_path: Path) -> None:
    config = plain(compose_config("train", ["task=classification", "backbone.alpha=0.25", "backbone.bn_eps=1e-5"]))
    classifier = build_task(NetworkConfig.of(config), 10)
    isometric_init(classifier)  # from the published init no gradient arrives at the first layers
    weights = classifier.state_dict()
    for name, value in weights.items():
        if name.endswith("running_mean"):
            value.uniform_(-0.2, 0.2)
    write_weights(tmp_path / "classifier.ckpt", config, {"class_names": list("abcdefghij")}, 10, weights)
    start = ["init.method=null", f"init.run={tmp_path}/classifier.ckpt", "init.head=new", "freeze.batch_norm=true"]
    kept = [a for a in TINY if not a.startswith("backbone.alpha")]
    places = [f"data.root={run.parent}/sample", f"output={tmp_path}/run"]
    answer = tool("train", *kept, "resolution=96", "trainer.ema_decay=null", *start, *places)
    assert answer.status == 0, answer.message
    trained = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    for name, value in weights.items():
        if name.startswith("backbone."):
            assert torch.equal(trained[f"task.{name}"], value) == (".norm." in name), name


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["resolution=8"], ["resolution=8", "at least 16 pixels"]),
        (["task.proposals=0"], ["task.proposals=0", "whole number from 1"]),
        (["backbone.taps=[32]"], ["backbone.taps", "[16, 32]"]),
        (["backbone=timm", "backbone.name=hrnet_w18_small"], ["backbone.name=hrnet_w18_small", "one after another"]),
        (["task.anchors.scales=[]"], ["task.anchors.scales=[]", "above 0"]),
        (["task.anchors.ratios=[1,-2]"], ["task.anchors.ratios=[1, -2]"]),
        (["task.anchors.scales=0.5"], ["task", "wrong type"]),
        (["task.anchors.sizes=[1]"], ["task.anchors.sizes", "task.anchors.scales"]),
        (["task.sampling.anchor=9"], ["task.sampling.anchor", "task.sampling.anchors"]),
        (["task.sampling.proposals_positive=25"], ["task.sampling.proposals_positive=25", "0 to 1"]),
        (["task.resize=pad"], ["task.resize", "'pad'", "keep_aspect"]),
        (["data.resize=keep_aspect"], ["data.resize=keep_aspect", "resize=square"]),
        (["task=ssd", "data.resize=keep_aspect"], ["data.resize=keep_aspect", "resize=square"]),
    ],
    ids=lambda v: " ".join(v) if "=" in v[0] else None,
)
def test_wrong_settings(arguments: list[str], expected: list[str], run: Path, tool: Tool, tmp_path: Path) -> None:
    data = [f"data.root={run.parent}/sample", "data.train=8", "data.val=4", "data.workers=0"]
    task = [] if arguments[0].startswith("task=") else ["task=faster_rcnn"]
    answer = tool("train", *task, *data, *arguments, f"output={tmp_path}/run")
    assert answer.status == 1
    assert all(part in answer.message for part in expected), answer.message
    assert not (tmp_path / "run").exists()
