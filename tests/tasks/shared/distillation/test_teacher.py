"""What all teachers have in common, on networks that are a line long."""

import logging
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tasks.shared.distillation.module_network import ModuleNetwork
from tasks.shared.distillation.teacher import Teacher, fixed_size, read_size
from tasks.shared.errors import UserError


class Line:
    """A network that `answer` is the whole of."""

    def __init__(self, answer: Callable[[Tensor], Any]):
        self.answer = answer
        self.devices: list[torch.device] = []

    def to(self, device: torch.device) -> None:
        self.devices.append(device)

    def __call__(self, images: Tensor) -> Any:
        return self.answer(images)

    def cost(self) -> None:
        return None


def corner(images: Tensor) -> Tensor:
    """The upper left pixel's three channels."""
    return images[:, :, 0, 0]


def teacher_of(answer: Callable[[Tensor], Any] = corner, **options: Any) -> Teacher:
    return Teacher(Line(answer), **{"name": "line", "size": (4, 6), "content": "abc", **options})


def batch(count: int = 3) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, 3, 4, 6), np.uint8))


def test_pixels_are_normalised_channel_by_channel() -> None:
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.25, 0.125]
    images = batch()
    pixels = images[:, :, 0, 0].double().numpy() / 255
    wanted = (pixels - mean) / std
    np.testing.assert_allclose(teacher_of(mean=mean, std=std)(images), wanted, rtol=1e-5, atol=1e-6)
    turned = (pixels[:, ::-1] - mean) / std
    np.testing.assert_allclose(teacher_of(mean=mean, std=std, channels="bgr")(images), turned, rtol=1e-5, atol=1e-6)
    assert torch.equal(teacher_of()(images), images[:, :, 0, 0].float()), "null: 0 to 255, as floats"


def test_probabilities_become_logits_of_at_most_15() -> None:
    answers = torch.tensor([[0.0, 1.0, 0.5, 0.2, 1 - 1e-6, 1 + 1e-6]])
    teacher = teacher_of(lambda x: answers.expand(len(x), -1), output="probabilities")
    logits = teacher(batch(2))
    assert logits[1].tolist() == pytest.approx([-15, 15, 0, math.log(0.2 / 0.8), 13.8, 15], abs=0.1)
    for output in ("as_is", "logits", None):
        assert torch.equal(teacher_of(lambda x: answers.expand(len(x), -1), output=output)(batch(1)), answers)


def test_what_is_no_probability_is_refused() -> None:
    with pytest.raises(UserError, match=r"teacher.output=probabilities: teacher line answers -2 to 3; expected 0 to 1"):
        teacher_of(lambda x: torch.tensor([[3.0, -2.0]]).expand(len(x), -1), output="probabilities")(batch())


@pytest.mark.parametrize(("output", "warned"), [("logits", 1), ("as_is", 0)])
def test_logits_that_look_like_probabilities_are_told_once(
    output: str, warned: int, caplog: pytest.LogCaptureFixture
) -> None:
    teacher = teacher_of(lambda x: corner(x).float() / 255, output=output)
    with caplog.at_level(logging.WARNING):
        teacher(batch())
        teacher(batch())
    assert caplog.text.count("teacher.output=probabilities") == warned


def test_answers_are_float32_without_gradient_autocast_or_inference_mode() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(72, 5))
    images = batch()
    with torch.no_grad():
        wanted = net[2](images.float().flatten(1) / 255 * 4 - 2)
    for p in net.parameters():
        assert p.requires_grad
    teacher = teacher_of(mean=[0.5] * 3, std=[0.25] * 3)
    teacher = Teacher(ModuleNetwork(net, (4, 6)), name="n", size=(4, 6), content="", mean=[0.5] * 3, std=[0.25] * 3)
    assert not net.training and not any(p.requires_grad for p in net.parameters())
    with torch.autocast("cpu", torch.bfloat16):
        answers = teacher(images)
    assert answers.dtype == torch.float32 and not answers.requires_grad
    torch.testing.assert_close(answers, wanted)
    with torch.inference_mode():
        inside = teacher(images)
    student = torch.zeros(3, 5, requires_grad=True)
    (student * inside).sum().backward()  # an inference tensor would be refused here
    assert torch.equal(inside, answers) and torch.equal(student.grad, answers)  # type: ignore[arg-type]


def test_it_is_no_module_so_that_nothing_saves_or_trains_it() -> None:
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            net = nn.Sequential(nn.Flatten(), nn.Linear(72, 5))
            self.teacher = Teacher(
                ModuleNetwork(net, (4, 6)), name="n", size=(4, 6), content="", mean=[0] * 3, std=[1] * 3
            )

    assert not list(Holder().parameters()) and not Holder().state_dict()


def test_any_number_of_images() -> None:
    def some(images: Tensor) -> Tensor:
        assert len(images)  # many networks fail on none
        return corner(images).float()

    teacher = teacher_of(some)
    assert teacher.num_outputs == 3
    for count in (0, 1, 5):
        assert teacher(batch(count)).shape == (count, 3)
    with pytest.raises(ValueError, match=r"teacher line: got \(3, 3, 6, 4\); expected \(B, 3, 4, 6\)"):
        teacher(batch().transpose(2, 3))


