"""Dogs: both stages in one command, the same as two commands, and what each leaves."""

import csv
import json
from pathlib import Path

import pytest

from tasks.dogs.data import SEEN
from tests.tools.conftest import Tool

TINY = (
    "task=dogs", "backbone.alpha=0.25", "resolution=64", "data.train=3", "data.val=2", "data.batch_size=8",
    "data.workers=0", "trainer=cpu", "trainer.max_epochs=1", "trainer.val_every_epochs=1",
)  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # the cache of hashes is below it
    return tmp_path


@pytest.mark.slow
def test_one_command_and_two(place: Path, tool: Tool) -> None:
    sample = f"data.root={place}/sample"
    stages = """stages={web: ["data=web_dogs_sample", "data.web=8"], clean: ["optim.lr=0.004"]}"""
    run = place / "run"
    answer = tool("train", *TINY, sample, stages, f"output={run}")
    assert answer.status == 0, answer.message
    metrics = json.loads((run / "metrics.json").read_text())
    assert {"top1", "class_mean", "web_top1", "clean_top1", "gain_over_web", "gain_over_clean"} <= metrics.keys()
    assert f"init: all weights of {run}/stages/web/checkpoints" in answer.out
    assert SEEN not in answer.out

    with (place / "sample/web/web_truth.csv").open() as file:
        planted = {row["path"] for row in csv.DictReader(file) if row["kind"] == "duplicate"}
    with (run / "stages/web/left_out.csv").open() as file:
        found = {row["file"] for row in csv.DictReader(file) if row["reason"] == "near-duplicate"}
    assert planted == found and len(planted) == 24
    assert (run / "stages/web/near_duplicates.jpg").stat().st_size > 0
    assert not (run / "left_out.csv").exists(), "the clean set leaves nothing out"
    with (run / "classes.csv").open() as file:
        names = {row["name"] for row in csv.DictReader(file)}
    assert "Curl-tailed round ear" in names and len(names) == 12

    # The same steps as commands of their own: real readers on the sample's folders.
    real = [k for k in TINY if not k.startswith(("data.train", "data.val=", "resolution"))]
    web = [*real, "experiment=dogs_web", "resolution=64", f"data.root={place}/sample/web", "data.official=false",
           f"data.test_root={place}/sample/stanford", f"output={place}/web"]  # fmt: skip
    assert (answer := tool("train", *web)).status == 0, answer.message
    finetune = [*real, "experiment=dogs_finetune", f"init.run={place}/web", f"data.root={place}/sample/stanford"]
    answer = tool("train", *finetune, "data.official=false", f"output={place}/fine")
    assert answer.status == 0, answer.message
    assert "3 classes" not in answer.out and (place / "fine/confusion.png").exists()
    refused = tool("train", *finetune, f"output={place}/other")
    assert refused.status == 1 and "12 classes; Stanford Dogs has 120" in refused.message
    assert not (place / "other").exists()

    answer = tool("predict", f"checkpoint={place}/fine", f"input={place}/sample/stanford/Images", f"output={place}/out")
    assert answer.status == 0, answer.message
    first = json.loads((place / "out/predictions.json").read_text())[0]["answer"][0]
    assert first["class_id"].startswith("n900000") and first["name"] in names


def test_weights_that_know_imagenet_are_warned_of(place: Path, tool: Tool) -> None:
    answer = tool("train", *TINY, f"data.root={place}/sample", "stages=null", "init.stage=null", f"output={place}/a")
    assert answer.status == 0, answer.message
    assert SEEN not in answer.out
    # A run that says of itself that it was trained on ImageNet, as converted weights do.
    import torch

    path = place / "a/checkpoints/best.ckpt"
    content = torch.load(path, weights_only=True)
    content["mobilenet_toolkit"]["config"]["data"]["choice"] = "imagenet"
    torch.save(content, path)
    answer = tool("train", *TINY, f"data.root={place}/sample", f"init.run={place}/a", f"output={place}/b")
    assert answer.status == 0, answer.message
    assert f"warning: {SEEN}" in answer.out and "stages web, clean: left out" in answer.out
