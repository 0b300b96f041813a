"""Room for the batches that loader processes hand over: Linux' shared memory, which containers have little of."""

import logging
import os
import sys
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch import Tensor
from torch.utils.data import get_worker_info

from tasks.shared.contract import Batch
from tasks.shared.errors import UserError

log = logging.getLogger(__name__)
PLACE = Path("/dev/shm")
PREFETCHED = 2  # batches that each loader process has ready or in the making
HELD = 2  # batches that the main process has taken: the one it works on, and the one it loads to its device
BESIDE = 4096  # bytes an image for the tensors among its targets, each at least a page


def free_bytes() -> int | None:
    """Bytes that are free in shared memory; None where there is no such limit to ask for."""
    if sys.platform != "linux":
        return None
    try:
        room = os.statvfs(PLACE)
    except OSError:
        return None
    return room.f_bavail * room.f_frsize


def fitting_workers(workers: int, batch_size: int, resolution: int, asked: bool) -> int:
    """`workers`, or as many fewer as have room in shared memory for what they hold.

    Each process that trains with this one has as many. asked: the user gave that number, so UserError says what it
    needs; else the log does.
    """
    free = free_bytes()
    if not workers or free is None:
        return workers
    processes = dist.get_world_size() if dist.is_initialized() else 1
    batch = batch_size * (3 * resolution**2 + BESIDE) * processes
    if free >= _needed(workers, batch):
        return workers
    fitting = max((free // batch - HELD) // PREFETCHED, 0)
    message = f"loader processes need {_mb(_needed(workers, batch))} of {PLACE}, where {_mb(free)} are free"
    if asked:
        raise UserError(
            f"data.workers={workers}: {message}; give data.workers={fitting}, smaller batches "
            f"(data.batch_size, data.val_batch_size), or more of it (docker run --shm-size)"
        )
    log.warning(
        "data.workers: %d %s; %d take their place (docker run --shm-size gives more)", workers, message, fitting
    )
    return fitting


def _needed(workers: int, batch: int) -> int:
    return (workers * PREFETCHED + HELD) * batch


def _mb(count: int) -> str:
    return f"{count / 2**20:,.0f} MB"


def hand_over(batch: Batch) -> Batch:
    """In a loader process: its tensors in shared memory, where they would get anyway, but later, in a thread.

    What fails there, for want of room or of open files, is printed and lost, and the main process waits for ever; from
    here it is told.
    """
    if get_worker_info() is not None:
        _share(batch.images)
        for target in batch.targets:
            for value in target.values():
                _share(value)
    return batch


def _share(value: Any) -> None:
    if isinstance(value, Tensor) and value.numel():
        value.share_memory_()
