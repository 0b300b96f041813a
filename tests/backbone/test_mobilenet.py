"""The network: its widths, taps and sizes, and its features against timm's."""

import math

import pytest
import timm
import torch
from torch import nn

from backbone import FeatureInfo, MobileNetV1
from backbone.gradients import ReLU6
from backbone.layers import Conv2d
from backbone.mobilenet import scale_channels

ALL = tuple(f"conv_{i}" for i in range(14))
WIDTHS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
STRIDES = (2, 2, 4, 4, 8, 8, 16, 16, 16, 16, 16, 16, 32, 32)


def on_meta(**arguments) -> MobileNetV1:
    with torch.device("meta"):
        return MobileNetV1(**arguments)


def map_sizes(net: MobileNetV1, height: int, width: int) -> dict[str, tuple[int, ...]]:
    maps = net(torch.empty(2, 3, height, width, device="meta"))
    return {name: tuple(m.shape) for name, m in maps.items()}


def test_every_layer_of_table_1_can_be_tapped():
    net = on_meta(taps=ALL)
    assert net.feature_info == [FeatureInfo(*row) for row in zip(ALL, WIDTHS, STRIDES, strict=True)]


@pytest.mark.parametrize("padding", ["same", "symmetric"])
@pytest.mark.parametrize(
    "variant", [{}, {"alpha": 0.25}, {"block": "conv"}, {"shallow": True}, {"depth_multiplier": 2}]
)
def test_maps_have_the_sizes_that_feature_info_tells(variant, padding):
    taps = [name for name in ALL if not variant.get("shallow") or name not in ALL[7:12]]
    net = on_meta(taps=taps, padding=padding, **variant)
    for height, width in [(300, 300), (299, 75), (33, 47), (224, 224), (1, 1)]:
        assert map_sizes(net, height, width) == {
            name: (2, channels, math.ceil(height / stride), math.ceil(width / stride))
            for name, channels, stride in net.feature_info
        }


def test_a_300_pixel_image_gives_ssd_its_19_and_10():
    assert map_sizes(on_meta(taps=(16, 32)), 300, 300) == {"conv_11": (2, 512, 19, 19), "conv_13": (2, 1024, 10, 10)}


@pytest.mark.parametrize(
    ("taps", "names"),
    [
        (["conv_13", "conv_11"], ["conv_11", "conv_13"]),  # the network's order, whatever the order asked for
        ([16], ["conv_11"]),
        ([32, 8, "conv_9"], ["conv_5", "conv_9", "conv_13"]),
        ([2, 4], ["conv_1", "conv_3"]),
        (["conv_0"], ["conv_0"]),
    ],
)
def test_taps_by_name_and_by_stride(taps, names):
    net = on_meta(taps=taps)
    assert [info.name for info in net.feature_info] == names
    assert list(map_sizes(net, 64, 64)) == names
    assert [name for name, _ in net.named_children()][-1] == names[-1]  # nothing is built beyond the deepest


def test_a_tapped_map_is_the_one_the_next_layer_reads():
    net = MobileNetV1(0.25, taps=("conv_2", "conv_3")).eval()
    maps = net(torch.randn(1, 3, 32, 32))
    assert torch.equal(maps["conv_3"], net.get_submodule("conv_3")(maps["conv_2"]))


def test_shallow_ends_stride_16_at_conv_6():
    net = on_meta(shallow=True, taps=(16, 32))
    assert net.feature_info == [FeatureInfo("conv_6", 512, 16), FeatureInfo("conv_13", 1024, 32)]
    assert [name for name, _ in net.named_children()] == [*ALL[:7], "conv_12", "conv_13"]


@pytest.mark.parametrize(
    ("taps", "message"),
    [
        (["conv_14"], r"backbone.taps names 'conv_14'.*conv_0, .*conv_13.*2, 4, 8, 16, 32"),
        ([64], r"backbone.taps names 64.*stride out of 2, 4, 8, 16, 32"),
        ([], r"backbone.taps is empty"),
        (["conv_11", 16], r"backbone.taps=\['conv_11', 16\] names one layer twice"),
        (["conv_3", "conv_3"], r"names one layer twice"),
    ],
)
def test_bad_taps_are_refused_with_what_there_is(taps, message):
    with pytest.raises(ValueError, match=message):
        on_meta(taps=taps)


def test_a_layer_that_shallow_drops_cannot_be_tapped():
    with pytest.raises(ValueError, match=r"names 'conv_11'.*conv_6, conv_12"):
        on_meta(shallow=True, taps=["conv_11"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": 0}, r"backbone.alpha=0;"),
        ({"alpha": -0.5}, r"backbone.alpha=-0.5;"),
        ({"alpha": math.nan}, r"backbone.alpha=nan;"),
        ({"alpha": math.inf}, r"backbone.alpha=inf;"),
        ({"alpha": 65.0}, r"backbone.alpha=65.0 makes a layer of 66560 channels; expected 65536 at most"),
        ({"block": "dense"}, r"backbone.block='dense'.*separable, conv"),
        ({"padding": "valid"}, r"backbone.padding='valid'.*'same' or 'symmetric'"),
        ({"activation": "gelu"}, r"backbone.activation='gelu'.*relu, relu6"),
        ({"rounding": "up"}, r"backbone.rounding='up'.*int, divisible"),
        ({"depth_multiplier": 0}, r"backbone.depth_multiplier=0"),
    ],
)
def test_arguments_out_of_range_are_refused_by_key_and_value(arguments, message):
    with pytest.raises(ValueError, match=message):
        on_meta(**arguments)


