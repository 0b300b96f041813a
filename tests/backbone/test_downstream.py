"""The backbone in other people's projects: a plain torch classifier, and torchvision's Faster R-CNN."""

import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign

from backbone import MobileNetV1, save_weights

ROOT = Path(__file__).parents[2]


def test_a_plain_classifier_learns_a_fixed_batch():
    torch.manual_seed(0)
    backbone = MobileNetV1(alpha=0.25, bn_momentum=0.1)
    head = nn.Linear(backbone.feature_info[-1].channels, 4)
    optimizer = torch.optim.SGD([*backbone.parameters(), *head.parameters()], lr=0.05, momentum=0.9)
    images, labels = torch.randn(8, 3, 64, 64), torch.arange(8) % 4
    filters = backbone.get_parameter("conv_0.conv.weight")
    before = filters.detach().clone()
    losses = []
    for _ in range(10):
        features = backbone(images)["conv_13"]
        loss = F.cross_entropy(head(features.mean((2, 3))), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert not torch.equal(filters, before)


class DetectionBody(nn.Module):
    """What torchvision's detectors ask of a backbone: maps of one width, told by `out_channels`."""

    def __init__(self, body: MobileNetV1, out_channels: int = 64):
        super().__init__()
        self.body, self.out_channels = body, out_channels
        self.lateral = nn.ModuleDict(
            {info.name: nn.Conv2d(info.channels, out_channels, 1) for info in body.feature_info}
        )

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        return OrderedDict((name, self.lateral[name](m)) for name, m in self.body(images).items())


def test_torchvisions_faster_rcnn_trains_and_detects_with_our_backbone():
    torch.manual_seed(0)
    backbone = MobileNetV1(alpha=0.25, taps=("conv_11", "conv_13"))
    model = FasterRCNN(
        DetectionBody(backbone),
        num_classes=3,
        rpn_anchor_generator=AnchorGenerator(((16, 32), (48, 64)), ((0.5, 1.0, 2.0),) * 2),
        box_roi_pool=MultiScaleRoIAlign(["conv_11", "conv_13"], output_size=3, sampling_ratio=2),
        min_size=96,
        max_size=128,
        box_score_thresh=0.0,
        image_mean=backbone.input_mean,
        image_std=backbone.input_std,
    )
    images = [torch.rand(3, 90, 110), torch.rand(3, 70, 61)]
    targets = [
        {"boxes": torch.tensor([[10.0, 10, 60, 70], [30, 20, 100, 80]]), "labels": torch.tensor([1, 2])},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    losses = model.train()(images, targets)
    assert all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    for name, p in backbone.named_parameters():
        assert p.grad is not None, name
        assert torch.isfinite(p.grad).all(), name
        assert p.grad.any(), name

    with torch.no_grad():
        found = model.eval()(images)
    assert len(found) == 2
    for image, result in zip(images, found, strict=True):
        boxes, (height, width) = result["boxes"], image.shape[1:]
        assert len(boxes) == len(result["scores"]) > 0
        assert (boxes >= 0).all()
        assert (boxes <= torch.tensor([width, height, width, height])).all()
        assert set(result["labels"].tolist()) <= {1, 2}


def test_the_weights_example_in_the_docs_runs(tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/backbone.md").read_text(), re.DOTALL)
    (example,) = (block for block in blocks if "read_weights" in block)
    save_weights(MobileNetV1(0.25, padding="symmetric"), tmp_path / "mobilenet_2_5_224_tf_no_top.h5")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"images": torch.randn(1, 3, 64, 64)}
    exec(example, names)
    assert {name: tuple(m.shape) for name, m in names["maps"].items()} == {
        "conv_11": (1, 128, 4, 4),
        "conv_13": (1, 256, 2, 2),
    }
