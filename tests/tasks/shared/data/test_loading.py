"""The order of an epoch, with one process and several, and batches."""

from typing import Any

import pytest
import torch
from lightning.fabric.utilities.apply_func import move_data_to_device
from torch.utils.data import Dataset

from tasks.shared.data import loading
from tasks.shared.data.loading import EpochBatches, EpochSampler, collate, default_workers, make_loader


class Numbers(Dataset):
    """Answers every (epoch, index) with itself, as a target."""

    def __init__(self, count: int):
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, dict[str, Any]]:
        return torch.zeros(3, 1, 1, dtype=torch.uint8), {"key": key}


def order(epoch: int, seed: int = 0, count: int = 20, shuffle: bool = True) -> list[tuple[int, int]]:
    sampler = EpochSampler(range(count), shuffle, seed)
    sampler.set_epoch(epoch)
    keys = list(sampler)
    assert len(keys) == len(sampler)
    return keys


def test_an_epoch_holds_every_index_once_with_its_number():
    keys = order(epoch=3)
    assert {epoch for epoch, _ in keys} == {3}
    assert sorted(index for _, index in keys) == list(range(20))
    assert all(type(value) is int for key in keys for value in key)


def test_the_order_depends_on_seed_and_epoch_alone():
    first = [index for _, index in order(epoch=3)]
    torch.rand(5)
    assert [index for _, index in order(epoch=3)] == first
    assert [index for _, index in order(epoch=4)] != first
    assert [index for _, index in order(epoch=3, seed=1)] != first
    assert first != list(range(20))


def test_iterating_twice_without_a_new_epoch_repeats_the_order():
    sampler = EpochSampler(range(20), True)
    assert list(sampler) == list(sampler)


def test_validation_keeps_the_order():
    assert order(epoch=2, shuffle=False, count=4) == [(2, 0), (2, 1), (2, 2), (2, 3)]


@pytest.fixture
def split_over(monkeypatch):
    """What each of `world` processes gets from a sampler that was made before they were started."""

    def split(sampler: EpochSampler, world: int) -> list[list[int]]:
        monkeypatch.setattr(loading.dist, "is_initialized", lambda: True)
        monkeypatch.setattr(loading.dist, "get_world_size", lambda: world)
        parts = []
        for rank in range(world):
            monkeypatch.setattr(loading.dist, "get_rank", lambda rank=rank: rank)
            parts.append([index for _, index in sampler])
            assert len(parts[-1]) == len(sampler)
        return parts

    return split


WORLDS = pytest.mark.parametrize(("world", "count"), [(3, 20), (2, 8), (4, 3), (3, 0)])


@WORLDS
def test_processes_share_an_epoch_without_overlap(split_over, world, count):
    parts = split_over(EpochSampler(range(count), True, 7), world)
    assert [len(part) for part in parts] == [count // world] * world  # training drops the remainder
    joined = [index for part in parts for index in part]
    assert len(set(joined)) == len(joined)


@WORLDS
def test_validation_over_processes_leaves_nothing_out(split_over, world, count):
    parts = split_over(EpochSampler(range(count), False), world)
    assert sorted(index for part in parts for index in part) == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_without_sharding_every_process_gets_everything(split_over):
    first, second = split_over(EpochSampler(range(9), True, 7, shard=False), 2)
    assert first == second
    assert sorted(first) == list(range(9))


def batches(count: int, size: int, train: bool, epoch: int = 0) -> list[list[tuple[int, int]]]:
    loader = make_loader(Numbers(count), size, train=train, resolution=1, workers=0)
    loader.batch_sampler.sampler.set_epoch(epoch)  # type: ignore[union-attr]
    return [[target["key"] for target in batch.targets] for batch in loader]


def test_the_loader_asks_for_epoch_and_index():
    assert batches(5, 2, train=False, epoch=6) == [[(6, 0), (6, 1)], [(6, 2), (6, 3)], [(6, 4)]]
    assert [key for batch in batches(6, 2, train=True, epoch=6) for key in batch] == order(6, count=6)


@pytest.mark.parametrize(
    ("count", "train", "sizes"),
    [(10, True, [4, 4]), (10, False, [4, 4, 2]), (4, True, [4]), (3, True, [3]), (3, False, [3])],
)
def test_only_training_drops_a_short_last_batch_unless_it_is_all(count, train, sizes):
    assert [len(batch) for batch in batches(count, 4, train)] == sizes


def test_a_short_share_of_a_process_is_a_batch_too(split_over):
    # Six images are a batch and a half for one process; a third of them is less than a batch, and kept.
    shares = split_over(EpochBatches(EpochSampler(range(6), True), 4, train=True), 3)
    assert [[len(batch) for batch in share] for share in shares] == [[2], [2], [2]]


def test_skipped_images_are_counted():
    image = (torch.zeros(3, 2, 2, dtype=torch.uint8), {"file": "a"})
    assert collate([None, image, None]).skipped == 2 and len(collate([None, image]).images) == 1
    nothing = collate([None, None])
    assert nothing.targets == [] and len(nothing.images) == 0 and nothing.skipped == 2


def test_lightning_moves_a_batch_with_the_tensors_of_its_targets() -> None:
    image, device = torch.zeros(3, 2, 2, dtype=torch.uint8), torch.device("meta")
    batch = collate([(image, {"file": "a", "size": (2, 2), "boxes": torch.zeros(1, 4)}), None])
    moved = move_data_to_device(batch, device)
    (target,) = moved.targets
    assert moved.images.device == target["boxes"].device == device
    assert (target["file"], target["size"], moved.skipped) == ("a", (2, 2), 1)
    assert batch.images.device.type == batch.targets[0]["boxes"].device.type == "cpu"


@pytest.mark.parametrize(("cores", "workers"), [(1, 0), (2, 0), (3, 2), (8, 7), (64, 8)])
def test_workers_leave_a_core_to_the_training_step(monkeypatch, cores, workers):
    monkeypatch.setattr(loading.os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert default_workers() == workers