@pytest.mark.parametrize(
    ("channels", "alpha", "exact", "divisible"),
    [
        *[(32, 0.25, 8, 8), (32, 0.75, 24, 24), (1024, 0.5, 512, 512)],  # the paper's alphas: one network
        *[(32, 0.1, 8, 8), (64, 0.1, 8, 8)],  # never below 8
        *[(32, 0.35, 11, 16), (512, 0.35, 179, 176), (1024, 0.35, 358, 360)],  # 11.2 -> 8 would lose over 10 %
        *[(32, 1.4, 44, 48), (1024, 1.4, 1433, 1432), (512, 1.3, 665, 664)],  # above 1
    ],
)
def test_scaled_channels(channels, alpha, exact, divisible):
    assert scale_channels(channels, alpha) == exact
    assert scale_channels(channels, alpha, "divisible") == divisible


@pytest.mark.parametrize("alpha", [1.0, 0.75, 0.5, 0.25])
def test_both_roundings_give_the_papers_networks(alpha):
    nets = [on_meta(alpha=alpha, taps=ALL, rounding=rounding) for rounding in ("int", "divisible")]
    assert nets[0].feature_info == nets[1].feature_info
    assert [info.channels for info in nets[0].feature_info] == [int(width * alpha) for width in WIDTHS]


def test_alpha_above_one_widens_and_tiny_alpha_stops_at_eight():
    assert on_meta(alpha=1.5).feature_info == [FeatureInfo("conv_13", 1536, 32)]
    assert {info.channels for info in on_meta(alpha=0.005, taps=ALL).feature_info} == {8}


def test_depth_multiplier_widens_the_depthwise_outputs_only():
    one, two = on_meta(taps=ALL), on_meta(taps=ALL, depth_multiplier=2)
    assert one.feature_info == two.feature_info
    for name, inputs, outputs in zip(ALL[1:], WIDTHS, WIDTHS[1:], strict=False):
        assert two.get_parameter(f"{name}.depthwise.conv.weight").shape == (2 * inputs, 1, 3, 3)
        assert two.get_parameter(f"{name}.pointwise.conv.weight").shape == (outputs, 2 * inputs, 1, 1)


def test_conv_blocks_are_one_full_convolution_each():
    net = on_meta(block="conv")
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert len(convs) == 14
    assert {(conv.groups, conv.kernel_size) for conv in convs} == {(1, (3, 3))}


@pytest.mark.parametrize("arguments", [{}, {"bn_eps": 1e-5, "bn_momentum": 0.1}])
@pytest.mark.parametrize("block", ["separable", "conv"])
def test_every_norm_gets_eps_and_momentum(block, arguments):
    norms = [m for m in on_meta(block=block, **arguments).modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == (27 if block == "separable" else 14)
    expected = (arguments.get("bn_eps", 1e-3), arguments.get("bn_momentum", 3e-4))  # TF-slim: decay 0.9997
    assert {(norm.eps, norm.momentum) for norm in norms} == {expected}


@pytest.mark.parametrize(("activation", "kind"), [("relu", nn.ReLU), ("relu6", ReLU6)])
def test_activation_reaches_every_layer(activation, kind):
    acts = [m for m in on_meta(activation=activation).modules() if isinstance(m, nn.ReLU | nn.ReLU6)]
    assert len(acts) == 27
    assert {type(act) for act in acts} == {kind}


def test_padding_reaches_every_strided_layer():
    def strided(padding: str) -> list[bool]:
        convs = [m for m in on_meta(padding=padding).modules() if isinstance(m, Conv2d) and m.stride == (2, 2)]
        return [conv.pad_by_size for conv in convs]

    assert strided("same") == [True] * 5
    assert strided("symmetric") == [False] * 5


def test_other_input_channels():
    assert MobileNetV1(0.25, taps=(2,), in_channels=5)(torch.randn(1, 5, 8, 8))["conv_1"].shape == (1, 16, 4, 4)


@pytest.mark.parametrize("size", [(64, 64), (75, 33)])
def test_features_equal_those_of_timms_mobilenet_v1(size):
    torch.manual_seed(0)
    theirs = timm.create_model("mobilenetv1_100", features_only=True).eval()
    for norm in (m for m in theirs.modules() if isinstance(m, nn.BatchNorm2d)):
        mean, variance, _ = norm.buffers()
        nn.init.normal_(mean, std=0.5)
        nn.init.uniform_(variance, 0.5, 2)
        nn.init.uniform_(norm.weight, 0.5, 2)
        nn.init.normal_(norm.bias, std=0.5)
    ours = MobileNetV1(taps=(2, 4, 8, 16, 32), padding="symmetric", activation="relu6", bn_eps=1e-5).eval()
    # Both list their tensors in the order of the network.
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    x = torch.randn(2, 3, *size)
    with torch.no_grad():
        for mine, (name, expected) in zip(ours(x).values(), zip(ALL[1::2], theirs(x), strict=False), strict=True):
            assert expected.std() > 0.01, name
            torch.testing.assert_close(mine, expected, rtol=1e-5, atol=1e-5)


def test_one_image_of_one_pixel_trains():
    net = MobileNetV1(0.25).train()
    out = net(torch.randn(1, 3, 1, 1))["conv_13"]
    assert torch.isfinite(out).all()
    assert all(torch.isfinite(gradient).all() for gradient in torch.autograd.grad(out.sum(), list(net.parameters())))
