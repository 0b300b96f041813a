"""Keras Applications' files, drawn here in Keras' layouts, against plain sums over windows."""

import itertools
import re
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from backbone import MobileNetV1, load_weights, read_weights
from tests.backbone import channels_last

TABLE_1 = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
STRIDES = (2, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
Layers = dict[str, dict[str, np.ndarray]]  # layer -> variable -> numbers


def draw(alpha: float = 0.25, classes: int | None = None, depth_multiplier: int = 1) -> Layers:
    """The layers of keras.applications.MobileNet, in its order."""
    rng = np.random.default_rng(0)
    layers: Layers = {}

    def add(name: str, variable: str, *shape: int) -> None:
        fan = np.prod(shape[:2]) * (shape[2] if variable == "kernel" else 1)
        layers[name] = {variable: rng.normal(0, 1.5 / np.sqrt(fan), shape).astype(np.float32)}
        channels = shape[3] if variable == "kernel" else shape[2] * shape[3]
        layers[f"{name}_bn"] = {
            "gamma": rng.uniform(0.5, 1.5, channels).astype(np.float32),
            "beta": rng.normal(0.3, 0.5, channels).astype(np.float32),
            "moving_mean": rng.normal(0, 0.3, channels).astype(np.float32),
            "moving_variance": rng.uniform(0.5, 2, channels).astype(np.float32),
        }

    widths = [int(width * alpha) for width in TABLE_1]
    add("conv1", "kernel", 3, 3, 3, widths[0])
    for number, (inputs, outputs) in enumerate(itertools.pairwise(widths), 1):
        add(f"conv_dw_{number}", "depthwise_kernel", 3, 3, inputs, depth_multiplier)
        add(f"conv_pw_{number}", "kernel", 1, 1, inputs * depth_multiplier, outputs)
    if classes:
        kernel = rng.normal(0, 0.1, (1, 1, widths[-1], classes)).astype(np.float32)
        layers["conv_preds"] = {"kernel": kernel, "bias": rng.normal(0, 1, classes).astype(np.float32)}
    return layers


def save(path: Path, layers: Layers, *, keras: int = 2, root: str = "", inside: str = "") -> Path:
    """Write them as Keras does. keras: 2 or 3, which name variables differently; root: "model_weights" in files of
    whole models; inside: the layer that a nested model is."""
    with h5py.File(path, "w") as file:
        top: Any = file.require_group(root) if root else file
        top.attrs["layer_names"] = [inside.encode()] if inside else [name.encode() for name in layers]
        for name, variables in layers.items():
            group = top.require_group(inside or name)
            for variable, numbers in variables.items():
                variable = "kernel" if keras == 3 and variable == "depthwise_kernel" else variable
                full = f"{name}/{variable}" + (":0" if keras == 2 else "")
                group.create_dataset(full, data=numbers)
            group.attrs["weight_names"] = [f"{name}/{variable}".encode() for variable in variables]
    return path


def expected_features(layers: Layers, x: np.ndarray) -> np.ndarray:
    for name, variables in layers.items():
        if name.endswith("_bn"):
            scale = variables["gamma"] / np.sqrt(variables["moving_variance"] + 1e-3)
            x = channels_last.relu6((x - variables["moving_mean"]) * scale + variables["beta"])
        elif "dw" in name:
            x = channels_last.depthwise(x, variables["depthwise_kernel"], STRIDES[int(name.split("_")[-1])])
        elif name != "conv_preds":
            x = channels_last.conv(x, variables["kernel"], 2 if name == "conv1" else 1)
    return x


@pytest.mark.parametrize(
    ("drawn", "layout"),
    [
        ({}, {}),
        ({"classes": 12}, {"root": "model_weights"}),
        ({"alpha": 0.5}, {"keras": 3}),
        ({"depth_multiplier": 2}, {"keras": 3, "root": "model_weights", "inside": "mobilenet_0.25_224"}),
    ],
)
def test_features_are_those_of_keras_layers(tmp_path, drawn, layout):
    layers = draw(**drawn)
    published = read_weights(save(tmp_path / "net.h5", layers, **layout))
    net = MobileNetV1(**published.implied).eval()
    load_weights(net, published)
    x = np.random.default_rng(1).uniform(-1, 1, (2, 64, 64, 3))
    with torch.no_grad():
        features = net(torch.tensor(x).permute(0, 3, 1, 2).float())["conv_13"]
    expected = expected_features(layers, x)
    assert 0.05 < (expected > 0).mean() < 0.95
    np.testing.assert_allclose(features.permute(0, 2, 3, 1), expected, rtol=1e-4, atol=1e-4)
    if "classes" in drawn:
        np.testing.assert_array_equal(published.classifier["weight"].T, layers["conv_preds"]["kernel"][0, 0])
        np.testing.assert_array_equal(published.classifier["bias"], layers["conv_preds"]["bias"])
    else:
        assert published.classifier == {}
    assert published.left_over == {}


def test_what_a_file_implies(tmp_path):
    published = read_weights(save(tmp_path / "net.h5", draw(classes=1000)))
    assert published.implied == {
        **{"alpha": 0.25, "block": "separable", "shallow": False, "depth_multiplier": 1},
        **{"padding": "same", "activation": "relu6", "bn_eps": 1e-3},
        **{"input_mean": (0.5, 0.5, 0.5), "input_std": (0.5, 0.5, 0.5)},
    }
    assert (published.format, published.resolution, published.folded) == ("keras", None, False)
    assert not published.background


def test_what_else_a_file_holds_is_left_over_by_name(tmp_path):
    path = save(tmp_path / "net.h5", draw() | {"dense": {"kernel": np.ones((256, 3), np.float32)}})
    with h5py.File(path, "a") as file:
        file["optimizer_weights/adam/conv1/kernel/momentum"] = np.zeros((3, 3, 3, 8))
        file["conv1"]["elsewhere"] = h5py.ExternalLink("other.h5", "conv1")
        file.attrs["model_config"] = '{"class_name": "Lambda"}'  # never parsed
    published = read_weights(path)
    assert set(published.left_over) == {"dense/dense/kernel:0", "optimizer_weights/adam/conv1/kernel/momentum"}


def without(layers: Layers, *names: str) -> Layers:
    return {name: variables for name, variables in layers.items() if name not in names}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: without(x, "conv_dw_3", "conv_pw_9_bn"), "lacks the layers conv_dw_3, conv_pw_9_bn, and holds no o"),
        (lambda x: {"dense": {"kernel": np.ones((2, 2))}}, "no MobileNet of Keras .*holds dense/dense/kernel:0"),
        (lambda x: x | {"conv_pw_2": {"kernel": np.ones((1, 1, 16, 40))}}, r"conv_2 has 40 channels; expected 32"),
        (lambda x: x | {"conv_dw_2": {"kernel": np.ones((5, 5, 16, 1))}}, r"\(16, 1, 5, 5\); expected \(16, 1, 3, 3\)"),
        (lambda x: x | {"conv1": {"kernel": np.ones((27, 8))}}, r"\(27, 8\); expected a filter of four dimensions"),
        (lambda x: x | {"conv_preds": {"kernel": np.ones((1, 1, 99, 5)), "bias": np.ones(5)}}, r"expected \(1, 1, 256"),
    ],
)
def test_another_network_is_refused_with_what_differs(tmp_path, change, message):
    path = save(tmp_path / "net.h5", change(draw()))
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))}: .*{message}"):
        read_weights(path)


def test_two_networks_in_one_file_are_refused(tmp_path):
    path = save(tmp_path / "net.h5", draw(), inside="teacher")
    with h5py.File(path, "a") as file:
        file["student/conv1/kernel:0"] = np.zeros((3, 3, 3, 8), np.float32)
    with pytest.raises(
        ValueError, match=r"holds conv_0.conv.weight twice, the second time as .*; expected one MobileN"
    ):
        read_weights(path)


def test_a_truncated_file_is_refused_by_name(tmp_path):
    whole = save(tmp_path / "net.h5", draw()).read_bytes()
    for cut in (10, 3000, len(whole) // 2):
        (tmp_path / "cut.h5").write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"cut\.h5: damaged or truncated HDF5 file"):
            read_weights(tmp_path / "cut.h5")


def test_without_the_library_it_says_what_to_install(tmp_path, monkeypatch):
    path = save(tmp_path / "net.h5", draw())
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ValueError, match=r"net.h5: .*needs h5py.*pip install 'mobilenet-toolkit\[weights\]'"):
        read_weights(path)
