"""Networks whose every tensor is random."""

from typing import Any

import torch
from torch import nn


def randomize(net: Any, seed: int = 0) -> Any:
    """Weights and statistics that no two tensors share."""
    torch.manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            mean, variance, _ = module.buffers()
            nn.init.normal_(mean, std=0.5)
            nn.init.uniform_(variance, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias, std=0.5)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.1)
            nn.init.normal_(module.bias)
    return net.eval()
