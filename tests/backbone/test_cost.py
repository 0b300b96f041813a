"""Costs against the paper's printed figures and hand-worked ones (shared/paper/FACTS.md)."""

import pytest
import torch
import torchvision
from torch import Tensor, nn

from backbone import Cost, MobileNetV1, count_cost
from backbone.layers import Conv2d
from backbone.mobilenet import SeparableConv


class Classifier(nn.Module):
    """The paper's classifier: the body, a mean over the last map, one linear layer."""

    def __init__(self, num_classes: int = 1000, **arguments):
        super().__init__()
        self.body = MobileNetV1(**arguments)
        self.linear = nn.Linear(self.body.feature_info[-1].channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        (features,) = self.body(images).values()
        return self.linear(features.mean((2, 3)))


def cost_of(resolution: int = 224, **arguments) -> Cost:
    with torch.device("meta"):
        return count_cost(Classifier(**arguments), resolution)


def millions(count: int, digits: int) -> float:
    return round(count / 1e6, digits)


def test_table_1_has_28_layers_of_the_printed_sizes():
    layers = cost_of().layers
    assert len(layers) == 28
    assert [layer.type for layer in layers] == ["3x3 conv", *["3x3 depthwise conv", "1x1 conv"] * 13, "linear"]
    maps = [(32, 112), (64, 112), (128, 56), (128, 56), (256, 28), (256, 28), *[(512, 14)] * 6, (1024, 7), (1024, 7)]
    assert [layer.output_size for layer in layers[0:27:2]] == [(c, side, side) for c, side in maps]


def test_table_2_shares_of_the_layer_kinds():
    cost = cost_of()
    assert (cost.mult_adds, cost.weights) == (568_740_352, 4_209_088)
    shares = {}
    for type in ("1x1 conv", "3x3 depthwise conv", "3x3 conv", "linear"):
        layers = [layer for layer in cost.layers if layer.type == type]
        shares[type] = (
            round(100 * sum(layer.mult_adds for layer in layers) / cost.mult_adds, 2),
            round(100 * sum(layer.weights for layer in layers) / cost.weights, 2),
        )
    # The paper prints 1.19 for the first convolution: a digit swap, its own column does not add up to 100 with it.
    assert shares == {
        "1x1 conv": (94.86, 74.59),
        "3x3 depthwise conv": (3.06, 1.06),
        "3x3 conv": (1.91, 0.02),
        "linear": (0.18, 24.33),
    }


@pytest.mark.parametrize(
    ("layer", "size", "mult_adds", "weights"),
    [
        (Conv2d(512, 512, 3), 14, 462_422_016, 2_359_296),  # 3*3*512*512*14*14
        (SeparableConv(512, 512, 1), 14, 52_283_392, 266_752),  # 3*3*512*14*14 + 512*512*14*14
        (SeparableConv(384, 384, 1), 14, 29_578_752, 150_912),  # alpha 0.75
        (SeparableConv(384, 384, 1), 10, 15_091_200, 150_912),  # and rho 0.714
    ],
)
def test_table_3_single_layers(layer, size, mult_adds, weights):
    cost = count_cost(layer, size, in_channels=next(layer.parameters()).shape[0])
    assert (cost.mult_adds, cost.weights) == (mult_adds, weights)


def test_table_4_full_convolutions():
    cost = cost_of(block="conv")
    assert millions(cost.mult_adds - cost.layers[-1].mult_adds, 2) == 4866.27
    assert millions(cost.weights, 2) == 29.28


def test_table_5_shallow():
    cost = cost_of(shallow=True)
    assert (millions(cost.mult_adds, 2), millions(cost.weights, 3)) == (307.32, 2.875)


@pytest.mark.parametrize(
    ("alpha", "mult_adds", "weights"),
    [
        (1.0, {224: 568.74, 192: 418.12, 160: 290.68, 128: 186.40}, 4.209),
        (0.75, {224: 325.40, 192: 239.27, 160: 166.40, 128: 106.77}, 2.568),
        (0.5, {224: 149.50, 192: 109.97, 160: 76.52, 128: 49.16}, 1.320),
        (0.25, {224: 41.03, 192: 30.21, 160: 21.06, 128: 13.57}, 0.464),
    ],
)
def test_the_sixteen_models_of_tables_6_7_9_and_figures_4_5(alpha, mult_adds, weights):
    with torch.device("meta"):
        net = Classifier(alpha=alpha)
    costs = {side: count_cost(net, side) for side in mult_adds}
    assert {side: millions(cost.mult_adds, 2) for side, cost in costs.items()} == mult_adds
    assert {millions(cost.weights, 3) for cost in costs.values()} == {weights}


@pytest.mark.parametrize(("alpha", "weights"), [(1.0, 3.31), (0.75, 1.89)])
def test_table_10_has_120_classes(alpha, weights):
    assert millions(cost_of(alpha=alpha, num_classes=120).weights, 2) == weights


def test_table_11_with_9834_cells():
    cost = cost_of(num_classes=9834)
    assert (cost.weights, cost.parameters) == (13_255_104, 13_286_826)
    assert millions(cost.mult_adds, 1) == 577.8


@pytest.mark.parametrize(
    ("alpha", "resolution", "mult_adds", "digits"),
    [
        *[(1.0, 224, 567.7, 1), (0.5, 224, 149.0, 1), (0.25, 224, 40.8, 1)],
        *[(1.0, 128, 185.4, 1), (0.5, 128, 48.6, 1), (0.25, 128, 13.3, 1)],
        *[(1.0, 160, 289.65, 2), (1.0, 128, 185.38, 2), (0.75, 160, 165.63, 2), (0.75, 128, 106.00, 2)],
    ],
)
def test_bodies_of_tables_12_and_14(alpha, resolution, mult_adds, digits):
    with torch.device("meta"):
        cost = count_cost(MobileNetV1(alpha), resolution)
    assert millions(cost.mult_adds, digits) == mult_adds


@pytest.mark.parametrize(
    ("name", "options", "mult_adds", "weights"),
    [
        ("googlenet", {"aux_logits": False, "init_weights": False}, 1498, 6.61),
        ("vgg16", {}, 15_347 + 124, 138.3),  # FACTS counts the convolutions; the linear layers are another 123.6
        ("squeezenet1_0", {}, 819, 1.25),
        ("alexnet", {}, 714, 61.1),
    ],
)
def test_tables_8_and_9_comparators_from_torchvision(name, options, mult_adds, weights):
    with torch.device("meta"):
        cost = count_cost(torchvision.models.get_model(name, **options), 224)
    assert millions(cost.mult_adds, 0) == pytest.approx(mult_adds, abs=1)
    assert millions(cost.weights, 2) == pytest.approx(weights, abs=0.05)


@pytest.mark.parametrize(("rounding", "mult_adds"), [("int", 75.5), ("divisible", 80.4)])
def test_rounding_changes_the_cost_of_other_alphas(rounding, mult_adds):
    assert millions(cost_of(alpha=0.35, rounding=rounding).mult_adds, 1) == mult_adds


def test_totals_are_the_sums_of_the_layers():
    cost = cost_of(alpha=0.25)
    assert cost.mult_adds == sum(layer.mult_adds for layer in cost.layers)
    assert cost.weights == sum(layer.weights for layer in cost.layers)


def test_a_layer_used_twice_costs_its_weights_once():
    conv = nn.Conv2d(4, 4, 3, padding=1)
    once, twice = count_cost(conv, 5, in_channels=4), count_cost(nn.Sequential(conv, conv), 5, in_channels=4)
    assert once.mult_adds == 4 * 4 * 9 * 25
    assert (twice.mult_adds, twice.weights, twice.parameters) == (2 * once.mult_adds, once.weights, once.parameters)
    assert (once.weights, once.parameters) == (144, 148)


def test_groups_stride_and_non_square_images():
    # 2x3 outputs of 6 channels, each from 4 / 2 input channels under a 3x1 kernel
    cost = count_cost(nn.Conv2d(4, 6, (3, 1), stride=2, padding=(1, 0), groups=2), (4, 5), in_channels=4)
    assert cost.layers[0].output_size == (6, 2, 3)
    assert cost.mult_adds == 6 * 2 * 3 * (4 // 2) * 3 * 1


def test_counting_leaves_the_module_as_it_was():
    net = Classifier(alpha=0.25).train()
    net.body.get_submodule("conv_3").eval()
    modes = [part.training for part in net.modules()]
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    identities = [id(p) for p in net.parameters()]
    count_cost(net, 32)
    assert [part.training for part in net.modules()] == modes
    assert [id(p) for p in net.parameters()] == identities
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert not any(part._forward_hooks for part in net.modules())
    assert all(p.grad is None and p.device.type == "cpu" and p.requires_grad for p in net.parameters())


def test_a_failing_forward_leaves_the_module_as_it_was():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(5, 6, 1))
    with pytest.raises(RuntimeError):
        count_cost(net, 8)
    assert net.training
    assert not any(part._forward_hooks for part in net.modules())


@pytest.mark.parametrize("size", [0, -3, (0, 5), (5, 0)])
def test_a_image_without_pixels_is_refused(size):
    with pytest.raises(ValueError, match="input_size"):
        count_cost(nn.Conv2d(3, 4, 1), size)


def test_the_printed_table_names_every_layer_and_the_total():
    cost = cost_of(alpha=0.25)
    text = str(cost)
    assert all(layer.name in text for layer in cost.layers)
    assert f"{cost.mult_adds:,}" in text
    assert f"{cost.parameters:,}" in text
