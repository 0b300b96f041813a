"""The detector as a whole: Table 13's cost, any size, and boxes in the original image."""

import pytest
import torch
from torch import Tensor

from backbone import count_cost
from tasks.faster_rcnn.model import FasterRCNNOutputs, Found
from tasks.shared.detection.dataset import DetectionInfo
from tests.tasks.faster_rcnn.conftest import make_task, outputs_of, random_boxes, random_images

# Table 13


@pytest.mark.parametrize(("side", "mult_adds", "billions"), [(300, 25_224_412_096, 25.2), (600, 30_493_700_224, 30.5)])
def test_table_13_mult_adds_and_parameters(side, mult_adds, billions):
    with torch.device("meta"):
        task = make_task(90, side, 1.0, proposals=300)
    cost = count_cost(task, side)
    assert (cost.mult_adds, cost.parameters) == (mult_adds, 6_065_995)
    # The paper prints 25.2 and 30.5 billion, and 6.1 million.
    assert (round(cost.mult_adds / 1e9, 1), round(cost.parameters / 1e6, 1)) == (billions, 6.1)


def test_the_layers_are_the_published_ones():
    with torch.device("meta"):
        cost = count_cost(make_task(90, 300, 1.0, proposals=300), 300)
    sizes = {layer.name: layer.output_size for layer in cost.layers}
    assert sizes["backbone.conv_11.pointwise.conv"] == (512, 19, 19)
    assert [sizes[f"rpn.{name}"][0] for name in ("conv", "objectness", "offsets")] == [512, 24, 48]
    assert sizes["backbone.conv_12.depthwise.conv"] == (512, 7, 7)  # of a 14x14 crop: nothing was pooled
    assert sizes["backbone.conv_13.pointwise.conv"] == (1024, 7, 7)
    assert (sizes["classes"], sizes["boxes"]) == ((91,), (360,))


def test_proposals_set_the_cost_of_the_second_stage():
    with torch.device("meta"):
        costs = [count_cost(make_task(90, 300, 1.0, proposals=n), 300).mult_adds for n in (300, 150, 100)]
    assert (costs[0] - costs[1]) * 2 == (costs[0] - costs[2]) * 3 // 2
    assert 0.92 < (costs[0] - costs[1]) * 2 / costs[0] < 0.94  # "93 % of the cost at 300 pixels"


# Outputs


