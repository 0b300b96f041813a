"""Loading: what conflicts, what is missing, what is left out, and that a refused file changes nothing."""

import logging
from dataclasses import replace

import pytest
import torch

from backbone import MobileNetV1, Published, load_weights, read_weights
from backbone.weights import conflicts

IMPLIED = {"alpha": 0.25, "padding": "same", "bn_eps": 1e-3, "input_mean": (0.5,) * 3, "input_std": (0.5,) * 3}


def published(**changes) -> Published:
    torch.manual_seed(1)
    whole = Published(
        source="weights.h5",
        format="keras",
        backbone=MobileNetV1(0.25).state_dict(),
        classifier={"weight": torch.zeros(7, 256), "bias": torch.zeros(7)},
        implied=dict(IMPLIED),
        resolution=None,
        background=False,
        folded=False,
        left_over={"box/weight": torch.zeros(1), "box/bias": torch.zeros(1), "optimizer.step": torch.zeros(1)},
    )
    return replace(whole, **changes)


def test_all_tensors_of_the_network_are_loaded_and_the_rest_is_logged_by_prefix(caplog):
    source = published()
    net = MobileNetV1(0.25, taps=("conv_5", "conv_11"))
    with caplog.at_level(logging.INFO):
        assert load_weights(net, source) is source
    assert all(torch.equal(tensor, source.backbone[name]) for name, tensor in net.state_dict().items())
    (line,) = [record.getMessage() for record in caplog.records if record.name == "backbone.weights"]
    assert line == (
        "weights.h5 (keras): backbone loaded; left out: conv_12 conv_13 (beyond the deepest tap), "
        "the classifier of 7 classes, box (2 tensors), optimizer (1 tensors)"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": 0.5}, r"^weights.h5: does not fit the network: backbone.alpha is 0.5, but the weights need 0.25$"),
        (
            {"padding": "symmetric", "bn_eps": 1e-5},
            "backbone.padding is symmetric, but the weights need same; backbone.bn_eps is 1e-05, but .* need 0.001$",
        ),
        (
            {"input_mean": 128 / 255},
            r"backbone.input_mean is \[0.501961, 0.501961, 0.501961\], but the weights need \[0.5, 0.5, 0.5\]",
        ),
    ],
)
def test_a_conflict_names_every_key_with_both_values(arguments, message):
    net = MobileNetV1(**{"alpha": 0.25} | arguments)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        load_weights(net, published())
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_arguments_that_make_the_same_network_are_no_conflict():
    net = MobileNetV1(0.2501, rounding="divisible", input_mean=[0.5, 0.5, 0.5])
    assert conflicts(net, published(implied=IMPLIED | {"rounding": "int"})) == []
    assert conflicts(
        MobileNetV1(0.35, rounding="divisible"), published(implied={"alpha": 0.35, "rounding": "int"})
    ) == ["backbone.rounding is divisible, but the weights need int"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda b: {n: t for n, t in b.items() if "conv_13" not in n},
            r"lacks conv_13.depthwise.conv.weight, .*in all",
        ),
        (lambda b: b | {"conv_3.depthwise.extra": b["conv_0.conv.weight"]}, "holds conv_3.depthwise.extra, which the"),
        (lambda b: b | {"stem.weight": b["conv_0.conv.weight"]}, "holds stem.weight, which the network does not have"),
        (
            lambda b: b | {"conv_2.pointwise.norm.bias": torch.zeros(9)},
            r"conv_2.pointwise.norm.bias has the shape \(9,\); .* is \(32,\)",
        ),
        (
            lambda b: b | {"conv_0.norm.bias": torch.tensor([0.0] * 7 + [torch.inf])},
            "conv_0.norm.bias holds .* not finite",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_named(change, message):
    net = MobileNetV1(0.25)
    before = net.get_parameter("conv_0.conv.weight").clone()
    source = published()
    with pytest.raises(ValueError, match=f"^weights.h5: {message}"):
        load_weights(net, replace(source, backbone=change(source.backbone)))
    assert torch.equal(net.get_parameter("conv_0.conv.weight"), before)


def test_an_unknown_file_is_refused_with_the_formats_there_are(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"\x08\x07\x12\x07pytorch")
    (tmp_path / "empty.h5").write_bytes(b"")
    for name, message in [
        ("net.onnx", r"net.onnx: begins with b'\\x08.*expected a Keras Applications .h5, .*timm:NAME"),
        ("empty.h5", r"empty.h5: begins with b''"),
        ("none.h5", r"none.h5: no such file; expected a Keras"),
        (".", "no such file"),
    ]:
        with pytest.raises(ValueError, match=message):
            read_weights(tmp_path / name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_mean": [0.5, 0.5]}, r"backbone.input_mean=\[0.5, 0.5\]; expected a number, or one for each of the 3"),
        ({"input_mean": float("nan")}, "backbone.input_mean=nan"),
        ({"input_std": "0.5"}, "backbone.input_std=0.5; expected a number"),
        ({"input_std": [0.5, 0, 0.5]}, r"backbone.input_std=\[0.5, 0, 0.5\]; expected numbers above 0"),
    ],
)
def test_input_scaling_out_of_range_is_refused_by_key(arguments, message):
    with pytest.raises(ValueError, match=message):
        MobileNetV1(0.25, **arguments)


def test_input_scaling_is_kept_a_number_a_channel():
    net = MobileNetV1(0.25, input_mean=[0.1, 0.2, 0.3], input_std=1)
    assert (net.input_mean, net.input_std) == ((0.1, 0.2, 0.3), (1.0, 1.0, 1.0))
    assert MobileNetV1(0.25, taps=(2,), in_channels=5).input_mean == (0.5,) * 5
