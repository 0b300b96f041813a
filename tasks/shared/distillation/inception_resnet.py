"""Inception-ResNet v1 (Szegedy et al. 2017, Figs. 10 to 15) as David Sandberg's facenet ends it: a last block without
activation, and one linear layer with batch norm. Layers have the names of the package facenet-pytorch, whose weight
files fit."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BN_EPS = 1e-3
WIDTH = 512  # of the embedding


class Conv(NamedTuple):
    """A convolution; padded, it keeps the size of the map. kernel: height and width."""

    channels: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padded: bool = True


def halving(channels: int) -> Conv:
    return Conv(channels, (3, 3), 2, padded=False)


STEM = {
    "conv2d_1a": halving(32),
    "conv2d_2a": Conv(32, (3, 3), padded=False),
    "conv2d_2b": Conv(64, (3, 3)),
    "maxpool_3a": None,
    "conv2d_3b": Conv(80),
    "conv2d_4a": Conv(192, (3, 3), padded=False),
    "conv2d_4b": halving(256),
}
# Their branches. What halves the map has a pooling branch besides; the others add to their input.
BLOCK_35 = ([Conv(32)], [Conv(32), Conv(32, (3, 3))], [Conv(32), Conv(32, (3, 3)), Conv(32, (3, 3))])
MIXED_6A = ([halving(384)], [Conv(192), Conv(192, (3, 3)), halving(256)])
BLOCK_17 = ([Conv(128)], [Conv(128), Conv(128, (1, 7)), Conv(128, (7, 1))])
MIXED_7A = ([Conv(256), halving(384)], [Conv(256), halving(256)], [Conv(256), Conv(256, (3, 3)), halving(256)])
BLOCK_8 = ([Conv(192)], [Conv(192), Conv(192, (1, 3)), Conv(192, (3, 1))])
Branches = Sequence[Sequence[Conv]]


class Unit(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, channels: int, conv: Conv):
        super().__init__()
        height, width = conv.kernel
        padding = (height // 2, width // 2) if conv.padded else (0, 0)
        self.conv = nn.Conv2d(channels, conv.channels, conv.kernel, conv.stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(conv.channels, eps=BN_EPS)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class Inception(nn.Module):
    """Branches beside each other, `branch0` and so on; a branch of one convolution is that alone."""

    def __init__(self, channels: int, branches: Branches):
        super().__init__()
        for number, convs in enumerate(branches):
            inputs = [channels, *(conv.channels for conv in convs[:-1])]
            units = [Unit(count, conv) for count, conv in zip(inputs, convs, strict=True)]
            self.add_module(f"branch{number}", units[0] if len(units) == 1 else nn.Sequential(*units))
        self.branches = len(branches)

    def beside(self, x: Tensor) -> list[Tensor]:
        return [self.get_submodule(f"branch{number}")(x) for number in range(self.branches)]


class Residual(Inception):
    """Adds `scale` times what its branches make to its input."""

    def __init__(self, channels: int, branches: Branches, scale: float, activated: bool = True):
        super().__init__(channels, branches)
        self.conv2d = nn.Conv2d(sum(convs[-1].channels for convs in branches), channels, 1)
        self.scale, self.activated = scale, activated

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.scale * self.conv2d(torch.cat(self.beside(x), 1))
        return F.relu(x) if self.activated else x


class Halving(Inception):
    """Branches and a pooling, which halve the map."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([*self.beside(x), F.max_pool2d(x, 3, 2)], 1)


class InceptionResnet(nn.Module):
    """Normalised images (B, 3, H, W), 160 pixels as trained -> embeddings (B, 512) of length 1."""

    def __init__(self) -> None:
        super().__init__()
        channels = 3
        for name, conv in STEM.items():
            self.add_module(name, nn.MaxPool2d(3, 2) if conv is None else Unit(channels, conv))
            channels = channels if conv is None else conv.channels
        self.repeat_1 = nn.Sequential(*(Residual(256, BLOCK_35, 0.17) for _ in range(5)))
        self.mixed_6a = Halving(256, MIXED_6A)
        self.repeat_2 = nn.Sequential(*(Residual(896, BLOCK_17, 0.10) for _ in range(10)))
        self.mixed_7a = Halving(896, MIXED_7A)
        self.repeat_3 = nn.Sequential(*(Residual(1792, BLOCK_8, 0.20) for _ in range(5)))
        self.block8 = Residual(1792, BLOCK_8, 1.0, activated=False)
        self.last_linear = nn.Linear(1792, WIDTH, bias=False)
        self.last_bn = nn.BatchNorm1d(WIDTH, eps=BN_EPS)

    def forward(self, x: Tensor) -> Tensor:
        for name in STEM:
            x = self.get_submodule(name)(x)
        x = self.mixed_6a(self.repeat_1(x))
        x = self.mixed_7a(self.repeat_2(x))
        x = self.block8(self.repeat_3(x))
        return F.normalize(self.last_bn(self.last_linear(x.mean((2, 3)))))