def test_half_precision_answers_become_float32() -> None:
    assert teacher_of(lambda x: corner(x).half())(batch()).dtype == torch.float32


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: (x, x), "answers with tuple"),
        (lambda x: x.float(), r"answers 2 images with \(2, 3, 4, 6\) numbers of torch.float32"),
        (lambda x: torch.zeros(1, 5), r"answers 2 images with \(1, 5\)"),
        (lambda x: torch.zeros(2, 0), r"with \(2, 0\)"),
        (lambda x: corner(x).long(), "numbers of torch.int64"),
        (lambda x: x.float() @ torch.zeros(7, 2), "cannot answer images of 4x6 pixels .* teacher.size"),
    ],
)
def test_answers_of_another_kind_are_refused_with_what_came(answer: Callable[[Tensor], Any], message: str) -> None:
    with pytest.raises(UserError, match=rf"teacher line: .*{message}"):
        teacher_of(answer)


def test_numbers_that_are_not_finite_are_counted() -> None:
    teacher = teacher_of(lambda x: corner(x).float())
    teacher.network = Line(lambda x: torch.tensor([[1.0, 2.0, 3.0], [1.0, math.nan, 3.0], [math.inf, math.nan, 0.0]]))
    with pytest.raises(UserError, match=r"teacher line: 2 of 3 answers hold numbers that are not finite"):
        teacher(batch())


def test_it_follows_the_images_to_their_device() -> None:
    line = Line(lambda x: torch.zeros(len(x), 3, device=x.device))
    teacher = Teacher(line, name="line", size=(4, 6), content="", mean=[0.5] * 3, std=[0.5] * 3)
    teacher(batch())
    assert line.devices == []
    teacher._move(torch.device("meta"))
    assert line.devices == [torch.device("meta")]
    assert teacher.normalize is not None and teacher.normalize.mean.device.type == "meta"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_it_answers_as_on_the_cpu() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5))
    teacher = Teacher(ModuleNetwork(net, (4, 6)), name="n", size=(4, 6), content="", mean=[0.5] * 3, std=[0.5] * 3)
    here = teacher(batch())
    there = teacher(batch().cuda())
    assert there.device.type == "cuda"
    torch.testing.assert_close(there.cpu(), here, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(teacher(batch()), here)


def test_the_fingerprint_changes_with_all_that_changes_answers() -> None:
    given: dict[str, Any] = {"mean": [0.5] * 3, "std": [0.5] * 3}
    changes: list[dict[str, Any]] = [
        {}, {"content": "abd"}, {"mean": [0.5, 0.5, 0.4]}, {"std": [0.5, 0.5, 0.4]}, {"size": (6, 4)},
        {"channels": "bgr"}, {"output": "logits"}, {"mean": None, "std": None},
    ]  # fmt: skip
    prints = [teacher_of(lambda x: corner(x).float(), **{**given, **change}).fingerprint for change in changes]
    assert len(set(prints)) == len(changes)
    assert prints[0] == teacher_of(lambda x: corner(x).float(), **given, name="other").fingerprint


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": "gbr"}, "teacher.channels='gbr'; expected one of rgb, bgr"),
        ({"output": "sigmoid"}, "teacher.output='sigmoid'; expected one of logits, probabilities, as_is"),
        ({"mean": [127, 127, 127], "std": [1, 1, 1]}, r"teacher.mean=\[127, 127, 127\]; expected three numbers from 0"),
        ({"mean": [0.5] * 3, "std": [0.5, 0.5, 0]}, r"teacher.std=\[0.5, 0.5, 0\]; expected three numbers"),
        ({"mean": [0.5] * 3, "std": [0.5, 0.5]}, r"teacher.std=\[0.5, 0.5\]"),
        ({"mean": 0.5, "std": 0.5}, "teacher.mean=0.5; expected three"),
        ({"mean": ["a", 0, 0], "std": [1] * 3}, "teacher.mean="),
        ({"mean": [0.5] * 3}, r"teacher.mean=\[0.5, 0.5, 0.5\], teacher.std=None; expected both, or null"),
    ],
)
def test_values_outside_their_range_are_refused_by_key(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        teacher_of(**options)


def test_class_names_are_kept_where_there_are_as_many() -> None:
    named = {"answer": lambda x: corner(x).float()}
    assert teacher_of(**named, class_names=["a", "b", "c"]).class_names == ["a", "b", "c"]
    assert teacher_of(**named, class_names=["a", "b"]).class_names is None


def test_sizes() -> None:
    assert read_size(None, (5, 7)) == (5, 7)
    assert read_size(160, None) == (160, 160) == fixed_size(160, (160, 160)) == fixed_size(None, (160, 160))
    assert read_size([96, 64], (5, 7)) == (96, 64)
    for wrong in (0, 1.5, "a", [1], [1, 2, 3], [1, 0], True):
        with pytest.raises(UserError, match=r"teacher.size="):
            read_size(wrong, (5, 7))  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"teacher.size is not set"):
        read_size(None, None)
    with pytest.raises(UserError, match=r"teacher.size=64: the file takes 5x7 pixels"):
        fixed_size(64, (5, 7))
