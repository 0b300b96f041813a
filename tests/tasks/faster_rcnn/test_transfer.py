"""Weights from elsewhere in both stages, and batch norm as it was when they were trained."""

from pathlib import Path

import pytest
import torch
from torch import nn

from backbone import MobileNetV1
from tasks.faster_rcnn import FasterRCNN
from tasks.shared.classification import Classifier
from tasks.shared.config.compose import changed, compose_config, network_config, plain
from tasks.shared.config.nodes import NetworkConfig
from tasks.shared.network.build import build_task
from tasks.shared.network.transfer import adopted, freeze, start_from
from tasks.shared.records.checkpoint import load_checkpoint, write_weights
from tasks.shared.training.settings import run_of
from tests.tasks.faster_rcnn.conftest import make_task, random_boxes, random_images, target

TARGETS = [target([10, 10, 60, 60], [50, 40, 90, 90], labels=(1, 0)), target()]


def norms(task: FasterRCNN) -> dict[str, nn.BatchNorm2d]:
    return {name: m for name, m in task.named_modules() if isinstance(m, nn.BatchNorm2d)}


def lively_norms(task: nn.Module) -> None:
    """Statistics and scales that a network trained elsewhere may have."""
    torch.manual_seed(5)
    for module in task.modules():
        if isinstance(module, nn.BatchNorm2d):
            for name, low, high in (
                ("running_mean", -0.3, 0.3), ("running_var", 0.5, 1.5), ("weight", 0.8, 1.2), ("bias", -0.2, 0.2),
            ):  # fmt: skip
                nn.init.uniform_(getattr(module, name), low, high)


@pytest.mark.parametrize("frozen", [True, False], ids=["frozen", "trained"])
def test_frozen_batch_norm_stays_as_it_came_in_both_stages(frozen):
    task = make_task(body={"bn_momentum": 0.1})
    lively_norms(task)
    before = {name: value.clone() for name, value in task.state_dict().items()}
    stay = freeze(task, None, batch_norm=frozen)
    task.train()
    for module in stay:
        module.eval()
    optimizer = torch.optim.AdamW([p for p in task.parameters() if p.requires_grad], lr=1e-3)
    for _ in range(2):
        total = torch.stack(list(task.loss(task(random_images(2, 96)), TARGETS).values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    after = task.state_dict()
    assert len(norms(task)) == 27
    for name in norms(task):
        for part in ("weight", "bias", "running_mean", "running_var"):
            assert torch.equal(before[f"{name}.{part}"], after[f"{name}.{part}"]) == frozen, (name, part)
    for name in ("backbone.conv_0.conv.weight", "backbone.conv_13.pointwise.conv.weight", "rpn.conv.weight"):
        assert not torch.equal(before[name], after[name]), "convolutions are trained"


def test_with_frozen_batch_norm_a_crop_is_answered_the_same_in_any_company():
    task = make_task()
    lively_norms(task)
    features, boxes = torch.rand(1, task.shared.channels, 6, 6), random_boxes(1, 5)

    def alone_and_together() -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            return task.second_stage(features, boxes[:, :1])[0], task.second_stage(features, boxes)[0][:, :1]

    task.train()
    assert not torch.allclose(*alone_and_together(), atol=1e-3), "it learns from statistics of the batch"
    for module in freeze(task, None, batch_norm=True):
        module.eval()
    torch.testing.assert_close(*alone_and_together())


@pytest.fixture
def classifier_run(tmp_path: Path) -> Path:
    """A checkpoint of task=classification, as tools/train.py and tools/convert_weights.py write them."""
    overrides = ["task=classification", "backbone.alpha=0.25", "backbone.padding=symmetric", "backbone.bn_eps=1e-5"]
    config = plain(compose_config("train", [*overrides, "backbone.input_std=[0.25,0.25,0.25]"]))
    torch.manual_seed(3)
    classifier = build_task(NetworkConfig.of(config), 10)
    assert isinstance(classifier, Classifier)
    lively_norms(classifier)
    path = tmp_path / "classifier.ckpt"
    write_weights(path, config, {"class_names": [str(k) for k in range(10)]}, 10, classifier.state_dict())
    return path


def test_weights_of_a_classifier_start_both_stages(classifier_run: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    config = compose_config("train", ["task=faster_rcnn", f"init.run='{classifier_run}'", "init.head=new"])
    run = run_of(plain(config))
    config = changed(config, adopted(run.init, run.network, {"task", "init.run", "init.head"}))
    task = build_task(network_config(config), 3)
    assert isinstance(task, FasterRCNN) and isinstance(task.backbone, MobileNetV1)
    start_from(task, load_checkpoint(classifier_run), "new", {"class_names": ["a", "b", "c"]})
    source = load_checkpoint(classifier_run).weights
    own = {f"backbone.{name}": value for name, value in task.backbone.state_dict().items()}
    assert own.keys() == {name for name in source if name.startswith("backbone.")}
    assert all(torch.equal(value, source[name]) for name, value in own.items())
    assert {name.split(".")[1] for name in own} == {f"conv_{k}" for k in range(14)}
    assert [task.backbone.arguments[k] for k in ("alpha", "padding", "bn_eps")] == [0.25, "symmetric", 1e-5]
    assert task.normalize.std.flatten().tolist() == [63.75] * 3
    message = next(r.getMessage() for r in caplog.records if "not taken" in r.getMessage())
    assert "backbone" not in message.split(":")[-1], "no layer of it is left out"

    # The whole image as a crop goes through the classifier's own last layers.
    classifier = build_task(load_checkpoint(classifier_run).network, 10).eval()
    classifier.load_state_dict(source)
    task.eval()
    features = torch.rand(1, task.shared.channels, 14, 14)
    with torch.no_grad():
        x = classifier.backbone.run(features, after="conv_11", until="conv_13").mean((2, 3))  # type: ignore[operator]
        logits, _ = task.second_stage(features, torch.tensor([[[0.0, 0, 13 * 16, 13 * 16]]]))
        torch.testing.assert_close(logits[0], task.classes(x))
