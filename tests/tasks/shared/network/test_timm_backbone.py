"""timm models as backbones, against timm's own intermediate features."""

import logging
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import tasks
from backbone import MobileNetV1
from tasks.shared.network.timm_backbone import TimmBackbone

TINY_SWIN = {"embed_dim": 24, "depths": (1, 1, 2, 1), "num_heads": (1, 2, 2, 2), "img_size": 64, "window_size": 2}
# name, options, side of the image, taps: one model for each of timm's ways to extract features
MODELS = [
    pytest.param("mobilenetv1_100", {}, 64, [8, 16], id="efficientnet-features"),
    pytest.param("mobilenetv3_small_050", {}, 64, [4, 16], id="mobilenetv3-features"),
    pytest.param("resnet18", {}, 64, [4, 16], id="list-features"),
    pytest.param("swin_tiny_patch4_window7_224", TINY_SWIN, 64, [8, 16], id="nhwc-features"),
    pytest.param("test_vit", {"img_size": 64}, 64, ["blocks.1", "blocks.3"], id="getter-features"),
]


def full_model(name: str, options: dict) -> Any:
    torch.manual_seed(0)
    model = timm.create_model(name, **options).eval()
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        _, variance, _ = norm.buffers()
        nn.init.uniform_(variance, 0.5, 2)
    return model


def intermediates(model: Any, x: Tensor, shapes: list[torch.Size]) -> list[Tensor]:
    """timm's last intermediate map, NCHW, of each shape."""
    maps = model.forward_intermediates(x, output_fmt="NCHW", intermediates_only=True)
    return [[m for m in maps if m.shape == shape][-1] for shape in shapes]


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(("name", "options", "side", "taps"), MODELS)
def test_a_checkpoint_of_the_whole_model_gives_its_intermediate_maps(name, options, side, taps, suffix, tmp_path):
    model = full_model(name, options)
    file = tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(model.state_dict(), file)
    backbone = TimmBackbone(name, taps, checkpoint=str(file), options=options).eval()
    x = torch.randn(2, 3, side, side)
    with torch.no_grad():
        maps = backbone(x)
        if name == "test_vit":  # every block has the same shape here, so they are told apart by number
            expected = model.forward_intermediates(x, indices=[1, 3], output_fmt="NCHW", intermediates_only=True)
        else:
            expected = intermediates(model, x, [m.shape for m in maps.values()])
    assert list(maps) == [info.name for info in backbone.feature_info]
    for info, ours, theirs in zip(backbone.feature_info, maps.values(), expected, strict=True):
        assert ours.shape == (2, info.channels, side // info.stride, side // info.stride)
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "options", "side", "taps"), MODELS)
def test_nothing_is_built_beyond_the_deepest_tap(name, options, side, taps):
    backbone = TimmBackbone(name, taps, options=options).train()
    list(backbone(torch.randn(2, 3, side, side)).values())[-1].square().mean().backward()
    assert [key for key, p in backbone.named_parameters() if p.grad is None] == []


def test_with_a_timm_that_builds_more_the_maps_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for cut in (True, False):
        if not cut:
            monkeypatch.setattr("tasks.shared.network.timm_backbone._cut_behind", lambda *_: None)
        torch.manual_seed(0)
        made.append(TimmBackbone("mobilenetv1_100", [8]).eval())
    fewer, more = (sum(p.numel() for p in backbone.parameters()) for backbone in made)
    assert fewer < more
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        (ours,), (theirs,) = (backbone(x).values() for backbone in made)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2_035", "mobilenetv3_small_050", "convnext_atto"])
def test_its_layers_run_on_their_own(name):
    backbone = TimmBackbone(name, [16, 32]).eval()
    first, last = (info.name for info in backbone.feature_info)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        maps = backbone(x)
        torch.testing.assert_close(backbone.run(x, until=first), maps[first], rtol=0, atol=0)
        torch.testing.assert_close(backbone.run(maps[first], after=first, until=last), maps[last], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "options", "taps"),
    [
        pytest.param("swin_tiny_patch4_window7_224", TINY_SWIN, [8, 16], id="channels last"),
        pytest.param("test_vit", {"img_size": 64}, ["blocks.1", "blocks.3"], id="a getter"),
        pytest.param("hrnet_w18_small", {}, [16, 32], id="branches"),
        pytest.param("mobilenetv2_035", {"feature_location": "expansion"}, [16, 32], id="hooks"),
    ],
)
def test_layers_that_form_no_row_are_not_taken_apart(name, options, taps):
    with torch.device("meta"):
        backbone = TimmBackbone(name, taps, options=options)
    with pytest.raises(ValueError, match=rf"^backbone.name={name}: .* expected a network .* such as resnet18"):
        backbone.layers()


def test_timms_mobilenet_v1_has_the_parameters_of_ours_at_every_depth():
    for stride in (2, 8, 16, 32):
        theirs, ours = TimmBackbone("mobilenetv1_100", [stride]), MobileNetV1(taps=[stride])
        assert [p.shape for p in theirs.parameters()] == [p.shape for p in ours.parameters()]
        assert [i[1:] for i in theirs.feature_info] == [i[1:] for i in ours.feature_info]


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        ("mobilenetv1_100", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ("resnet18", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ],
)
def test_the_normalisation_is_that_of_the_weights(name, mean, std):
    backbone = TimmBackbone(name, [4])
    assert (backbone.input_mean, backbone.input_std) == (mean, std)


