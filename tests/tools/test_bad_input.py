"""Every mistake of a user ends in one clear message, and leaves nothing behind."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tasks.shared.config.compose import groups
from tests.tools.conftest import TINY, TOOLS, Tool

NAMES = {"half a sign": "\ud800", "a long name": "n" * 2000}  # of a class, which no checkpoint may hold


@pytest.fixture
def coco_root(tmp_path: Path, write_coco: Callable[..., dict[str, str]]) -> Path:
    """A folder in COCO's own layout with three images a split; its name has all that Hydra parses."""
    root = tmp_path / "cöco data, v=1 [a] (b)"
    for split in ("train2017", "val2017"):
        write_coco(root, split, images=3)
    return root


def edit(root: Path, change: str) -> None:
    """Spoil the training json or a training image."""
    path = root / "annotations/instances_train2017.json"
    content = json.loads(path.read_text())
    if change == "no json":
        path.write_text("images: []")
    elif change == "no coco":
        path.write_text(json.dumps({"images": [], "shapes": []}))
    elif change == "no boxes":
        path.write_text(json.dumps(content | {"annotations": []}))
    elif change == "outside":
        content["annotations"][0]["bbox"] = [500, 500, 10, 10]
        path.write_text(json.dumps(content))
    elif change in NAMES:
        for file in root.rglob("instances_*.json"):  # the same ones for both splits
            content = json.loads(file.read_text())
            content["categories"][0]["name"] = NAMES[change]
            file.write_text(json.dumps(content))
    elif change == "missing image":
        (root / "train2017/000000001004.jpg").unlink()
    elif change == "truncated image":
        whole = (root / "train2017/000000001004.jpg").read_bytes()
        (root / "train2017/000000001004.jpg").write_bytes(whole[: len(whole) // 2])
    elif change == "missing folder":
        shutil.rmtree(root / "train2017")


def train_on(root: Path) -> list[str]:
    """TINY, but on this data."""
    kept = [a for a in TINY if not a.startswith(("data.train", "data.val="))]
    return [*kept, "data=coco", f"data.root={root}", "data.batch_size=3", "data.augment=false"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("no json", ["instances_train2017.json", "not a json file"]),
        ("no coco", ["instances_train2017.json", "images, annotations, categories", "shapes"]),
        ("no boxes", ["instances_train2017.json", "no boxes at all"]),
        ("outside", ["instances_train2017.json", "wholly outside", "ids 1"]),
        ("half a sign", ["data=coco", "info.class_names has a text that is no UTF-8"]),
        ("a long name", ["data=coco", "info.class_names has one too large; expected 1,000 characters"]),
        ("missing image", ["000000001004.jpg", "missing", "data.on_corrupt=skip"]),
        ("missing folder", ["train2017", "no such folder"]),
        ("truncated image", ["train2017/000000001004.jpg", "truncated", "data.on_corrupt=skip"]),
    ],
)
def test_spoilt_data(change: str, expected: list[str], coco_root: Path, tool: Tool, tmp_path: Path) -> None:
    edit(coco_root, change)
    answer = tool("train", *train_on(coco_root), f"output={tmp_path}/run")
    assert answer.status == 1
    assert all(part in answer.message for part in expected), answer.message
    assert "Traceback" not in answer.message + answer.out
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("change", ["missing image", "truncated image"])
def test_skipping_goes_on_and_says_so(change: str, coco_root: Path, tool: Tool, tmp_path: Path) -> None:
    """And a path with spaces, accents, `=`, brackets and commas works."""
    edit(coco_root, change)
    answer = tool("train", *train_on(coco_root), "data.on_corrupt=skip", f"output={tmp_path}/run, x=1")
    assert answer.status == 0, answer.message
    assert "left out" in answer.out and "000000001004.jpg" in answer.out
    assert (tmp_path / "run, x=1/metrics.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["data=coco"], ["data.root is not set"]),
        (["data=coco", "data.root=/no/such"], ["data.root=/no/such", "no such folder"]),
        (["data=coco_json"], ["data.train.images is not set", "data.val.annotations is not set"]),
        (["trainer.max_epoch=3"], ["trainer.max_epoch", "trainer.max_epochs"]),
        (["+backbone.alfa=0.5"], ["backbone.alfa", "backbone.alpha"]),
        (["+colour=red"], ["colour", "top-level keys"]),
        (["~data"], ["cannot be deleted"]),
        (["task=sdd"], ["task/sdd", "ssd"]),
        (["backbone.alpha=0"], ["backbone.alpha=0", "above 0"]),
        (["backbone.alpha=-1"], ["backbone.alpha=-1"]),
        (["resolution=16"], ["resolution=16", "32"]),
        (["resolution=big"], ["resolution=big"]),
        (["backbone.taps=[conv_99]"], ["conv_99", "conv_11"]),
        (["task.loss.classification=hinge"], ["task.loss.classification='hinge'", "sigmoid"]),
        (["optim.schedule.schedule=up"], ["optim.schedule", "cosine"]),
        (["trainer.max_epochs=0"], ["trainer.max_epochs=0"]),
        (["seed=abc"], ["seed=abc"]),
        (["backbone.alpha=half"], ["backbone.alpha=half", "number"]),
        (["trainer.precision=7"], ["trainer"]),
        (["+optim.options.typo=1"], ["optim", "typo"]),
        (["data=null"], ["data=null", "coco_sample"]),
        (["trainer=gpu"], ["trainer.accelerator"]),
        (["data.on_corrupt=maybe"], ["data.on_corrupt='maybe'", "skip"]),
        (["backbone=timm", "backbone.name=resnet181"], ["resnet181", "resnet18"]),
        (["task"], ["'task'", "key=value"]),
        (["resume=/no/such"], ["/no/such"]),
        (["init.run=/no/such"], ["/no/such: no such checkpoint"]),
        (["init.head=old"], ["init.head=old", "keep, new"]),
        (["init.method=xavier"], ["init.method=xavier", "isometric"]),
        (["freeze.up_to=conv_20", "init.run=RUN"], ["freeze.up_to=conv_20", "conv_0"]),
        (["optim.backbone_lr=-1"], ["optim.backbone_lr=-1"]),
        (["data.workers=-1"], ["data.workers=-1"]),
        (["trainer.ema_decay=1.5"], ["trainer.ema_decay=1.5"]),
        (["trainer.bn_momentum=x"], ["trainer.bn_momentum=x"]),
        (["trainer.limit_train_batches=0"], ["trainer.limit_train_batches=0"]),
        (["optim.weight_decay=null"], ["optim.weight_decay=null"]),
        (["optim.schedule.warmup_epochs=null"], ["optim.schedule.warmup_epochs=null"]),
        (["optim.schedule.decay_epochs=null"], ["optim.schedule.decay_epochs=null"]),
        (["-m", "trainer.devices=2,3"], ["trainer.devices=2", "sweep"]),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) and "=" in v[0] else None,
)
def test_wrong_settings(arguments: list[str], expected: list[str], tiny_run: Path, tool: Tool, tmp_path: Path) -> None:
    if "trainer=gpu" in arguments and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    drawn = [f"data.root={tiny_run.parent}/sample", "data.train=8", "data.val=4"]
    sample = [] if arguments[0].startswith("data=") else drawn
    output = [] if arguments[0].startswith("resume") else [f"output={tmp_path}/run", *sample]
    answer = tool("train", *output, *(a.replace("RUN", str(tiny_run)) for a in arguments))
    assert answer.status == 1
    assert all(part in answer.message for part in expected), answer.message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["eval", "predict"])
