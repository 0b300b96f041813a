"""PyTorch's files: state dicts under our names, and our own safetensors."""

import json
import os
import pickle
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from backbone import MobileNetV1, load_weights, read_weights, save_weights
from backbone.sources.published import identity_norm
from tests.backbone.random_weights import randomize


@pytest.mark.parametrize("prefix", ["", "module.", "net.backbone."])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_state_dict_is_found_under_any_one_prefix(tmp_path, prefix, suffix):
    net = randomize(MobileNetV1(0.25, shallow=True))
    state = {prefix + name: tensor for name, tensor in net.state_dict().items()}
    other = {f"{prefix}extra.weight": torch.ones(3)}
    path = tmp_path / f"net{suffix}"
    save_file(state | other, path) if suffix == ".safetensors" else torch.save(state | other, path)
    published = read_weights(path)
    assert published.implied == {"alpha": 0.25, "block": "separable", "shallow": True, "depth_multiplier": 1}
    assert published.left_over.keys() == other.keys()
    loaded = MobileNetV1(0.25, shallow=True, padding="symmetric")
    load_weights(loaded, published)
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), loaded.state_dict().values(), strict=True))


@pytest.mark.parametrize(
    "arguments",
    [
        {"alpha": 0.35},
        {"alpha": 0.35, "rounding": "divisible"},
        {"alpha": 1.4, "rounding": "divisible", "taps": ("conv_5",)},
        {"alpha": 0.25, "block": "conv", "taps": ("conv_8",)},
        {"alpha": 0.75, "depth_multiplier": 3, "taps": ("conv_2",)},
        {"alpha": 1.0, "taps": ("conv_0",), "in_channels": 5},
    ],
)
def test_the_widths_tell_the_network(tmp_path, arguments):
    net = MobileNetV1(**arguments)
    torch.save(net.state_dict(), tmp_path / "net.pth")
    implied = read_weights(tmp_path / "net.pth").implied
    assert implied.items() <= net.arguments.items()
    again = MobileNetV1(**implied, taps=arguments.get("taps", (32,)), in_channels=arguments.get("in_channels", 3))
    again.load_state_dict(net.state_dict())


@pytest.mark.parametrize(("name", "layer"), [("classifier", nn.Conv2d(256, 5, 1)), ("head", nn.Linear(256, 5))])
def test_a_classifier_beside_the_backbone_is_found(tmp_path, name, layer):
    net = nn.ModuleDict({"backbone": MobileNetV1(0.25), name: layer, "neck": nn.Linear(256, 5)})
    torch.save({"state_dict": net.state_dict(prefix="task."), "epoch": 3}, tmp_path / "net.ckpt")
    published = read_weights(tmp_path / "net.ckpt")
    assert torch.equal(published.classifier["weight"], layer.weight.flatten(1))
    assert torch.equal(published.classifier["bias"], layer.bias)
    assert set(published.left_over) == {"task.neck.weight", "task.neck.bias"}


def test_another_linear_layer_is_no_classifier(tmp_path):
    net = nn.ModuleDict({"backbone": MobileNetV1(0.25), "head": nn.Linear(100, 5)})
    torch.save(net.state_dict(), tmp_path / "net.pth")
    published = read_weights(tmp_path / "net.pth")
    assert published.classifier == {}
    assert set(published.left_over) == {"head.weight", "head.bias"}


def test_half_precision_is_read_as_fp32(tmp_path):
    torch.save(MobileNetV1(0.25).half().state_dict(), tmp_path / "net.pth")
    tensors = read_weights(tmp_path / "net.pth").backbone
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32, torch.int64}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: {f"{k}.{n}": t for k in ("task", "ema") for n, t in s.items()},
            "several networks, under 'task.', '",
        ),
        (lambda s: {"a": s, "b": s}, "holds state dicts under a, b; expected one"),
        (lambda s: {"epoch": 3}, "holds no state dict"),
        (lambda s: list(s.values()), "holds no state dict"),
        (lambda s: {"fc.weight": torch.ones(2, 2)}, r"neither conv_0.conv.weight .*Its tensors: fc.weight"),
        (lambda s: {n: t for n, t in s.items() if "conv_7.pointwise.norm.b" not in n}, "lacks conv_7.pointwise.norm.b"),
        (lambda s: s | {"conv_3.extra": torch.ones(1)}, "holds conv_3.extra, which MobileNet V1 does not have"),
        (lambda s: s | {"conv_14.conv.weight": torch.ones(1)}, "holds a layer conv_14; expected conv_0 to conv_13"),
        (
            lambda s: s | {"conv_4.pointwise.norm.bias": torch.ones(3)},
            r"norm.bias has the shape \(3,\); expected \(64,",
        ),
    ],
)
def test_what_is_no_single_mobilenet_is_refused(tmp_path, change, message):
    torch.save(change(MobileNetV1(0.25).state_dict()), tmp_path / "net.pth")
    with pytest.raises(ValueError, match=rf"net\.pth: .*{message}"):
        read_weights(tmp_path / "net.pth")


