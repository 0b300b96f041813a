"""Inception-ResNet v1, and FaceNet as a teacher."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backbone import count_cost
from tasks.shared.distillation.facenet import facenet_teacher
from tasks.shared.distillation.inception_resnet import BLOCK_17, InceptionResnet, Residual
from tasks.shared.errors import UserError


def randomised(module: nn.Module) -> Any:
    """With statistics of batch norms that are not the initial ones."""
    generator = torch.Generator().manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor in (part.weight, part.running_var):
                nn.init.uniform_(tensor, 0.5, 2, generator=generator)  # type: ignore[arg-type]
    return module.eval()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As facenet-pytorch publishes them: with the classifier that they were trained with."""
    torch.manual_seed(0)
    state = randomised(InceptionResnet()).state_dict()
    file = tmp_path_factory.mktemp("facenet") / "faces.pt"
    torch.save(state | {"logits.weight": torch.zeros(9, 512), "logits.bias": torch.zeros(9)}, file)
    return file


def test_parameters_and_cost() -> None:
    """23,482,624 parameters has facenet-pytorch's network without its classifier."""
    with torch.device("meta"):
        cost = count_cost(InceptionResnet(), 160)
    assert cost.parameters == 23_482_624
    assert cost.mult_adds == 1_417_662_304


@pytest.mark.parametrize(
    ("side", "maps"), [(299, [(256, 35), (896, 17), (1792, 8)]), (160, [(256, 17), (896, 8), (1792, 3)])]
)
def test_maps_have_the_papers_sizes(side: int, maps: list[tuple[int, int]]) -> None:
    """Fig. 15 of Szegedy et al. has 35, 17 and 8 at 299 pixels."""
    seen = []
    with torch.device("meta"):
        net = InceptionResnet().eval()
        for part in (net.repeat_1, net.repeat_2, net.repeat_3):
            part.register_forward_hook(lambda _, __, made: seen.append(tuple(made.shape[1:])))
        assert net(torch.empty(2, 3, side, side)).shape == (2, 512)
    assert seen == [(channels, grid, grid) for channels, grid in maps]


def test_a_block_against_its_parts() -> None:
    torch.manual_seed(0)
    block = randomised(Residual(32, BLOCK_17, 0.1))
    x = torch.randn(2, 32, 9, 9)
    state = block.state_dict()

    def unit(x: Tensor, name: str, padding: tuple[int, int]) -> Tensor:
        x = F.conv2d(x, state[f"{name}.conv.weight"], padding=padding)
        mean, var, weight, bias = (
            state[f"{name}.bn.{key}"] for key in ("running_mean", "running_var", "weight", "bias")
        )
        shaped = [t[:, None, None] for t in (mean, var, weight, bias)]
        return ((x - shaped[0]) / (shaped[1] + 0.001).sqrt() * shaped[2] + shaped[3]).clamp(min=0)

    first = unit(x, "branch0", (0, 0))
    second = unit(unit(unit(x, "branch1.0", (0, 0)), "branch1.1", (0, 3)), "branch1.2", (3, 0))
    added = F.conv2d(torch.cat([first, second], 1), state["conv2d.weight"], state["conv2d.bias"])
    with torch.no_grad():
        torch.testing.assert_close(block(x), (x + 0.1 * added).clamp(min=0))
        block.activated = False
        torch.testing.assert_close(block(x), x + 0.1 * added)


def test_the_teacher_embeds_faces(weights: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        teacher = facenet_teacher(str(weights))
    assert "left out logits.weight, logits.bias" in caplog.text
    assert (teacher.size, teacher.num_outputs, teacher.name) == ((160, 160), 512, "facenet faces.pt")
    assert teacher.cost() == (1_417_662_304, 23_482_624)
    images = torch.randint(0, 256, (2, 3, 160, 160), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    net = InceptionResnet().eval()
    state = torch.load(weights, weights_only=True)
    net.load_state_dict({name: tensor for name, tensor in state.items() if not name.startswith("logits")})
    with torch.no_grad():
        wanted = net((images.float() - 127.5) / 128)
    answers = teacher(images)
    torch.testing.assert_close(answers, wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(answers.norm(dim=1), torch.ones(2))
    assert not torch.allclose(answers[0], answers[1])


def test_other_weights_are_refused(weights: Path, tmp_path: Path) -> None:
    state = torch.load(weights, weights_only=True)
    del state["mixed_6a.branch1.2.bn.bias"]
    torch.save(state, tmp_path / "less.pt")
    with pytest.raises(UserError, match=r"less.pt does not fit .*lacks 1: mixed_6a.branch1.2.bn.bias"):
        facenet_teacher(str(tmp_path / "less.pt"))
    torch.save({"classifier.weight": torch.zeros(2, 2)}, tmp_path / "other.pt")
    with pytest.raises(UserError, match=r"other.pt does not fit .*has, but the network lacks 1: classifier.weight"):
        facenet_teacher(str(tmp_path / "other.pt"))