@pytest.mark.parametrize(
    ("resolution", "options"),
    [
        (96, {}),
        (16, {"proposals": 5}),
        (97, {"num_classes": 1}),
        (160, {"num_classes": 20, "alpha": 0.5}),
        (96, {"alpha": 0.35}),
        (96, {"body": {"shallow": True}}),
        (96, {"taps": ("conv_6", "conv_12")}),
        (96, {"body": {"padding": "symmetric", "activation": "relu", "block": "conv"}}),
        (96, {"anchors": {"scales": [0.1], "ratios": [1]}}),
        (300, {"proposals": 1}),
    ],
)
def test_any_resolution_width_class_count_and_taps_fit_together(resolution, options):
    task = make_task(resolution=resolution, **options).eval()
    with torch.no_grad():
        outputs = task(random_images(2, resolution))
    classes, count, side = options.get("num_classes", 3), options.get("proposals", 20), -(-resolution // 16)
    shapes = 1 if "anchors" in options else 12
    assert outputs.features.shape == (2, task.shared.channels, side, side)
    assert outputs.anchors.shape == (side * side * shapes, 4)
    assert outputs.objectness.shape == (2, side * side * shapes, 2)
    assert outputs.offsets.shape == (2, side * side * shapes, 4)
    assert outputs.proposals.shape == (2, count, 4)
    assert outputs.class_logits is not None and outputs.class_logits.shape == (2, count, classes + 1)
    assert outputs.box_offsets is not None and outputs.box_offsets.shape == (2, count, classes, 4)
    assert (outputs.found >= 1).all() and (outputs.found <= count).all()
    for found in task.predict(outputs, torch.tensor([[resolution, resolution]] * 2)):
        assert found.boxes.min() >= 0 and found.boxes.max() <= resolution + 1e-3
        assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()


def test_forward_returns_the_same_type_in_training_and_evaluation():
    task = make_task()
    images = random_images(2, 96)
    trained, evaluated = task.train()(images), task.eval()(images)
    assert type(trained) is type(evaluated) is FasterRCNNOutputs
    assert trained.class_logits is None and trained.box_offsets is None
    assert all(isinstance(value, Tensor) for value in evaluated)
    assert [t.shape for t in trained[:6]] == [t.shape for t in evaluated[:6]]


def test_the_second_stage_is_the_backbones_own_last_layers_on_crops():
    task = make_task().eval()
    with torch.no_grad():
        maps = task.backbone(task.normalize(random_images(1, 96)))
        features, last = maps["conv_11"], maps["conv_13"]
        torch.testing.assert_close(task(random_images(1, 96)).features, features)
        # A crop whose 14x14 samples are places of the map, from 0 to 13 in steps of 16 pixels.
        wide = features.repeat(1, 1, 3, 3)[..., :14, :14]
        logits, offsets = task.second_stage(wide, torch.tensor([[[0.0, 0, 13 * 16, 13 * 16]]]))
        x = wide
        for name in ("conv_12", "conv_13"):
            x = getattr(task.backbone, name)(x)
    assert last.shape[1] == x.shape[1]
    torch.testing.assert_close(logits[0], task.classes(x.mean((2, 3))))
    torch.testing.assert_close(offsets.flatten(1), task.boxes(x.mean((2, 3))))


def test_each_proposal_is_answered_for_its_own_image():
    task = make_task().eval()
    images, boxes = random_images(3, 96), random_boxes(3, 4)
    with torch.no_grad():
        features = task(images).features
        together = task.second_stage(features, boxes)
        for image in range(3):
            alone = task.second_stage(features[image : image + 1], boxes[image : image + 1])
            for both, own in zip(together, alone, strict=True):
                torch.testing.assert_close(both[image : image + 1], own)
    assert not torch.allclose(together[0][0], task.second_stage(features, boxes.roll(1, 0))[0][0])


def test_one_network_answers_at_300_and_at_600():
    small, large = make_task(resolution=300).eval(), make_task(resolution=600).eval()
    torch.nn.init.normal_(small.classes.bias)
    large.load_state_dict(small.state_dict())
    for task, side in ((small, 19), (large, 38)):
        with torch.no_grad():
            outputs = task(random_images(1, task.resolution))
        assert outputs.anchors.shape == (side * side * 12, 4)
        assert outputs.anchors[:12].equal(small(random_images(1, 300)).anchors[:12]), (
            "anchors are in pixels of the square"
        )
        (found,) = task.predict(outputs, torch.tensor([[480, 640]]))
        assert found.boxes[:, 2].max() > 320 and found.boxes[:, 2].max() <= 640.01


# What is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolution": 8}, "resolution=8; the shared map has stride 16, so at least 16 pixels"),
        ({"taps": (32,)}, "backbone.taps gives conv_13 (stride 32); Faster-RCNN needs two maps"),
        ({"taps": (8, 32)}, "backbone.taps gives conv_5 (stride 8), conv_13 (stride 32)"),
        ({"taps": (8, 16, 32)}, "the first of stride 16: [16, 32]"),
        ({"num_classes": 0}, "num_classes=0"),
        ({"proposals": 0}, "task.proposals=0; expected a whole number from 1"),
        ({"proposals": 7.5}, "task.proposals=7.5"),
        ({"proposal_iou": 0}, "task.proposal_iou=0; expected a number above 0"),
        ({"proposal_iou": 70}, "task.proposal_iou=70"),
        ({"resize": "pad"}, "task.resize='pad'; expected one of square, keep_aspect"),
        ({"anchors": {"scales": []}}, "task.anchors.scales=[]"),
        ({"anchors": {"scales": [0.5, -1]}}, "task.anchors.scales=[0.5, -1]"),
        ({"sampling": {"anchor": 5}}, "task.sampling.anchor: no such key"),
        ({"sampling": {"proposals": 0}}, "task.sampling.proposals=0"),
        ({"sampling": {"anchors_positive": 2}}, "task.sampling.anchors_positive=2"),
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


def one_confident(proposals: list[list[float]], label: int, offset: list[float]) -> FasterRCNNOutputs:
    """The first proposal is sure of one class of three, and of no other; every class would have its box elsewhere."""
    boxes = torch.tensor([proposals])
    logits = torch.full((1, len(proposals), 4), -30.0)
    logits[..., 0] = 30
    logits[0, 0] = torch.tensor([-4.0, *[4.0 if c == label else -30 for c in range(3)]])
    offsets = torch.full((1, len(proposals), 3, 4), 7.0)
    offsets[0, 0, label] = torch.tensor(offset)
    return outputs_of(boxes, logits, offsets)


@pytest.mark.parametrize("label", [0, 1, 2])
@pytest.mark.parametrize(
    ("proposal", "offset", "expected"),
    [
        ([24.0, 12, 72, 60], [0.0, 0, 0, 0], [50, 25, 150, 125]),
        ([24.0, 12, 72, 60], [10.0, 0, 0, 0], [150, 25, 200, 125]),  # its width to the right, cut off at the border
        ([24.0, 24, 48, 48], [0.0, -5, 0, 0], [50, 25, 100, 75]),  # half its height up
    ],
)
def test_boxes_are_those_of_the_class_in_pixels_of_the_original_image(label, proposal, offset, expected):
    task = make_task(postprocess={"score_threshold": 0.01})
    outputs = one_confident([proposal, [0.0, 0, 9, 9]], label, offset)
    (found,) = task.predict(outputs, torch.tensor([[200, 200]]))
    torch.testing.assert_close(found.boxes, torch.tensor([expected]).float())
    (found,) = task.predict(outputs, torch.tensor([[400, 100]]))  # height 400, width 100
    wide, high = torch.tensor(expected).float()[::2] / 2, torch.tensor(expected).float()[1::2] * 2
    torch.testing.assert_close(found.boxes, torch.stack([wide, high], dim=1).view(1, 4))
    assert found.labels.tolist() == [label]
    torch.testing.assert_close(found.scores, torch.tensor([4.0, -4.0]).softmax(0)[:1])
    scale = torch.tensor([100, 400] * 2) / 96
    torch.testing.assert_close(found.proposals, outputs.proposals[0] * scale)


def test_each_image_of_a_batch_has_its_own_size_and_only_proposals_that_are_there():
    task = make_task(postprocess={"score_threshold": 0.01})
    one = one_confident([[24.0, 12, 72, 60], [0.0, 0, 9, 9]], 1, [0.0] * 4)
    assert one.class_logits is not None and one.box_offsets is not None
    sure = one.class_logits[:, :1].expand(3, 2, 4)  # both proposals
    outputs = outputs_of(one.proposals.expand(3, 2, 4), sure, one.box_offsets[:, :1].expand(3, 2, 3, 4))
    outputs = outputs._replace(found=torch.tensor([1, 0, 2]))
    results = task.predict(outputs, torch.tensor([[96, 96], [10, 10], [960, 48]]))
    assert [type(found) for found in results] == [Found] * 3
    expected = [[[24, 12, 72, 60]], [], [[12, 120, 36, 600], [0, 0, 4, 90]]]
    assert [sorted(found.boxes.round().tolist(), reverse=True) for found in results] == expected
    assert [len(found.proposals) for found in results] == [1, 0, 2]


def test_boxes_of_one_class_suppress_each_other_and_no_others():
    proposals = torch.tensor([[[10.0, 10, 50, 50], [11, 10, 51, 50]]])
    logits = torch.tensor([[[-9.0, 4, 3, -9], [-9, 3, 4, -9]]])
    (found,) = make_task(postprocess={"score_threshold": 0.01}).predict(
        outputs_of(proposals, logits, torch.zeros(1, 2, 3, 4)), torch.tensor([[96, 96]])
    )
    assert found.labels.sort().values.tolist() == [0, 1]
    assert found.boxes[found.labels.argsort()].tolist() == proposals[0].tolist()


def test_postprocess_options_reach_predict():
    task = make_task(postprocess={"total": 7, "per_class": 2}).eval()
    (found,) = task.predict(task(random_images(1, 96)), torch.tensor([[96, 96]]))
    assert len(found.scores) == 6  # two of each of the three classes


def test_describe_lists_what_is_drawn_as_plain_data():
    task = make_task(min_score=0.5)
    boxes = torch.tensor([[10.0, 20, 40, 60], [0, 0, 5, 5]])
    found = Found(boxes, torch.tensor([0.75, 0.25]), torch.tensor([1, 0]), boxes)
    info: DetectionInfo = {"class_names": ["red", "green", "blue"], "category_ids": [1, 3, 17]}
    assert task.describe(found, info) == [
        {"category_id": 3, "name": "green", "score": 0.75, "bbox": [10.0, 20.0, 30.0, 40.0]}
    ]
