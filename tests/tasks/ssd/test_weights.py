"""A published detector's file, drawn here as TensorFlow writes it, against plain sums and TensorFlow's box coder."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from backbone import MobileNetV1, Published, folded_norms, read_weights
from tasks.shared.detection.boxes import decode
from tasks.ssd import SSD
from tasks.ssd.weights import load_ssd
from tests.backbone import channels_last
from tests.backbone.tflite_writer import NONE, RELU6, STRIDES, MobileNetWriter

SIDE, CLASSES = 64, 3
WIDTHS = (8, 16, 32, 32, 64, 64, 128, 128, 128, 128, 128, 128, 256, 256)  # alpha 0.25
EXTRAS = ((64, 128), (32, 64), (32, 64), (16, 32))
SHAPES = (3, 6, 6, 6, 6, 6)  # anchors a location
COUNT = 4 * 4 * 3 + (2 * 2 + 1 + 1 + 1 + 1) * 6
TF_SCALES = {"y_scale": 10.0, "x_scale": 10.0, "h_scale": 5.0, "w_scale": 5.0}


class DetectorWriter(MobileNetWriter):
    """ssd_mobilenet_v1 at 64 pixels with 3 classes."""

    def __init__(
        self,
        path: Path,
        anchors: Tensor,
        form: str = "uint8",
        scores: str = "LOGISTIC",
        stray: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(form, SIDE, NONE if form == "uint8" else RELU6)
        x = self.body(WIDTHS)
        if stray:
            self.conv("mask", x, 5, 1)
        self.sources = [self.maps["conv_11"], x]
        for index, (middle, wide) in enumerate(EXTRAS):
            x = self.conv(f"extra_{index}/1", x, middle, 1, fused=RELU6, top=9.0)
            x = self.conv(f"extra_{index}/2", x, wide, 3, 2, fused=RELU6, top=9.0)
            self.sources.append(x)
        parts: dict[str, list[int]] = {"box": [], "class": []}
        for index, (source, shapes) in enumerate(zip(self.sources, SHAPES, strict=True)):
            for name, values in (("box", 4), ("class", CLASSES + 1)):
                y = self.conv(f"{name}_{index}", source, shapes * values, 1, fused=NONE, top=20.0, gain=0.3)
                parts[name].append(self.operator("RESHAPE", [y], self.tensor(f"{name}_{index}/flat", [1, -1, values])))
        boxes, logits = (
            self.operator("CONCATENATION", part, self.tensor(name, [1, COUNT, 4])) for name, part in parts.items()
        )
        probable = self.operator(scores, [logits], self.tensor("scores", [1, COUNT, CLASSES + 1]))
        stored, self.anchors = self._store("anchors", anchors.numpy(), 0)
        settings = {"max_detections": 10, "nms_iou_threshold": 0.6, "num_classes": CLASSES} | TF_SCALES | options
        end = self.tensor("answer", [1, 10, 4])
        self.operator("TFLite_Detection_PostProcess", [boxes, probable, stored], end, **settings)
        self.settings = settings
        self.save(path, [self.image], [end])

    def outputs(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """x: (B, H, W, 3), what the first layer reads -> the file's own boxes (B, A, 4) and logits (B, A, C + 1)."""
        left = iter(self.real)

        def step(x: np.ndarray, stride: int = 1, act: bool = True) -> np.ndarray:
            weight, bias = next(left)
            if weight.shape[0] == 1:
                x = channels_last.depthwise(x, weight[0][..., None], stride)
            else:
                x = channels_last.conv(x, weight.transpose(1, 2, 3, 0), stride)
            return channels_last.relu6(x + bias) if act else x + bias

        x = step(x, 2)
        maps = []
        for number, stride in enumerate(STRIDES[1:], 1):
            x = step(step(x, stride))
            maps += [x] if number in (11, 13) else []
        for _ in EXTRAS:
            maps.append(x := step(step(x), 2))
        answers = [(step(m, act=False), step(m, act=False)) for m in maps]
        boxes, logits = (
            np.concatenate([a[k].reshape(len(x), -1, values) for a in answers], 1)
            for k, values in ((0, 4), (1, CLASSES + 1))
        )
        return boxes, logits


def make_task(published: Published, width: float = 0.25, resolution: int = SIDE, **options: Any) -> SSD:
    body = {"taps": (16, 32)} | options.pop("body", {})
    return SSD(
        MobileNetV1(**{**published.implied, **body}),
        options.pop("num_classes", CLASSES),
        resolution,
        width=width,
        **options,
    )


def tf_anchors() -> Tensor:
    """(A, 4): y, x, height, width of centre and size, worked out as in the published configuration."""
    rows = []
    scales = [0.2 + 0.15 * k for k in range(6)] + [1.0]
    for k, side in enumerate((4, 2, 1, 1, 1, 1)):
        shapes = [(scales[k], ratio) for ratio in (1, 2, 0.5, 3, 1 / 3)] + [((scales[k] * scales[k + 1]) ** 0.5, 1)]
        shapes = [(0.1, 1), (0.2, 2), (0.2, 0.5)] if k == 0 else shapes
        for row in range(side):
            for column in range(side):
                for scale, ratio in shapes:
                    center = ((row + 0.5) / side, (column + 0.5) / side)
                    rows.append([*center, scale / ratio**0.5, scale * ratio**0.5])
    return torch.tensor(rows, dtype=torch.float32)


def tf_decode(boxes: np.ndarray, anchors: np.ndarray, scales: dict[str, Any]) -> np.ndarray:
    """TFLite_Detection_PostProcess: offsets (..., 4) as y, x, height, width -> xyxy as shares of the image."""
    y = boxes[..., 0] / scales["y_scale"] * anchors[:, 2] + anchors[:, 0]
    x = boxes[..., 1] / scales["x_scale"] * anchors[:, 3] + anchors[:, 1]
    height = np.exp(boxes[..., 2] / scales["h_scale"]) * anchors[:, 2]
    width = np.exp(boxes[..., 3] / scales["w_scale"]) * anchors[:, 3]
    return np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], -1)