def test_taps_come_in_the_networks_order_by_name_or_stride():
    backbone = TimmBackbone("resnet18", [16, "layer1", 8])
    assert backbone.feature_info == [("layer1", 64, 4), ("layer2", 128, 8), ("layer3", 256, 16)]
    assert list(backbone(torch.randn(1, 3, 32, 32))) == ["layer1", "layer2", "layer3"]


def test_maps_to_which_timm_gives_one_name_are_kept_apart():
    backbone = TimmBackbone("coat_tiny", [8, 16], options={"embed_dims": (16,) * 4, "serial_depths": (1,) * 4})
    assert len({info.name for info in backbone.feature_info}) == 2
    assert len(backbone(torch.randn(1, 3, 224, 224))) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "mobilnetv1_100"}, r"backbone.name='mobilnetv1_100'.*nearest: mobilenetv1_100"),
        ({"name": "resnet18.nope"}, r"backbone.name='resnet18.nope'.*nearest: .*resnet18"),
        ({"name": "hf-hub:someone/resnet18"}, r"backbone.name='hf-hub:someone/resnet18'.*no such model"),
        ({"name": "resnet18", "taps": [5]}, r"backbone.taps names 5.*layer4.*2, 4, 8, 16, 32"),
        ({"name": "resnet18", "taps": []}, r"backbone.taps is empty"),
        ({"name": "resnet18", "options": {"bogus": 1}}, r"backbone.options=\{'bogus': 1\}.*bogus"),
        ({"name": "resnet18", "checkpoint": "/no/such.pth"}, r"backbone.checkpoint=/no/such.pth: no such file"),
    ],
)
def test_what_timm_does_not_have_is_refused_by_key_and_value(arguments, message):
    with pytest.raises(ValueError, match=message):
        TimmBackbone(**{"taps": [16], **arguments})


def test_a_model_without_feature_extraction_is_refused(monkeypatch):
    def create_model(*_: object, **__: object) -> nn.Module:
        raise RuntimeError("features_only not implemented for Such models.")  # as timm words it

    monkeypatch.setattr(timm, "create_model", create_model)
    with pytest.raises(ValueError, match=r"backbone.name='resnet18': timm builds no feature extractor.*Such models"):
        TimmBackbone("resnet18", [16])


def test_a_failed_download_asks_for_a_checkpoint(tmp_path):
    nowhere = {"url": (tmp_path / "none.pth").as_uri(), "hf_hub_id": None}
    with pytest.raises(ValueError, match=r"pretrained=true.*'resnet18'.*backbone.checkpoint=FILE"):
        TimmBackbone(
            "resnet18", [16], pretrained=True, options={"pretrained_cfg_overlay": nowhere, "cache_dir": str(tmp_path)}
        )


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv1_100", "test_vit"])
def test_a_checkpoint_that_lacks_a_weight_is_refused(name, tmp_path):
    state = timm.create_model(name).state_dict()
    lost = [key for key, tensor in state.items() if tensor.ndim > 1][2]
    torch.save({key: tensor for key, tensor in state.items() if key != lost}, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=rf"weights.pth lacks 1 weights of '{name}': \['{lost}'\]"):
        TimmBackbone(name, [16], checkpoint=str(tmp_path / "weights.pth"))


@pytest.mark.parametrize("tensors", ["of another model", "of another width"])
def test_a_checkpoint_that_does_not_fit_is_refused(tensors, tmp_path):
    other = timm.create_model("mobilenetv1_100" if tensors == "of another model" else "test_resnet")
    torch.save(other.state_dict(), tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"backbone.checkpoint=.*weights.pth.*'resnet18'"):
        TimmBackbone("resnet18", [16], checkpoint=str(tmp_path / "weights.pth"))


class Bomb:
    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".npz", ".bin"])
def test_a_checkpoint_is_read_without_running_its_code(suffix, tmp_path):
    marker, file = tmp_path / "exploded", tmp_path / f"weights{suffix}"
    with file.open("wb") as stream:
        pickle.dump({"state_dict": Bomb(marker)}, stream)
    with pytest.raises(ValueError, match=r"backbone.checkpoint=.*weights"):
        TimmBackbone("resnet18", [16], checkpoint=str(file))
    assert not marker.exists()


def test_reading_a_checkpoint_that_fits_logs_nothing_and_leaves_the_logger_alone(tmp_path, caplog):
    torch.save(timm.create_model("resnet18").state_dict(), tmp_path / "weights.pth")
    logger = logging.getLogger("timm.models._builder")
    before = (logger.level, list(logger.filters))
    TimmBackbone("resnet18", [16], checkpoint=str(tmp_path / "weights.pth"))
    assert (logger.level, list(logger.filters)) == before
    assert caplog.records == []


def test_importing_the_module_does_not_import_timm():
    code = "import sys; import tasks.shared.network.timm_backbone\n"
    code += "print([m for m in ('timm', 'torchvision') if m in sys.modules])"
    root = str(Path(tasks.__file__).parents[1])
    run = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": root}, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"
