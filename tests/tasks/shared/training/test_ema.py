"""The moving average, worked by hand, and resumed."""

import copy

import pytest
import torch
from torch import nn

from tasks.shared.training.ema import Ema


def set_to(network: nn.Module, value: float) -> None:
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(value)


def small() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))


def test_the_first_updates_warm_up():
    network = small()
    set_to(network, 0)
    ema = Ema(network, 0.9)
    expected = 0.0
    for count, value in enumerate([8.0, 2.0, -4.0]):
        set_to(network, value)
        ema.update(network)
        decay = (1 + count) / (10 + count)  # 1/10, 2/11, 3/12
        expected = decay * expected + (1 - decay) * value
        for parameter in ema.network.parameters():
            torch.testing.assert_close(parameter, torch.full_like(parameter, expected))
    # 7.2; 2/11 * 7.2 + 9/11 * 2; a quarter of that - 3
    assert expected == pytest.approx((7.2 * 2 / 11 + 18 / 11) / 4 - 3)


def test_after_the_warm_up_the_decay_holds():
    network = small()
    set_to(network, 1)
    ema = Ema(network, 0.5)
    for _ in range(8):  # (1 + 8) / (10 + 8) is 0.5
        ema.update(network)
    for expected in (0.5, 0.25, 0.125):
        set_to(network, 0)
        ema.update(network)
        for parameter in ema.network.parameters():
            torch.testing.assert_close(parameter, torch.full_like(parameter, expected))


def test_a_decay_of_zero_follows_at_once():
    network = small()
    ema = Ema(network, 0.0)
    set_to(network, 3)
    ema.update(network)
    assert all((p == 3).all() for p in ema.network.parameters())


def test_norm_statistics_are_averaged_and_counters_copied():
    network = small()
    ema = Ema(network, 0.9)
    network.train()(torch.randn(16, 2) + 5)
    network(torch.randn(16, 2) + 5)
    ema.update(network)
    trained, averaged = dict(network.named_buffers()), dict(ema.network.named_buffers())
    # A tenth of what was before stays: of mean 0 and variance 1.
    torch.testing.assert_close(averaged["1.running_mean"], 0.9 * trained["1.running_mean"])
    torch.testing.assert_close(averaged["1.running_var"], 0.1 + 0.9 * trained["1.running_var"])
    assert averaged["1.num_batches_tracked"].item() == 2


def test_the_average_is_a_copy_in_eval_mode_that_nothing_trains():
    network = small()
    before = copy.deepcopy(network.state_dict())
    ema = Ema(network, 0.9)
    ema.train()
    assert network.training
    assert not any(module.training for module in ema.modules())
    assert not any(p.requires_grad for p in ema.parameters())
    ema.update(network)
    set_to(network, 100)
    for name, value in ema.network.state_dict().items():
        torch.testing.assert_close(value, before[name])


def test_a_loaded_state_goes_on_counting():
    network = small()
    whole, resumed = Ema(network, 0.999), Ema(small(), 0.999)
    values = [4.0, -1.0, 7.0, 2.0]
    for index, value in enumerate(values):
        if index == 2:
            resumed.load_state_dict(copy.deepcopy(whole.state_dict()))
            assert resumed.updates.item() == 2
        set_to(network, value)
        whole.update(network)
        if index >= 2:
            resumed.update(network)
    assert resumed.updates.item() == whole.updates.item() == 4
    for a, b in zip(resumed.network.parameters(), whole.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_state_loaded_after_updates_sets_the_count_back():
    network = small()
    fresh, used = Ema(network, 0.999), Ema(network, 0.999)
    state = copy.deepcopy(fresh.state_dict())
    for _ in range(50):
        used.update(network)
    used.load_state_dict(state)
    set_to(network, 6)
    for ema in (fresh, used):
        ema.update(network)
    for a, b in zip(used.network.parameters(), fresh.network.parameters(), strict=True):
        assert torch.equal(a, b)
