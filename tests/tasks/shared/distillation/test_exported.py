"""teacher=exported reads nothing and says what to do, and what it says works."""

import shlex
import subprocess
from pathlib import Path

import pytest
import torch
from torch import nn

from tasks.shared.distillation.exported import exported_teacher
from tasks.shared.distillation.onnx_model import onnx_teacher
from tasks.shared.errors import UserError


def test_no_file_is_looked_at() -> None:
    with pytest.raises(
        UserError, match=r'teacher.path=absent.pt2: programs of torch.export are not read.*"absent.onnx"'
    ):
        exported_teacher("absent.pt2", size=3, output="logits")


@pytest.mark.slow
def test_the_line_in_the_message_makes_a_teacher_of_the_program(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    program, images = tmp_path / "net.pt2", torch.rand(2, 3, 16, 16)
    torch.export.save(torch.export.export(net, (torch.randn(1, 3, 16, 16),)), program)
    with pytest.raises(UserError) as raised:
        exported_teacher(str(program))
    subprocess.run(shlex.split(str(raised.value).partition("by: ")[2]), check=True, capture_output=True)
    teacher = onnx_teacher(str(program.with_suffix(".onnx")), mean=None, std=None)
    torch.testing.assert_close(teacher((images * 255).byte()), net((images * 255).byte().float()))
