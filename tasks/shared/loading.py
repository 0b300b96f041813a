"""Data loaders whose order and augmentation depend on (seed, epoch, index) alone."""

import os
from collections.abc import Callable, Iterator, Sized
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, Dataset, Sampler


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, index), so that a data set can seed its augmentation without any state of its own.

    Training order is a permutation seeded by (seed, epoch): an epoch looks the same whether the run was
    interrupted before it or not. Under DDP with `shard` each process takes every world-th index; training drops
    the remainder, validation keeps it (the evaluator tells pictures apart by id).
    """

    def __init__(self, data: Sized, shuffle: bool, seed: int = 0, shard: bool = True):
        self.data, self.shuffle, self.seed, self.epoch, self.shard = data, shuffle, seed, 0, shard

    def _share(self) -> tuple[int, int]:
        """(rank, number of processes); asked late, as the loader is made before Lightning starts them."""
        return (dist.get_rank(), dist.get_world_size()) if self.shard and dist.is_initialized() else (0, 1)

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before every epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[int, int]]:
        count, (rank, world) = len(self.data), self._share()
        order = np.arange(count)
        if self.shuffle:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(count)
            order = order[: count // world * world]
        return ((self.epoch, int(index)) for index in order[rank::world])

    def __len__(self) -> int:
        count, (rank, world) = len(self.data), self._share()
        return count // world if self.shuffle else len(range(rank, count, world))


def default_workers() -> int:
    """Loader processes: none on one or two cores, where they would only take turns with the training step."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 0 if cores <= 2 else min(cores - 1, 8)


def make_loader(
    data: Dataset,
    batch_size: int,
    collate: Callable[[list[Any]], Any],
    *,
    train: bool,
    seed: int,
    workers: int | None,
    shard: bool = True,
) -> DataLoader:
    """A loader over `data`, whose items are asked for as (epoch, index).

    In training an incomplete last batch is dropped, unless it is all there is. `workers` None: chosen from the machine.
    """
    workers = default_workers() if workers is None else workers
    sampler = EpochSampler(data, shuffle=train, seed=seed, shard=shard)  # type: ignore[arg-type]
    return DataLoader(
        data,
        batch_size,
        sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        drop_last=train and len(sampler) >= batch_size,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=workers > 0,
    )