class Malicious:
    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


def test_code_in_a_file_is_refused_and_not_run(tmp_path):
    torch.save({"conv_0.conv.weight": Malicious(tmp_path / "ran")}, tmp_path / "net.pth")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(Malicious(tmp_path / "ran"), protocol=2))
    torch.save(MobileNetV1(0.25), tmp_path / "whole.pth")  # a module, not its state dict
    for name in ("net.pth", "bare.pth", "whole.pth"):
        with pytest.raises(ValueError, match=rf"{name}: refused, as nothing in a weight file is ever executed"):
            read_weights(tmp_path / name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_truncated_files_are_refused_by_name(tmp_path, suffix):
    state = MobileNetV1(0.25).state_dict()
    whole = tmp_path / f"whole{suffix}"
    save_file(state, whole) if suffix == ".safetensors" else torch.save(state, whole)
    content = whole.read_bytes()
    for cut in (20, len(content) // 2, len(content) - 10):
        path = tmp_path / f"cut{suffix}"
        path.write_bytes(content[:cut])
        with pytest.raises(ValueError, match=rf"cut\{suffix}: damaged or truncated"):
            read_weights(path)


# Our own files


def test_what_save_weights_writes_says_how_to_build_the_network(tmp_path):
    arguments: dict[str, Any] = {"alpha": 0.35, "rounding": "divisible", "padding": "symmetric", "activation": "relu"}
    arguments |= {"bn_eps": 1e-5, "input_mean": (0.1, 0.2, 0.3), "input_std": 0.25}
    net = randomize(MobileNetV1(**arguments)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    classifier = {"weight": torch.randn(1001, 360), "bias": torch.randn(1001)}
    path = tmp_path / "net.safetensors"
    save_weights(net, path, classifier=classifier, background=True, resolution=160)
    published = read_weights(path)
    assert published.implied == net.arguments
    assert (published.format, published.resolution, published.background) == ("safetensors", 160, True)
    assert not published.folded
    assert all(torch.equal(classifier[key], published.classifier[key]) for key in classifier)
    again = MobileNetV1(**published.implied)
    load_weights(again, path)
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), again.state_dict().values(), strict=True))
    assert [file.name for file in tmp_path.iterdir()] == ["net.safetensors"]  # written beside, and moved


def test_folded_batch_norm_is_told_by_a_saved_file(tmp_path):
    net = MobileNetV1(0.25, bn_eps=1e-5)
    norm: Any = net.get_submodule("conv_5.depthwise.norm")
    norm.load_state_dict(identity_norm(torch.ones(64), 1e-5))
    save_weights(net, tmp_path / "net.safetensors")
    assert read_weights(tmp_path / "net.safetensors").folded


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "net.safetensors"
    path.write_text("old")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_weights(MobileNetV1(0.25), path)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["net.safetensors"]
    with pytest.raises(ValueError, match="its folder does not exist"):
        save_weights(MobileNetV1(0.25), tmp_path / "nowhere" / "net.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda said: "{", "its metadata are no JSON"),
        (
            lambda said: json.dumps(said | {"arguments": said["arguments"] | {"momentum": 1}}),
            "expected arguments, backg",
        ),
        (
            lambda said: json.dumps(said | {"arguments": said["arguments"] | {"alpha": 0.5}}),
            r"expected \(16, 3, 3, 3\)",
        ),
        (lambda said: json.dumps({"arguments": said["arguments"]}), "expected arguments, background, folded, resolut"),
    ],
)
def test_metadata_that_do_not_fit_are_refused(tmp_path, change, message):
    path = tmp_path / "net.safetensors"
    save_weights(MobileNetV1(0.25), path)
    with safe_open(path, framework="pt") as file:
        said = json.loads(file.metadata()["mobilenet_toolkit"])
    save_file(MobileNetV1(0.25).state_dict(), path, {"mobilenet_toolkit": change(said)})
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))}: .*{message}"):
        read_weights(path)


def test_without_the_libraries_it_says_what_to_install(tmp_path, monkeypatch):
    path = tmp_path / "net.safetensors"
    save_weights(MobileNetV1(0.25), path)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    monkeypatch.setitem(sys.modules, "timm", None)
    for act in (
        lambda: read_weights(path),
        lambda: save_weights(MobileNetV1(0.25), path),
        lambda: read_weights("timm:mobilenetv1_100"),
    ):
        with pytest.raises(ValueError, match=r"needs (safetensors|timm).*pip install 'mobilenet-toolkit\[weights\]'"):
            act()
