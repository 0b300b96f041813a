"""Data loaders whose order and augmentation depend on (seed, epoch, index) alone."""

import logging
import os
import signal
from collections.abc import Iterator, Sized
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler

from tasks.shared.config.consent import asks_for
from tasks.shared.contract import Batch
from tasks.shared.errors import UserError
from tasks.shared.images.decode import collate_images
from tasks.shared.images.limits import max_megapixels, set_max_megapixels
from tasks.shared.processes.shared_memory import fitting_workers, hand_over

log = logging.getLogger(__name__)
LOOK = 30  # seconds of one wait for a batch; a process that was suspended meanwhile has lost one wait, not all
PATIENCE = 60  # waits until there is no hope, half an hour: a batch from a slow disk or network takes seconds


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, index), so that a data set can seed its augmentation without any state of its own.

    Training order is a permutation seeded by (seed, epoch): an epoch looks the same whether the run was
    interrupted before it or not. Under DDP with `shard` each process takes every world-th index; training drops
    the remainder, validation keeps it (the evaluator tells images apart by id).
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


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """Batches of an EpochSampler. In training an incomplete last one is dropped, unless it is all there is.

    Decided when asked, as a process's share is known only after DDP has started.
    """

    def __init__(self, sampler: EpochSampler, batch_size: int, train: bool):
        self.sampler, self.batch_size, self.train = sampler, batch_size, train

    def _batches(self) -> BatchSampler:
        drop_last = self.train and len(self.sampler) >= self.batch_size
        return BatchSampler(self.sampler, self.batch_size, drop_last)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return iter(self._batches())  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self._batches())


def default_workers() -> int:
    """Loader processes: none on one or two cores, where they would only take turns with the training step."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 0 if cores <= 2 else min(cores - 1, 8)


def loader_processes(workers: int | None) -> int:
    """`workers`, or where it is None as many as suit the machine."""
    if workers is None:
        return default_workers()
    most = max(os.cpu_count() or 1, 8)
    if workers > most and not asks_for("data.workers"):  # a file's word
        log.info("data.workers=%d: %d take their place, as this machine has no more cores", workers, most)
        return most
    return workers


def collate(items: list[tuple[Tensor, dict[str, Any]] | None]) -> Batch:
    """Skipped images are left out and counted; a batch of none has no images."""
    kept = [item for item in items if item is not None]
    if not kept:
        return Batch(torch.empty(0, 3, 1, 1, dtype=torch.uint8), [], len(items))
    images, targets = zip(*kept, strict=True)
    return hand_over(Batch(collate_images(list(images)), list(targets), len(items) - len(kept)))


class BatchLoader(DataLoader):
    """A DataLoader whose processes fit into shared memory, and whose batches are waited for with a limit.

    workers: None where the user leaves it to the machine. resolution: of its images.
    """

    def __init__(self, data: Dataset, batches: EpochBatches, workers: int | None, resolution: int, **options: Any):
        self.asked, self.resolution, self.begun = workers is not None, resolution, False
        wanted = self._fitting(loader_processes(workers), data, batches)
        options |= {"num_workers": wanted, "persistent_workers": wanted > 0, "timeout": LOOK if wanted else 0}
        super().__init__(data, batch_sampler=batches, **options)

    def _fitting(self, workers: int, data: Dataset, batches: EpochBatches) -> int:
        largest = min(batches.batch_size, len(data))  # type: ignore[arg-type]
        return fitting_workers(workers, largest, self.resolution, self.asked)

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        if not self.begun and dist.is_initialized():  # only now is it known how many processes share the memory
            self.num_workers = self._fitting(self.num_workers, self.dataset, self.batch_sampler)  # type: ignore[arg-type]
            self.timeout = LOOK if self.num_workers else 0
        self.begun = True
        return self._wait(super().__iter__())

    def _wait(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        waited = 0
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except RuntimeError as error:
                if not str(error).startswith("DataLoader timed out"):
                    raise
                waited += 1
                if waited == PATIENCE:
                    raise UserError(
                        f"data.workers={self.num_workers}: no batch for {LOOK * PATIENCE // 60} minutes; does "
                        "the disk or network that the images are on answer?"
                    ) from error
                continue
            waited = 0
            yield batch


def _begin(megapixels: float, worker: int) -> None:
    """In a loader process: what the command has set in its own, which a process that is spawned does not inherit."""
    set_max_megapixels(megapixels)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # of a terminal that is closed the main process tells; they follow


def make_loader(
    data: Dataset,
    batch_size: int,
    *,
    train: bool,
    resolution: int,
    seed: int = 0,
    workers: int | None = None,
    shard: bool = True,
) -> DataLoader:
    """A loader of `Batch` over `data`, which is asked for (epoch, index) and answers with an image and its target dict,
    or None for an image to skip. `workers` None: chosen from the machine. resolution: of the images, for the room that
    they take.

    Raises UserError where the loader processes that the user asks for have no room for their batches.
    """
    sampler = EpochSampler(data, shuffle=train, seed=seed, shard=shard)  # type: ignore[arg-type]
    return BatchLoader(
        data,
        EpochBatches(sampler, batch_size, train),
        workers,
        resolution,
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=partial(_begin, max_megapixels()),
    )
