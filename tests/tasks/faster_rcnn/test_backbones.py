"""The detector on other backbones than MobileNet: any whose layers run one after another."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from backbone import Backbone, FeatureInfo, count_cost, select_taps
from tasks.faster_rcnn import FasterRCNN
from tasks.shared.network.build import build_data
from tasks.shared.network.fused import prepare_for_inference
from tasks.shared.network.timm_backbone import TimmBackbone
from tests.runs import composed_run
from tests.tasks.faster_rcnn.conftest import random_images

SIDE, PROPOSALS, CLASSES = 96, 12, 6


class Plain(Backbone):
    """A stem of stride 16, a layer that halves, and nothing else."""

    input_mean, input_std = (0.4, 0.5, 0.6), (0.2, 0.2, 0.2)

    def __init__(self) -> None:
        super().__init__()
        self.feature_info = select_taps([FeatureInfo("stem", 16, 16), FeatureInfo("top", 24, 32)], [16, 32])
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 16, stride=16, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.top = nn.Sequential(nn.Conv2d(16, 24, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(24), nn.ReLU())


def make(name: str) -> Backbone:
    torch.manual_seed(0)
    return Plain() if name == "plain" else TimmBackbone(name, [16, 32])


@pytest.fixture(params=["plain", "resnet10t", "mobilenetv2_035", "mobilenetv3_small_050"])
def task(request: pytest.FixtureRequest) -> FasterRCNN:
    return FasterRCNN(make(request.param), CLASSES, SIDE, proposals=PROPOSALS)


@pytest.fixture
def data(tmp_path: Path) -> Any:
    sample = [f"data.root={tmp_path}/sample", "data.train=2", "data.val=2", "data.workers=0", f"resolution={SIDE}"]
    run = composed_run("task=faster_rcnn", "data.batch_size=2", *sample)
    return build_data(run.data, run.resolution)


def test_it_trains_and_is_evaluated(task: FasterRCNN, data: Any) -> None:
    assert data.num_classes == CLASSES
    optimizer = torch.optim.SGD(task.train().parameters(), lr=1e-3)
    batch = next(iter(data.train_loader(0)))
    losses = task.loss(task(batch.images), batch.targets)
    torch.stack(list(losses.values())).sum().backward()
    assert [name for name, p in task.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    optimizer.step()

    evaluator = task.evaluator(data, data.info)
    network = prepare_for_inference(task, torch.device("cpu"), bf16=False)
    with torch.inference_mode():
        for val in data.val_loader():
            evaluator.update(network.predict(network(val.images), torch.tensor([t["size"] for t in val.targets])),
                             val.targets)  # fmt: skip
    assert {"AP", "rpn_recall"} <= evaluator.compute().keys()


def test_what_answers_is_made_fast_and_answers_the_same(task: FasterRCNN) -> None:
    images = random_images(2, SIDE)
    with torch.inference_mode():
        task.train()(images)  # so that there are statistics to fold
        before = task.eval()(images)
        boxes = before.proposals
        logits, offsets = task.second_stage(before.features, boxes)
        after = prepare_for_inference(task, torch.device("cpu"), bf16=False)(images)
        torch.testing.assert_close(after.features, before.features, rtol=1e-3, atol=1e-3)
        for old, new in zip((logits, offsets), task.second_stage(before.features, boxes), strict=True):
            torch.testing.assert_close(new, old, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["plain", "resnet10t", "mobilenetv2_035"])
def test_costs_are_those_of_the_shared_layers_once_and_of_the_others_a_crop(name: str) -> None:
    with torch.device("meta"):
        task = FasterRCNN(make(name), CLASSES, SIDE, proposals=PROPOSALS)
    shared, last = task.backbone.feature_info

    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = task.backbone

        def forward(self, x: Tensor) -> Tensor:
            return self.body.run(x, until=shared.name)

    class Crop(Shared):
        def forward(self, x: Tensor) -> Tensor:
            return self.body.run(x, after=shared.name, until=last.name)

    places = (SIDE // 16) ** 2
    heads = places * (9 * shared.channels * 512 + 512 * 12 * 6) + PROPOSALS * last.channels * (
        CLASSES + 1 + CLASSES * 4
    )
    first, crop = count_cost(Shared(), SIDE), count_cost(Crop(), 14, shared.channels)
    assert count_cost(task, SIDE).mult_adds == first.mult_adds + PROPOSALS * crop.mult_adds + heads
    assert not {layer.name for layer in first.layers} & {layer.name for layer in crop.layers}


def test_backbones_that_cannot_run_in_part_are_refused() -> None:
    class Other(nn.Module):
        feature_info = (FeatureInfo("a", 8, 16), FeatureInfo("b", 8, 32))
        input_mean = input_std = (0.5, 0.5, 0.5)

    with pytest.raises(ValueError, match=r"an? Other has no `run`; expected a subclass of backbone.Backbone"):
        FasterRCNN(Other(), 3)  # type: ignore[arg-type]
    with torch.device("meta"), pytest.raises(ValueError, match=r"^backbone.name=hrnet_w18_small: timm does not run"):
        FasterRCNN(TimmBackbone("hrnet_w18_small", [16, 32]), 3)
