"""What the Lightning module does itself that Lightning would do otherwise."""

from typing import Any

import pytest
import torch
from torch import nn

from tasks.shared.training.module import TrainingModule
from tasks.shared.training.optim import make_optimizer
from tests.runs import composed_run


@pytest.mark.parametrize(("limit", "norm"), [(1.0, 1.0), (100.0, 5.0), (None, 5.0), (0, 5.0)])
def test_gradients_are_clipped_for_fused_optimizers_too(limit: float | None, norm: float) -> None:
    task: Any = nn.Linear(1, 1)
    task.weight.grad, task.bias.grad = torch.tensor([[3.0]]), torch.tensor([4.0])
    module = TrainingModule(task, None, composed_run("trainer.ema_decay=null"), {}, 1, None)  # type: ignore[arg-type]
    optimizer = make_optimizer(task, "adamw", 0.1, 0.0)
    assert optimizer.defaults["fused"]
    module.configure_gradient_clipping(optimizer, limit)
    assert torch.cat([task.weight.grad.flatten(), task.bias.grad]).norm().item() == pytest.approx(norm, rel=1e-5)
