"""An initialisation that lets pictures through a deep network without shortcuts."""

import torch
from torch import nn

NOISE = 0.1  # of the depthwise filters around the identity


@torch.no_grad()
def isometric_init(network: nn.Module) -> None:
    """Start every convolution that batch norm follows (without bias) close to an isometry.

    Depthwise filters are the identity plus noise, pointwise ones orthogonal, full ones He's normal; after Xiao et al.
    2018 (arXiv:1806.05393). From the published init (normal, 0.09) two pictures look much alike after MobileNet's 27
    layers, and training from scratch spends its first thousand steps on undoing that. A deviation from the paper,
    for short runs.
    """
    for module in network.modules():
        if not isinstance(module, nn.Conv2d) or module.bias is not None:
            continue
        rows, columns = module.kernel_size
        if module.groups == module.in_channels > 1:
            nn.init.normal_(module.weight, std=NOISE)
            module.weight[:, :, rows // 2, columns // 2] += 1
        elif (rows, columns) == (1, 1):
            nn.init.orthogonal_(module.weight)
        else:
            nn.init.kaiming_normal_(module.weight)
