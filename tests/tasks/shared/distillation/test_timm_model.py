"""timm models as teachers, against timm itself."""

import logging
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from backbone import count_cost
from tasks.shared.distillation.timm_model import timm_teacher
from tasks.shared.errors import UserError
from tests.tasks.shared.distillation.bombs import Bomb

NAME = "test_resnet"  # timm's own smallest one


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    net = timm.create_model(NAME, num_classes=7).eval()
    for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(norm.running_var, 0.5, 2)  # type: ignore[arg-type]
    return net


def images(side: int) -> Tensor:
    return torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_it_answers_as_timm_does_with_timms_normalisation(suffix: str, model: Any, tmp_path: Path) -> None:
    file = tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(model.state_dict(), file)
    told = {**model.pretrained_cfg, "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4)}  # its own are 0.5
    teacher = timm_teacher(NAME, str(file), options={"pretrained_cfg_overlay": {k: told[k] for k in ("mean", "std")}})
    side = told["input_size"][-1]
    assert (teacher.size, teacher.num_outputs, teacher.name) == ((side, side), 7, f"timm {NAME}")
    mean, std = (torch.tensor(told[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        wanted = model((images(side).float() / 255 - mean) / std)
    torch.testing.assert_close(teacher(images(side)), wanted, rtol=1e-4, atol=1e-5)
    cost = count_cost(model, side)
    assert teacher.cost() == (cost.mult_adds, cost.parameters)


def test_features_are_what_comes_before_the_classifier(
    model: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save({"state_dict": {f"module.{k}": t for k, t in model.state_dict().items()}}, tmp_path / "w.pth")
    with caplog.at_level(logging.INFO):
        teacher = timm_teacher(NAME, str(tmp_path / "w.pth"), features=True, size=96, mean=[0.5] * 3, std=[0.25] * 3)
    assert "left out fc.weight, fc.bias" in caplog.text
    assert (teacher.size, teacher.num_outputs) == ((96, 96), model.num_features)
    with torch.no_grad():
        wanted = model.forward_head(model.forward_features(images(96).float() / 255 * 4 - 2), pre_logits=True)
    torch.testing.assert_close(teacher(images(96)), wanted, rtol=1e-4, atol=1e-5)
    other = timm_teacher(NAME, str(tmp_path / "w.pth"), size=96, mean=[0.5] * 3, std=[0.25] * 3)
    assert other.fingerprint != teacher.fingerprint


def test_weights_that_do_not_fit_are_refused(model: Any, tmp_path: Path) -> None:
    state = model.state_dict()
    del state["layer2.0.bn1.bias"]
    torch.save(state, tmp_path / "less.pth")
    with pytest.raises(UserError, match=r"less.pth does not fit .*lacks 1: layer2.0.bn1.bias"):
        timm_teacher(NAME, str(tmp_path / "less.pth"))
    torch.save(model.state_dict() | {"conv1.0.weight": torch.zeros(1, 3, 3, 3)}, tmp_path / "shape.pth")
    with pytest.raises(UserError, match=r"shape.pth does not fit .*differs in shape 1: conv1.0.weight"):
        timm_teacher(NAME, str(tmp_path / "shape.pth"))
    headless = {name: t for name, t in model.state_dict().items() if not name.startswith("fc.")}
    torch.save(headless, tmp_path / "headless.pth")
    with pytest.raises(UserError, match=r"headless.pth: lacks fc.weight; teacher.features=true"):
        timm_teacher(NAME, str(tmp_path / "headless.pth"))
    assert timm_teacher(NAME, str(tmp_path / "headless.pth"), features=True).num_outputs == model.num_features


def test_a_size_that_the_model_cannot_take_is_refused(tmp_path: Path) -> None:
    name = "vit_tiny_patch16_224"
    options: dict[str, Any] = {"depth": 1, "embed_dim": 48, "num_heads": 1, "img_size": 64}
    torch.save(timm.create_model(name, **options).state_dict(), tmp_path / "vit.pth")
    assert timm_teacher(name, str(tmp_path / "vit.pth"), options=options, size=64).num_outputs == 1000
    with pytest.raises(UserError, match=rf"teacher timm {name}: cannot answer images of 96x96 pixels .*teacher.size"):
        timm_teacher(name, str(tmp_path / "vit.pth"), options=options, size=96)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet5"}, r"teacher.name='resnet5': timm .* has no such model; nearest: .*resnet5"),
        ({"path": "/no/such.pth"}, r"teacher.path=/no/such.pth: no such file; expected a state dict"),
        ({"path": "/"}, "teacher.path=/: is a folder"),
        ({"options": {"bogus": 1}}, r"teacher.options=\{'bogus': 1\}: timm builds no model"),
    ],
)
def test_what_timm_does_not_have_is_refused(
    arguments: dict[str, Any], message: str, model: Any, tmp_path: Path
) -> None:
    torch.save(model.state_dict(), tmp_path / "w.pth")
    with pytest.raises(ValueError, match=message):
        timm_teacher(**{"name": NAME, "path": str(tmp_path / "w.pth"), **arguments})


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_is_read_without_running_its_code(suffix: str, tmp_path: Path) -> None:
    marker, file = tmp_path / "exploded", tmp_path / f"weights{suffix}"
    torch.save({"state_dict": Bomb(marker)}, file)
    with pytest.raises(ValueError, match=r"weights.*refused, as nothing in a weight file is ever executed.*mkdir"):
        timm_teacher(NAME, str(file))
    assert not marker.exists()


def test_damaged_files(model: Any, tmp_path: Path) -> None:
    for save, name in ((torch.save, "w.pth"), (save_file, "w.safetensors")):
        save(model.state_dict(), tmp_path / name)
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(ValueError, match=rf"{name}: damaged or truncated"):
            timm_teacher(NAME, str(tmp_path / name))