def test_checkpoints_that_are_none(name: str, tool: Tool, tmp_path: Path) -> None:
    (tmp_path / "text.ckpt").write_text("hello")
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    more = [f"input={tmp_path}/text.ckpt"] if name == "predict" else []
    for arguments, expected in [
        ([], "checkpoint is not set"),
        (["checkpoint=/no/such.ckpt"], "/no/such.ckpt: no such"),
        ([f"checkpoint={tmp_path}"], "no run folder"),
        ([f"checkpoint={tmp_path}/text.ckpt"], "text.ckpt: not a checkpoint"),
        ([f"checkpoint={tmp_path}/foreign.ckpt"], "not a checkpoint of this toolkit"),
    ]:
        answer = tool(name, *more, *arguments)
        assert answer.status == 1 and expected in answer.message, answer


def test_eval_refuses_what_does_not_fit(tiny_run: Path, coco_root: Path, tool: Tool, tmp_path: Path) -> None:
    run = f"checkpoint={tiny_run}"
    output = f"output={tmp_path}/eval"
    for arguments, expected in [
        (["data=coco", f"data.root={coco_root}"], "not among the 6"),
        (["backbone.alpha=0.5"], "differs in shape"),
        (["task=classification"], "task=ssd"),
        (["backbone=timm"], "fixed by the checkpoint"),
        (["data.rot=x"], "data.root"),
        (["evaluator=x"], "task.evaluator"),
    ]:
        answer = tool("eval", run, output, *arguments)
        assert answer.status == 1 and expected in answer.message, answer
    assert not (tmp_path / "eval").exists()


