"""TensorFlow Lite files, drawn here in the ways that published ones are written, against plain sums over windows."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from backbone import MobileNetV1, load_weights, read_weights
from tests.backbone import channels_last
from tests.backbone.tflite_writer import NONE, RELU, RELU6, STRIDES, MobileNetWriter

WIDTHS = (8, 16, 32, 32, 64, 64, 128, 128, 128, 128, 128, 128, 256, 256)  # alpha 0.25
FUSED = {"float": RELU6, "float16": RELU6, "uint8": NONE, "int8": NONE}


def write(path: Path, form: str = "uint8", classes: int | None = None, **options) -> MobileNetWriter:
    top = {key: options.pop(key) for key in ("mean", "dense") if key in options}
    writer = MobileNetWriter(form, **{"fused": FUSED[form]} | options)
    x = writer.body(WIDTHS)
    if classes:
        x = writer.classifier(x, classes, **top)
    writer.save(path, [writer.image], [x])
    return writer


def expected_features(writer: MobileNetWriter, x: np.ndarray) -> np.ndarray:
    """x: (B, H, W, 3), what the first layer reads."""
    strides = [STRIDES[0], *(s for stride in STRIDES[1:] for s in (stride, 1))]
    for (weight, bias), stride in zip(writer.real, strides, strict=False):
        if weight.shape[0] == 1:
            x = channels_last.depthwise(x, weight[0][..., None], stride)
        else:
            x = channels_last.conv(x, weight.transpose(1, 2, 3, 0), stride)
        x = channels_last.relu6(x + bias)
    return x


@pytest.mark.parametrize("form", ["float", "uint8", "int8", "float16"])
def test_features_are_those_of_the_stored_numbers(tmp_path, form):
    writer = write(tmp_path / "net.tflite", form, side=48)
    published = read_weights(tmp_path / "net.tflite")
    net = MobileNetV1(**published.implied).eval()
    load_weights(net, published)
    pixels = torch.randint(256, (2, 3, 48, 48), generator=torch.Generator().manual_seed(0)).double()
    mean, std = (torch.tensor(published.implied[key]).view(3, 1, 1) for key in ("input_mean", "input_std"))
    with torch.no_grad():
        features = net(((pixels / 255 - mean) / std).float())["conv_13"]
    # What the files' readers do with a pixel: uint8 and int8 by their input's scale and zero, float in [-1, 1].
    seen = {"uint8": (pixels - 128) / 128, "int8": (pixels - 128 + 1) / 127.5}.get(form, pixels / 127.5 - 1)
    expected = expected_features(writer, seen.permute(0, 2, 3, 1).numpy())
    assert 0.05 < (expected > 0).mean() < 0.95
    assert (expected == 6).any()  # the limit of ReLU6 is reached
    np.testing.assert_allclose(features.permute(0, 2, 3, 1), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("form", "mean", "std"),
    [("uint8", 128 / 255, 128 / 255), ("int8", 127 / 255, 0.5), ("float", 0.5, 0.5)],
)
def test_what_a_file_implies(tmp_path, form, mean, std):
    write(tmp_path / "net.tflite", form, side=64)
    published = read_weights(tmp_path / "net.tflite")
    scaling = [published.implied.pop(key) for key in ("input_mean", "input_std")]
    np.testing.assert_allclose(scaling, [[mean] * 3, [std] * 3], rtol=1e-6)
    assert published.implied == {
        **{"alpha": 0.25, "block": "separable", "shallow": False, "depth_multiplier": 1},
        **{"padding": "same", "activation": "relu6", "bn_eps": 1e-3},
    }
    assert (published.format, published.resolution, published.folded) == ("tflite", 64, True)
    assert (published.classifier, published.background, published.left_over) == ({}, False, {})


def test_the_identity_norm_is_exact():
    from backbone.sources.published import identity_norm

    for eps in (1e-3, 1e-5):
        norm = torch.nn.BatchNorm2d(4, eps=eps).eval()
        norm.load_state_dict(identity_norm(torch.tensor([0.0, 1, -2, 3]), eps))
        x = torch.randn(2, 4, 5, 5, dtype=torch.float64).float()
        torch.testing.assert_close(norm(x), x + norm.bias.view(4, 1, 1), rtol=3e-7, atol=3e-7)


@pytest.mark.parametrize(("classes", "background"), [(1001, True), (1000, False), (7, False)])
@pytest.mark.parametrize("options", [{}, {"mean": True, "dense": True}])
def test_the_classifier_is_kept_as_it_is_stored(tmp_path, classes, background, options):
    writer = write(tmp_path / "net.tflite", "int8", classes, **options)
    published = read_weights(tmp_path / "net.tflite")
    weight, bias = writer.real[-1]
    np.testing.assert_array_equal(published.classifier["weight"], weight.reshape(classes, 256))
    np.testing.assert_array_equal(published.classifier["bias"], bias)
    assert (published.background, published.left_over) == (background, {})


def test_a_head_that_is_no_classifier_is_left_over_by_name(tmp_path):
    writer = MobileNetWriter("uint8")
    x = writer.conv("neck", writer.body(WIDTHS), 12, 3, 2)
    writer.save(tmp_path / "net.tflite", [writer.image], [x])
    published = read_weights(tmp_path / "net.tflite")
    assert published.classifier == {}
    assert list(published.left_over) == ["neck/weight", "neck/bias"]
    np.testing.assert_array_equal(published.left_over["neck/weight"], writer.real[-1][0])


def test_two_linear_layers_are_no_classifier(tmp_path):
    writer = MobileNetWriter("uint8")
    hidden = writer.classifier(writer.body(WIDTHS), 12)
    x = writer.conv("second", writer.operator("RESHAPE", [hidden], writer.tensor("r", [1, 1, 1, 12])), 3, 1)
    writer.save(tmp_path / "net.tflite", [writer.image], [x])
    published = read_weights(tmp_path / "net.tflite")
    assert published.classifier == {}
    assert list(published.left_over) == ["logits/weight", "logits/bias", "second/weight", "second/bias"]


@pytest.mark.parametrize("options", [{"window": 1}, {"fused": RELU}, {"kernel": 3}])
def test_a_linear_layer_on_other_than_the_mean_of_the_map_is_no_classifier(tmp_path, options):
    writer = MobileNetWriter("float", side=64, fused=RELU6)
    x = writer.classifier(writer.body(WIDTHS), 5, **options)
    writer.save(tmp_path / "net.tflite", [writer.image], [x])
    published = read_weights(tmp_path / "net.tflite")
    assert published.classifier == {}
    assert list(published.left_over) == ["logits/weight", "logits/bias"]


@pytest.mark.parametrize("form", ["uint8", "int8"])
@pytest.mark.parametrize(("fused", "top", "activation"), [(NONE, 6, "relu6"), (RELU, 6, "relu6"), (RELU, 9, "relu")])
def test_the_activation_is_what_the_operator_and_the_range_say(tmp_path, form, fused, top, activation):
    write(tmp_path / "net.tflite", form, fused=fused, top=top)
    assert read_weights(tmp_path / "net.tflite").implied["activation"] == activation


def test_relu6_is_told_by_the_range_in_one_layer_and_by_the_operator_in_another(tmp_path):
    writer = MobileNetWriter("uint8", fused=NONE)
    x = writer.conv("conv_0", writer.image, 8, 3, 2, fused=RELU6, top=4.0)
    for number, (width, stride) in enumerate(zip(WIDTHS[1:], STRIDES[1:], strict=True), 1):
        x = writer.conv(f"conv_{number}/dw", x, None, 3, stride)
        x = writer.conv(f"conv_{number}/pw", x, width, 1)
    writer.save(tmp_path / "net.tflite", [writer.image], [x])
    assert read_weights(tmp_path / "net.tflite").implied["activation"] == "relu6"


@pytest.mark.parametrize(
    ("form", "options", "message"),
    [
        ("uint8", {"top": 4.0}, r"operator 0 \(CONV_2D\) \(conv_0\) has the activation none, .*expected relu6"),
        ("float", {"fused": NONE}, r"\(conv_0\) has the activation none"),
        ("float", {"fused": 4}, r"\(conv_0\) has the activation unknown"),
    ],
)
def test_no_activation_is_an_error(tmp_path, form, options, message):
    write(tmp_path / "net.tflite", form, **options)
    with pytest.raises(ValueError, match=message):
        read_weights(tmp_path / "net.tflite")


def two_layers(path: Path, *, first: dict | None = None, second: dict | None = None, side: int = 32) -> Path:
    writer = MobileNetWriter("uint8", side=side)
    x = writer.conv("a", writer.image, 8, **{"kernel": 3, "stride": 2} | (first or {}))
    x = writer.conv("b", x, **{"outputs": None, "kernel": 3, "stride": 1} | (second or {}))
    return writer.save(path, [writer.image], [x])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"first": {"kernel": 5}},
            r"operator 0 \(CONV_2D\) has the filter \(5, 5\).*expected a 3x3 CONV_2D of stride 2",
        ),
        ({"first": {"stride": 1}}, r"operator 0 .*stride \(1, 1\).*\(conv_0 of MobileNet V1\)"),
        ({"first": {"padding": 1}}, r"operator 0 .*padding VALID; expected .*SAME"),
        ({"second": {"stride": 2}}, r"operator 1 \(DEPTHWISE_CONV_2D\) .*stride \(2, 2\).*conv_1.depthwise"),
        ({"second": {"outputs": 9}}, r"operator 1 \(CONV_2D\) is what reads 'a/out'; expected a 3x3 DEPTHWISE_CONV_2D"),
        ({}, r"nothing reads 'b/out'; expected a 1x1 CONV_2D of stride 1 .*conv_1.pointwise"),
        ({"first": {"pad": True}, "side": 33}, r"operator 1 .*padding VALID"),  # SAME of 33 pixels is (1, 1)
    ],
)
def test_another_network_is_refused_at_its_first_other_operator(tmp_path, options, message):
    path = two_layers(tmp_path / "net.tflite", **options)
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))}: .*{message}"):
        read_weights(path)


def test_zeros_put_around_by_an_operator_are_same_padding_on_even_sizes(tmp_path):
    writer = MobileNetWriter("float", fused=RELU6)
    x = writer.conv("conv_0", writer.image, 8, 3, 2, pad=True)
    for number, (width, stride) in enumerate(zip(WIDTHS[1:], STRIDES[1:], strict=True), 1):
        x = writer.conv(f"conv_{number}/dw", x, None, 3, stride, pad=stride == 2)
        x = writer.conv(f"conv_{number}/pw", x, width, 1, padding=1)
    writer.save(tmp_path / "net.tflite", [writer.image], [x])
    assert read_weights(tmp_path / "net.tflite").implied["padding"] == "same"


def test_same_padding_on_top_of_zeros_put_around_is_refused(tmp_path):
    writer = MobileNetWriter("float", fused=RELU6)
    paddings = writer.tensor("paddings", [4, 2], "int32", np.array([[0, 0], [0, 1], [0, 1], [0, 0]]))
    padded = writer.operator("PAD", [writer.image, paddings], writer.tensor("padded", [1, 33, 33, 3]))
    writer.save(tmp_path / "net.tflite", [writer.image], [writer.conv("conv_0", padded, 8, 3, 2)])
    with pytest.raises(ValueError, match=r"operator 1 \(CONV_2D\) has .*padding SAME after PAD; expected"):
        read_weights(tmp_path / "net.tflite")


def test_widths_of_no_alpha_are_refused(tmp_path):
    writer = MobileNetWriter("uint8")
    x = writer.body([*WIDTHS[:5], 80, *WIDTHS[6:]])
    writer.save(tmp_path / "net.tflite", [writer.image], [x])
    with pytest.raises(ValueError, match=r"conv_5 has 80 channels; expected 64, as alpha=0.25 gives"):
        read_weights(tmp_path / "net.tflite")


def test_truncated_and_damaged_files_are_refused_by_name(tmp_path):
    write(tmp_path / "net.tflite", classes=3)
    whole = (tmp_path / "net.tflite").read_bytes()
    path = tmp_path / "broken.tflite"
    for cut in (9, 100, len(whole) // 2, len(whole) - 1000):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=re.escape(str(path))):
            read_weights(path)
    rng = np.random.default_rng(0)
    for _ in range(20):
        noisy = np.frombuffer(whole, np.uint8).copy()
        noisy[rng.integers(8, 20_000, 200)] = rng.integers(0, 256, 200)
        path.write_bytes(noisy.tobytes())
        with pytest.raises(ValueError, match=re.escape(str(path))):
            read_weights(path)


def test_a_tensor_that_is_too_short_is_named(tmp_path):
    writer = MobileNetWriter("uint8")
    x = writer.body(WIDTHS)
    stored = next(t for t in writer.tensors if t["name"] == "conv_3/pw/weight")
    stored["raw"] = stored["raw"][:-1]
    writer.save(tmp_path / "net.tflite", [writer.image], [x])
    with pytest.raises(ValueError, match=r"'conv_3/pw/weight' of shape .* holds 1023 bytes; expected 1024"):
        read_weights(tmp_path / "net.tflite")


def test_without_the_library_it_says_what_to_install(tmp_path, monkeypatch):
    write(tmp_path / "net.tflite")
    monkeypatch.setitem(sys.modules, "tflite", None)
    with pytest.raises(ValueError, match=r"net.tflite: .*needs tflite.*pip install 'mobilenet-toolkit\[weights\]'"):
        read_weights(tmp_path / "net.tflite")
