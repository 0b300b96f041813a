"""An exponential moving average of a network's weights."""

import copy
from functools import lru_cache
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

Network = TypeVar("Network", bound=nn.Module)
averaging = lru_cache(1)(get_ema_multi_avg_fn)  # after the warm-up it is the same at every step


def _forget_count(ema: nn.Module, _: Any) -> None:
    ema._count = None  # type: ignore[assignment]  # the loaded `updates` counts


class Ema(nn.Module, Generic[Network]):
    """A second network whose weights trail the trained one's; it is the one that is validated and kept.

    decay: of the average, 0 to below 1. It warms up as (1 + n) / (10 + n) after n updates, TensorFlow's `num_updates`,
    so that a short run is not an average of its first steps. Batch-norm statistics are averaged too, counters copied.
    """

    updates: Tensor
    network: Network

    def __init__(self, network: Network, decay: float):
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.decay = decay
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self._count: int | None = None  # `updates` on the host, so that a step does not wait for the device
        self.register_load_state_dict_post_hook(_forget_count)

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        count = int(self.updates) if self._count is None else self._count
        decay = min(self.decay, (1 + count) / (10 + count))
        trained = [*network.parameters(), *network.buffers()]
        averaged = [*self.network.parameters(), *self.network.buffers()]
        pairs = list(zip(averaged, trained, strict=True))
        floating = [(a, t) for a, t in pairs if a.is_floating_point()]
        averaging(decay)([a for a, _ in floating], [t for _, t in floating], None)  # in one operator
        for a, t in pairs:
            if not a.is_floating_point():
                a.copy_(t)
        self.updates += 1
        self._count = count + 1

    def train(self, mode: bool = True) -> "Ema":
        """Stays in eval mode, whatever the trained network is told."""
        return super().train(False)