@pytest.mark.parametrize(
    ("form", "options"),
    [("uint8", {}), ("float", {"y_scale": 4.0, "x_scale": 8.0, "h_scale": 2.0, "w_scale": 3.0})],
)
def test_boxes_and_logits_are_those_of_the_file(tmp_path, form, options):
    writer = DetectorWriter(tmp_path / "ssd.tflite", tf_anchors(), form, **options)
    published = read_weights(tmp_path / "ssd.tflite")
    # By name: 8 convolutions of the extra maps, 12 predictors, each with its bias, and the anchors.
    assert len(published.left_over) == 41
    task = make_task(published).eval()
    assert load_ssd(task, published).left_over == {}
    assert len(folded_norms(task)) == 27 + 8
    pixels = torch.randint(256, (2, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    with torch.no_grad():
        outputs = task(pixels)
    seen = (pixels.double() - 128) / 128 if form == "uint8" else pixels.double() / 127.5 - 1
    boxes, logits = writer.outputs(seen.permute(0, 2, 3, 1).numpy())
    np.testing.assert_allclose(outputs.class_logits, logits, rtol=1e-4, atol=1e-3)
    ours = (decode(outputs.box_offsets.double(), outputs.anchors) / SIDE).numpy()
    np.testing.assert_allclose(ours, tf_decode(boxes, tf_anchors().numpy(), writer.settings), rtol=1e-3, atol=1e-4)
    assert np.ptp(ours, axis=1).min() > 0.2  # they are spread over the image, and x is not y


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("published") / "ssd.tflite"
    DetectorWriter(path, tf_anchors())
    return path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 80}, "num_classes is 80, but the weights need 3$"),
        ({"resolution": 96}, "resolution is 96, but the weights need 64$"),
        (
            {"body": {"taps": ("conv_9", "conv_13")}},
            r"taps is \['conv_9', 'conv_13'\], .* need \['conv_11', 'conv_13'\]$",
        ),
        ({"loss": {"classification": "softmax"}}, "classification is softmax, but the weights need sigmoid$"),
        (
            {"unit": {"activation": "relu", "padding": "symmetric"}},
            "unit.activation is relu, but .* relu6; task.unit.padding is symmetric, but the weights need same$",
        ),
        (
            {"body": {"alpha": 0.5}, "num_classes": 2},
            "backbone.alpha is 0.5, but .* need 0.25; num_classes is 2, but the weights need 3$",
        ),
        ({"width": 0.5}, r"head.extras.0.0.conv.weight has the shape \(64, .*; the task's is \(128, .*task.width"),
        (
            {"anchors": {"min_scale": 0.15}},
            r"anchor 7 is \[0.127.*; the task's is \[0.125, 0.625, 0.1061, 0.2121\] \(task.anchors",
        ),
    ],
)
def test_what_differs_from_the_task_is_named_with_both_values(path, options, message):
    published = read_weights(path)
    task = make_task(published, **options)
    before = {name: tensor.clone() for name, tensor in task.state_dict().items()}
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))}: .*{message}"):
        load_ssd(task, published)
    assert all(torch.equal(tensor, before[name]) for name, tensor in task.state_dict().items())


def test_a_head_of_another_eps_or_focal_loss_fits(path):
    task = make_task(read_weights(path), unit={"bn_eps": 1e-5}, loss={"classification": "focal"})
    load_ssd(task, path)
    assert len(folded_norms(task)) == 27 + 8


def test_anchors_in_another_order_are_refused(tmp_path):
    path = tmp_path / "ssd.tflite"
    DetectorWriter(path, tf_anchors()[:, [1, 0, 3, 2]])
    published = read_weights(path)
    with pytest.raises(ValueError, match=r"ssd.tflite: anchor \d+ is .* \(y, x, height, width"):
        load_ssd(make_task(published), published)


def test_weights_that_ssd_has_no_place_for_are_named(tmp_path):
    DetectorWriter(tmp_path / "ssd.tflite", tf_anchors(), stray=True)
    published = read_weights(tmp_path / "ssd.tflite")
    with pytest.raises(ValueError, match=r"ssd.tflite: holds mask/weight, mask/bias, which SSD does not have"):
        load_ssd(make_task(published), published)


def test_another_file_is_no_detector(tmp_path, path):
    published = read_weights(path)
    writer = MobileNetWriter("uint8", SIDE)
    x = writer.classifier(writer.body(WIDTHS), 5)
    classifier = writer.save(tmp_path / "net.tflite", [writer.image], [x])
    with pytest.raises(ValueError, match=r"net.tflite: no detector; expected one that ends in TFLite_Detection_PostP"):
        load_ssd(make_task(published), classifier)
    with pytest.raises(ValueError, match=r"keras weights have no SSD head; expected a \.tflite file"):
        load_ssd(make_task(published), replace(published, format="keras"))


def test_softmax_scores_are_told_and_other_ones_are_refused(tmp_path):
    for kind in ("SOFTMAX", "TANH"):
        DetectorWriter(tmp_path / f"{kind}.tflite", tf_anchors(), scores=kind)
    published = read_weights(tmp_path / "SOFTMAX.tflite")
    load_ssd(make_task(published, loss={"classification": "softmax"}), published)
    with pytest.raises(ValueError, match=r"operator \d+ \(TANH\); expected LOGISTIC or SOFTMAX there"):
        load_ssd(make_task(published), tmp_path / "TANH.tflite")
