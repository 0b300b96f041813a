"""The detector as a whole: Table 13's cost, odd sizes, and boxes in the original image."""

from typing import Any

import pytest
import torch
from torch import nn

from backbone import count_cost
from tasks.shared.contract import Normalize
from tasks.shared.detection.dataset import DetectionInfo
from tasks.shared.detection.postprocess import Detections
from tasks.ssd import SSD
from tasks.ssd.head import SSDHead
from tasks.ssd.model import SSDOutputs
from tests.tasks.ssd.conftest import make_task, random_images

# Table 13


@pytest.fixture(scope="module")
def ssd_300() -> SSD:
    return make_task(90, 300, 1.0)


def test_table_13_mult_adds_and_parameters_of_ssd_300(ssd_300):
    cost = count_cost(ssd_300, 300)
    assert (cost.mult_adds, cost.parameters) == (1_237_129_408, 6_819_839)
    # The paper prints 1.2 billion and 6.8 million.
    assert (round(cost.mult_adds / 1e9, 1), round(cost.parameters / 1e6, 1)) == (1.2, 6.8)


def test_ssd_300_has_1917_anchors_on_six_maps(ssd_300):
    layers = {layer.name: layer.output_size for layer in count_cost(ssd_300, 300).layers}
    sizes = [layers[f"head.classes.{index}"] for index in range(6)]
    assert sizes == [(91 * n, s, s) for n, s in zip([3, 6, 6, 6, 6, 6], [19, 10, 5, 3, 2, 1], strict=True)]
    extras = [layers[f"head.extras.{index}.{step}.conv"] for index in range(4) for step in range(2)]
    assert [size[0] for size in extras] == [256, 512, 128, 256, 128, 256, 64, 128]
    with torch.device("meta"):
        outputs = make_task(90, 300, 1.0)(torch.empty(2, 3, 300, 300))
    assert [tuple(t.shape) for t in outputs] == [(2, 1917, 91), (2, 1917, 4), (1917, 4)]


@pytest.mark.parametrize(
    ("alpha", "widths"),
    [(0.5, [128, 256, 64, 128, 64, 128, 32, 64]), (0.05, [16, 25, 16, 16, 16, 16, 16, 16])],
)
def test_extra_maps_shrink_with_alpha_but_not_below_16_channels(alpha, widths):
    extras = make_task(alpha=alpha).head.extras
    assert [m.out_channels for m in extras.modules() if isinstance(m, nn.Conv2d)] == widths


# Outputs and anchors


