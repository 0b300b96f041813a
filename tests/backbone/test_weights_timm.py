"""timm's MobileNet V1: the same answers here, and on the way back."""

from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from backbone import MobileNetV1, load_weights, read_weights
from backbone.sources.timm import to_timm
from tests.backbone.random_weights import randomize


def logits_of(net: MobileNetV1, classifier: dict[str, Tensor], x: Tensor) -> Tensor:
    return net(x)["conv_13"].mean((2, 3)) @ classifier["weight"].T + classifier["bias"]


@pytest.mark.parametrize(("name", "suffix"), [("mobilenetv1_100", ".safetensors"), ("mobilenetv1_125", ".pth")])
def test_logits_equal_timms_and_so_do_they_on_the_way_back(tmp_path, name, suffix):
    theirs: Any = randomize(timm.create_model(name, num_classes=11))
    path = tmp_path / f"net{suffix}"
    save_file(theirs.state_dict(), path) if suffix == ".safetensors" else torch.save(theirs.state_dict(), path)
    published = read_weights(path)
    assert (published.format, published.left_over, published.folded) == ("timm", {}, False)
    assert published.implied == {
        **{"alpha": 1.0 if name.endswith("100") else 1.25, "block": "separable", "shallow": False},
        **{"depth_multiplier": 1, "padding": "symmetric", "activation": "relu6", "bn_eps": 1e-5},
        **{"input_mean": theirs.pretrained_cfg["mean"], "input_std": theirs.pretrained_cfg["std"]},
    }
    ours = MobileNetV1(**published.implied).eval()
    load_weights(ours, published)
    x = torch.randn(2, 3, 75, 64)
    back: Any = timm.create_model(name, num_classes=11).eval()
    back.load_state_dict(to_timm(ours.state_dict(), published.classifier))
    with torch.no_grad():
        expected = theirs(x)
        assert expected.std() > 0.1
        torch.testing.assert_close(logits_of(ours, published.classifier, x), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(back(x), expected, rtol=1e-5, atol=1e-5)


def test_another_eps_is_made_up_for_on_the_way_to_timm():
    ours = randomize(MobileNetV1(padding="symmetric", bn_eps=1e-3))
    theirs: Any = timm.create_model("mobilenetv1_100", num_classes=0).eval()
    theirs.load_state_dict(to_timm(ours.state_dict(), bn_eps=1e-3))
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(theirs.forward_features(x), ours(x)["conv_13"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("arguments", [{"shallow": True}, {"taps": ("conv_11",)}, {"block": "conv"}])
def test_what_timm_does_not_have_is_not_turned_into_its_names(arguments):
    with pytest.raises(ValueError, match=r"timm's MobileNet V1 is conv_0 to conv_13 .*missing for it: conv_"):
        to_timm(MobileNetV1(0.25, **arguments).state_dict())


def test_timms_variant_with_a_head_convolution_is_refused_before_it_is_fetched(tmp_path):
    torch.save(timm.create_model("mobilenetv1_100h", num_classes=3).state_dict(), tmp_path / "net.pth")
    for source in (tmp_path / "net.pth", "timm:mobilenetv1_100h"):
        with pytest.raises(ValueError, match=r"holds conv_head.weight, .* which MobileNet V1 does not have"):
            read_weights(source)


def test_other_names_of_timm_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"timm:resnet18: no MobileNet V1 of timm .*mobilenetv1_100, "):
        read_weights("timm:resnet18")


def test_timms_published_weights_are_fetched_by_timm(monkeypatch):
    create, asked = timm.create_model, []

    def without_network(name: str, pretrained: bool = False) -> nn.Module:
        asked.append((name, pretrained))
        return randomize(create(name))

    monkeypatch.setattr(timm, "create_model", without_network)
    published = read_weights("timm:mobilenetv1_100.ra4_e3600_r224_in1k")
    assert asked[-1] == ("mobilenetv1_100.ra4_e3600_r224_in1k", True)
    assert (published.source, published.resolution) == ("timm:mobilenetv1_100.ra4_e3600_r224_in1k", 224)
    assert published.classifier["weight"].shape == (1000, 1024)

    def no_network(name: str, pretrained: bool = False) -> nn.Module:
        if pretrained:
            raise OSError("no route to host")
        return create(name)

    monkeypatch.setattr(timm, "create_model", no_network)
    with pytest.raises(ValueError, match=r"timm:mobilenetv1_125: could not be fetched; .*\(no route to host\)"):
        read_weights("timm:mobilenetv1_125")
