"""An exponential moving average of a network's weights."""

import copy
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


class Ema(nn.Module, Generic[Network]):
    """A second network whose weights trail the trained one's; it is the one that is validated and kept.

    decay: of the average. It warms up as (1 + n) / (10 + n) after n updates, TensorFlow's `num_updates`, so that
    a short run is not an average of its first steps. Batch-norm statistics are averaged too, counters copied.
    """

    updates: Tensor
    network: Network

    def __init__(self, network: Network, decay: float):
        super().__init__()
        if not 0 <= decay < 1:
            raise ValueError(f"trainer.ema_decay={decay}; expected 0 up to below 1, or null for none")
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.decay = decay
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self._count: int | None = None  # `updates` on the host, so that a step does not wait for the device

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        count = int(self.updates) if self._count is None else self._count
        decay = min(self.decay, (1 + count) / (10 + count))
        trained = [*network.parameters(), *network.buffers()]
        averaged = [*self.network.parameters(), *self.network.buffers()]
        pairs = list(zip(averaged, trained, strict=True))
        floating = [(a, t) for a, t in pairs if a.is_floating_point()]
        torch._foreach_lerp_([a for a, _ in floating], [t for _, t in floating], 1 - decay)
        for a, t in pairs:
            if not a.is_floating_point():
                a.copy_(t)
        self.updates += 1
        self._count = count + 1

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._count = None  # the loaded `updates` counts

    def train(self, mode: bool = True) -> "Ema":
        """Stays in eval mode, whatever the trained network is told."""
        return super().train(False)