def test_outputs_are_flattened_in_the_order_of_the_anchors():
    task = make_task(2, 96)
    head: SSDHead = task.head.eval()
    draw = torch.Generator().manual_seed(0)
    maps = [torch.rand(2, info.channels, 6 // 2**k, 6 // 2**k, generator=draw) for k, info in enumerate(_info(task))]
    logits, offsets, sizes = head(maps)
    assert sizes == ((6, 6), (3, 3), (2, 2), (1, 1), (1, 1), (1, 1))
    grid = head.classes[0](maps[0]), head.boxes[0](maps[0])  # (B, 3 shapes x values, 6, 6)
    coarse = head.classes[1](maps[1])
    for row, column, shape in [(0, 0, 0), (0, 1, 2), (4, 2, 1), (5, 5, 2)]:
        anchor = (row * 6 + column) * 3 + shape
        torch.testing.assert_close(logits[:, anchor], grid[0][:, 3 * shape : 3 * shape + 3, row, column])
        torch.testing.assert_close(offsets[:, anchor], grid[1][:, 4 * shape : 4 * shape + 4, row, column])
    torch.testing.assert_close(logits[:, 108 + (2 * 3 + 1) * 6 + 5], coarse[:, 15:18, 2, 1])


def _info(task: SSD) -> list[Any]:
    return task.backbone.feature_info


def test_forward_returns_the_same_type_in_training_and_evaluation():
    task = make_task()
    images = random_images(2, 96)
    for outputs in (task.train()(images), task.eval()(images)):
        assert type(outputs) is SSDOutputs
        assert outputs.class_logits.shape == (2, len(outputs.anchors), 4)
        assert outputs.box_offsets.shape == (2, len(outputs.anchors), 4)
        assert all(t.dtype == torch.float32 for t in outputs)


def test_images_of_0_to_255_are_normalised_as_the_backbone_expects():
    task = make_task().eval()
    images = random_images(2, 96)
    for expected, got in zip(task(images), task(images.float()), strict=True):
        torch.testing.assert_close(got, expected)
    normalize = Normalize((0.5, 0.25, 0.5), (0.5, 0.25, 1))
    pixels = torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 1, 2).expand(1, 3, 1, 2)
    torch.testing.assert_close(normalize(pixels)[0, :, 0], torch.tensor([[-1.0, 1], [-1, 3], [-0.5, 0.5]]))


@pytest.mark.parametrize(
    ("resolution", "options"),
    [
        (96, {}),
        (160, {"num_classes": 1}),
        (299, {"num_classes": 20}),
        (32, {}),
        (100, {"body": {"shallow": True}}),
        (96, {"taps": ("conv_5", "conv_13")}),
        (96, {"taps": (8, 16, 32)}),
        (97, {"taps": ("conv_3", "conv_11", "conv_12", "conv_13"), "alpha": 0.5}),
        (96, {"body": {"padding": "symmetric", "activation": "relu"}, "unit": {"padding": "symmetric"}}),
        (96, {"anchors": {"min_scale": 0.1, "max_scale": 0.8}}),
    ],
)
def test_any_resolution_class_count_and_taps_fit_together(resolution, options):
    task = make_task(resolution=resolution, **options)
    outputs = task(random_images(2, resolution))
    sizes = [-(-resolution // info.stride) for info in _info(task)]
    for _ in range(4):
        sizes.append(-(-sizes[-1] // 2))
    assert len(outputs.anchors) == sizes[0] ** 2 * 3 + sum(side**2 * 6 for side in sizes[1:])
    assert outputs.class_logits.shape == (2, len(outputs.anchors), options.get("num_classes", 3) + 1)
    assert outputs.box_offsets.shape == (2, len(outputs.anchors), 4)
    centers = (outputs.anchors[:, :2] + outputs.anchors[:, 2:]) / 2
    assert ((centers > 0) & (centers < resolution)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"taps": (32,)}, "backbone.taps gives 1 map; SSD reads two or more"),
        ({"resolution": 31}, "resolution=31 is too small"),
        ({"resolution": 15, "taps": ("conv_5", "conv_11")}, "at least 16 pixels"),
        ({"num_classes": 0}, "num_classes=0"),
        ({"loss": {"classification": "hinge"}}, "task.loss.classification='hinge'"),
    ],
)
def test_what_cannot_work_is_refused_by_key(options, message):
    with pytest.raises(ValueError) as error:
        make_task(**options)
    assert message in str(error.value)


def test_images_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"96x96, got \(1, 3, 96, 128\)"):
        make_task()(torch.zeros(1, 3, 96, 128))


# predict


def one_confident(task: SSD, boxes: list[list[float]], label: int, offset: list[float] | None = None) -> SSDOutputs:
    """Outputs in which the first of these anchors is sure of one class, and no other anchor of any."""
    logits = torch.full((1, len(boxes), 4), -30.0)
    logits[..., 0] = 30
    logits[0, 0] = torch.tensor([-4.0, *[4.0 if c == label else -30 for c in range(3)]])
    offsets = torch.zeros(1, len(boxes), 4)
    offsets[0, 0] = torch.tensor(offset or [0.0] * 4)
    return SSDOutputs(logits, offsets, torch.tensor(boxes))


@pytest.mark.parametrize("classification", ["sigmoid", "softmax", "focal"])
@pytest.mark.parametrize(
    ("anchor", "offset", "expected"),
    [
        ([24.0, 12, 72, 60], None, [50, 25, 150, 125]),
        ([24.0, 12, 72, 60], [10.0, 0, 0, 0], [150, 25, 200, 125]),  # its width to the right, cut off at the border
        ([-40.0, -40, 48, 48], None, [0, 0, 100, 100]),
    ],
)
def test_boxes_come_in_pixels_of_the_original_image(classification, anchor, offset, expected):
    task = make_task(loss={"classification": classification}, postprocess={"score_threshold": 0.01})
    outputs = one_confident(task, [anchor, [0.0, 0, 9, 9]], 2, offset)
    (found,) = task.predict(outputs, torch.tensor([[200, 200]]))
    torch.testing.assert_close(found.boxes, torch.tensor([expected]).float())
    (found,) = task.predict(outputs, torch.tensor([[400, 100]]))  # height 400, width 100
    wide, high = torch.tensor(expected).float()[::2] / 2, torch.tensor(expected).float()[1::2] * 2
    torch.testing.assert_close(found.boxes, torch.stack([wide, high], dim=1).view(1, 4))
    assert found.labels.tolist() == [2]
    score = torch.tensor([4.0, -4.0]).softmax(0)[0] if classification == "softmax" else torch.tensor(4.0).sigmoid()
    torch.testing.assert_close(found.scores, score[None])


def test_each_image_of_a_batch_has_its_own_size_and_detections():
    task = make_task(postprocess={"score_threshold": 0.01})
    outputs = one_confident(task, [[24.0, 12, 72, 60], [0.0, 0, 9, 9]], 1)
    empty = torch.full_like(outputs.class_logits, -30)
    both = outputs._replace(
        class_logits=torch.cat([outputs.class_logits, empty, outputs.class_logits]),
        box_offsets=outputs.box_offsets.repeat(3, 1, 1),
    )
    results = task.predict(both, torch.tensor([[96, 96], [10, 10], [960, 48]]))
    assert [type(found) for found in results] == [Detections] * 3
    assert [found.boxes.round().tolist() for found in results] == [[[24, 12, 72, 60]], [], [[12, 120, 36, 600]]]


def test_postprocess_options_reach_predict():
    task = make_task(postprocess={"total": 7, "per_class": 2}).eval()
    (found,) = task.predict(task(random_images(1, 96)), torch.tensor([[96, 96]]))
    assert len(found.scores) == 6  # two of each of the three classes


def test_describe_lists_what_is_drawn_as_plain_data():
    task = make_task(min_score=0.5)
    found = Detections(
        torch.tensor([[10.0, 20, 40, 60], [0, 0, 5, 5]]), torch.tensor([0.75, 0.25]), torch.tensor([1, 0])
    )
    info: DetectionInfo = {"class_names": ["red", "green", "blue"], "category_ids": [1, 3, 17]}
    assert task.describe(found, info) == [
        {"category_id": 3, "name": "green", "score": 0.75, "bbox": [10.0, 20.0, 30.0, 40.0]}
    ]
