"""A network in PyTorch behind a teacher."""

import torch
from torch import Tensor, nn

from backbone import count_cost


class ModuleNetwork:
    """Any nn.Module that answers images with numbers, frozen and in evaluation mode.

    size: height and width of its images, for what it costs.
    """

    def __init__(self, module: nn.Module, size: tuple[int, int]):
        self.module = module.eval().requires_grad_(False)
        self.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.size = size

    def to(self, device: torch.device) -> None:
        self.module.to(device)

    def __call__(self, images: Tensor) -> Tensor:
        return self.module(images.contiguous(memory_format=torch.channels_last))

    def cost(self) -> tuple[int, int]:
        cost = count_cost(self.module, self.size)
        return cost.mult_adds, cost.parameters
