"""Loader processes and the room for their batches; what is told of those that are lost."""

import os
import signal
import time
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset

from tasks.shared.data import loading
from tasks.shared.data.loading import make_loader
from tasks.shared.errors import UserError
from tasks.shared.processes import shared_memory
from tasks.shared.processes.failures import cause_of, going_on_from
from tasks.shared.processes.shared_memory import BESIDE, fitting_workers

MB = 2**20


class Grey(Dataset):
    """Images of `side` pixels. trouble: called by the process that makes the third."""

    def __init__(self, count: int = 8, side: int = 8, trouble: Any = None):
        self.count, self.side, self.trouble = count, side, trouble

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, dict[str, Any]]:
        if key[1] == 2 and self.trouble is not None:
            self.trouble()
        image = torch.full((3, self.side, self.side), key[1], dtype=torch.uint8)
        return image, {"file": str(key[1]), "boxes": torch.full((2, 4), float(key[1])), "labels": torch.zeros(0)}


def loader(data: Grey, workers: int | None = 1, size: int = 2) -> Any:
    return make_loader(data, size, train=False, resolution=data.side, workers=workers)


@pytest.mark.parametrize(
    ("free", "workers", "fitting"),
    [(None, 8, 8), (10**12, 8, 8), (64 * MB, 8, 5), (21 * MB, 8, 1), (19 * MB, 8, 0), (0, 8, 0), (0, 0, 0)],
)
def test_as_many_workers_as_have_room(monkeypatch: pytest.MonkeyPatch, free: int, workers: int, fitting: int) -> None:
    """A batch takes 5.02 MB: 64 MB hold twelve, which are those of five processes and two more."""
    monkeypatch.setattr(shared_memory, "free_bytes", lambda: free)
    size = (5 * MB) // (3 * 224**2)  # images a batch
    assert size * (3 * 224**2 + BESIDE) < 5.2 * MB
    assert fitting_workers(workers, size, 224, asked=False) == fitting


def test_who_asks_for_more_is_told_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "free_bytes", lambda: 64 * MB)
    with pytest.raises(
        UserError, match=r"data\.workers=2: loader processes need 111 MB.*64 MB are free; give data\.workers=0"
    ):
        make_loader(Grey(1000, 224), 126, train=True, resolution=224, workers=2)
    assert loader(Grey(8, 224), workers=2, size=126).num_workers == 2, "there are not as many images"


@pytest.mark.skipif(shared_memory.free_bytes() is None, reason="no such limit here")
def test_what_is_free_is_what_the_system_says() -> None:
    room = os.statvfs("/dev/shm")
    assert shared_memory.free_bytes() == pytest.approx(room.f_bavail * room.f_frsize, abs=64 * MB)


def test_batches_come_through_shared_memory_as_they_were_made() -> None:
    here, there = (list(loader(Grey(), workers)) for workers in (0, 1))
    for ours, theirs in zip(here, there, strict=True):
        assert theirs.images.is_shared() and theirs.targets[0]["boxes"].is_shared() and not ours.images.is_shared()
        assert torch.equal(ours.images, theirs.images) and ours.images.stride() == theirs.images.stride()
        for mine, its in zip(ours.targets, theirs.targets, strict=True):
            assert mine["file"] == its["file"] and torch.equal(mine["boxes"], its["boxes"])


def test_a_batch_that_found_no_room_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was lost in a thread of the loader process, and the main process waited for ever."""

    def full(*_: Any) -> None:
        raise RuntimeError(
            "unable to allocate shared memory(shm) for file </torch_1_2_3>: No space left on device (28)"
        )

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    with pytest.raises(RuntimeError) as caught:
        list(loader(Grey()))
    assert (cause := cause_of(caught.value)) and "/dev/shm" in cause and "data.workers" in cause and "\n" not in cause


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGBUS])
def test_a_killed_loader_process_is_told(kill: signal.Signals) -> None:
    with pytest.raises(RuntimeError) as caught:
        list(loader(Grey(trouble=lambda: os.kill(os.getpid(), kill))))
    assert (cause := cause_of(caught.value)) and "data.workers" in cause and "\n" not in cause


def test_waiting_for_a_batch_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "LOOK", 1)
    monkeypatch.setattr(loading, "PATIENCE", 2)
    with pytest.raises(UserError, match=r"data\.workers=1: no batch"):
        list(loader(Grey(trouble=lambda: time.sleep(4))))


def test_a_batch_that_comes_late_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "LOOK", 1)
    batches = list(loader(Grey(trouble=lambda: time.sleep(2.5))))
    assert [target["file"] for batch in batches for target in batch.targets] == [str(k) for k in range(8)]


TOLD = {
    "batch_size": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ..."),
    "keep_gb": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you"
    ),
    "resolution": MemoryError(),
    "workers": OSError(12, "Cannot allocate memory"),
    "ulimit -n": RuntimeError("received 0 items of ancdata"),
}


@pytest.mark.parametrize(("key", "error"), TOLD.items(), ids=TOLD)
def test_no_memory_names_the_key_to_turn_and_how_to_go_on(key: str, error: Exception, tmp_path: Any) -> None:
    with pytest.raises(UserError) as told, going_on_from(tmp_path):
        raise error
    assert key in str(told.value) and "\n" not in str(told.value) and "resume=" not in str(told.value)
    (tmp_path / "config.yaml").touch()
    with (
        pytest.raises(UserError, match=f"go on with: python tools/train.py resume={tmp_path}"),
        going_on_from(tmp_path),
    ):
        raise error


@pytest.mark.parametrize(
    "error", [RuntimeError("shape '[2]' is invalid"), OSError(28, "No space left"), ValueError("x")]
)
def test_other_errors_stay_what_they_are(error: Exception, tmp_path: Any) -> None:
    with pytest.raises(type(error)) as caught, going_on_from(tmp_path):
        raise error
    assert caught.value is error and cause_of(error) is None