def test_predict_refuses_what_is_no_image(tiny_run: Path, tool: Tool, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.jpg").write_text("hello")
    for source, expected in [
        (tmp_path / "empty", "holds no images"),
        (tmp_path / "none.jpg", "no such file"),
        (tmp_path / "*.png", "no file matches"),
        (tmp_path / "text.jpg", "not a readable image"),
    ]:
        answer = tool("predict", f"checkpoint={tiny_run}", f"input={source}", f"output={tmp_path}/out")
        assert answer.status == 1 and expected in answer.message, answer
    assert not (tmp_path / "out").exists()


def test_a_loss_that_is_not_finite_stops_the_run(tiny_run: Path, tool: Tool, tmp_path: Path) -> None:
    answer = tool("train", *TINY, f"data.root={tiny_run.parent}/sample", "optim.lr=1e30", f"output={tmp_path}/run")
    assert answer.status == 1
    assert "step" in answer.message and ".jpg" in answer.message and "optim.lr" in answer.message


def test_a_checkpoint_cannot_name_code_to_run(tiny_run: Path, tool: Tool, tmp_path: Path) -> None:
    content = torch.load(tiny_run / "checkpoints/best.ckpt", weights_only=True)
    for target in ("os.system", "tasks.shared.commands.cli.os.system", "tasks.shared.commands.cli.sys.exit"):
        content["mobilenet_toolkit"]["config"]["task"] = {"_target_": target, "name": "ssd", "command": "true"}
        torch.save(content, tmp_path / "evil.ckpt")
        answer = tool("eval", f"checkpoint={tmp_path}/evil.ckpt", f"output={tmp_path}/eval")
        assert answer.status == 1 and "task._target_" in answer.message


@pytest.mark.parametrize("name", ["train", "eval", "predict", "figures", "benchmark", "convert_weights"])
def test_help_and_typos_answer_without_torch(name: str) -> None:
    code = f"""
import runpy, sys
sys.argv = ["tools/{name}.py", sys.argv[1]]
try:
    runpy.run_path({str(TOOLS / (name + ".py"))!r}, run_name="__main__")
finally:
    assert not {{"torch", "lightning", "matplotlib"}} & sys.modules.keys()
"""
    shown = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    assert f"python tools/{name}.py" in shown.stdout
    taken = {"train": "task", "convert_weights": "task", "eval": "data", "predict": "data"}.get(name)
    assert taken is None or f"{taken}={'|'.join(groups()[taken])}" in shown.stdout
    assert ("Choices" in shown.stdout) == (taken is not None)
    typo = subprocess.run([sys.executable, "-c", code, "trainr.max_epochs=1"], capture_output=True, text=True)
    assert typo.returncode == 1 and typo.stderr.startswith("error: ") and "Traceback" not in typo.stderr


def test_a_path_that_is_no_utf8_is_told_where_a_run_keeps_it(coco_root: Path, tool: Tool, tmp_path: Path) -> None:
    """Its own folder it does not keep."""
    odd = coco_root.with_name(os.fsdecode(b"caf\xe9"))
    assert tool("train", *train_on(coco_root), f"output={odd}/run").status == 0
    assert tool("eval", f"checkpoint={odd}/run", f"output={tmp_path}/scores").status == 0
    answer = tool("train", *train_on(coco_root.rename(odd / "data")), f"output={tmp_path}/run")
    assert answer.status == 1 and r"caf\xe9/data: is no UTF-8, which a run's files" in answer.message, answer.message
    assert not (tmp_path / "run").exists()
