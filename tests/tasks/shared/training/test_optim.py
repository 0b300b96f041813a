"""Parameter groups, TensorFlow's RMSProp worked by hand, and the schedules' values."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from backbone import MobileNetV1
from tasks.shared.training.optim import make_optimizer, make_schedule, parameter_groups


def names(network: nn.Module, parameters: list[nn.Parameter]) -> set[str]:
    by_id = {id(p): name for name, p in network.named_parameters()}
    return {by_id[id(p)] for p in parameters}


def test_depthwise_filters_norms_and_biases_do_not_decay():
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=True),
        nn.Conv2d(8, 8, 3, groups=8),  # depthwise
        nn.Conv2d(8, 16, 3, groups=8),  # depthwise, two filters a channel
        nn.Conv2d(16, 16, 3, groups=4),  # grouped, not depthwise
        nn.Conv2d(16, 1, 1, groups=1),
        nn.Conv2d(1, 4, 3),  # one input channel is no depthwise layer
        nn.BatchNorm2d(4),
        nn.Linear(4, 2),
    )
    decayed, free = parameter_groups(network, 0.05)
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.05, 0.0)
    assert names(network, decayed["params"]) == {"0.weight", "3.weight", "4.weight", "5.weight", "7.weight"}
    assert names(network, free["params"]) == {
        *{f"{index}.bias" for index in (0, 1, 2, 3, 4, 5, 6, 7)},
        *{"1.weight", "2.weight", "6.weight"},
    }


def test_in_mobilenet_the_full_and_the_pointwise_convolutions_decay():
    network = MobileNetV1(0.25)
    decayed, free = parameter_groups(network, 1.0)
    assert sorted(p.shape[-1] for p in decayed["params"]) == [1] * 13 + [3]
    depthwise = [p for p in free["params"] if p.ndim == 4]
    assert [(p.shape[1], p.shape[2]) for p in depthwise] == [(1, 3)] * 13
    assert len(decayed["params"]) + len(free["params"]) == len(list(network.parameters()))


def test_frozen_parameters_are_left_out():
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    network[0].requires_grad_(False)
    decayed, free = parameter_groups(network, 0.1)
    assert names(network, decayed["params"]) | names(network, free["params"]) == {"1.weight", "1.bias"}


@pytest.mark.parametrize(
    ("name", "options"),
    [("adamw", {"betas": (0.8, 0.9)}), ("sgd", {"momentum": 0.7}), ("rmsprop", {"alpha": 0.8, "momentum": 0.6})],
)
def test_options_and_groups_reach_the_optimizer(name, options):
    optimizer = make_optimizer(nn.Linear(2, 2), name, 0.3, 0.01, options)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01, 0.0]
    for group in optimizer.param_groups:
        assert group["lr"] == 0.3
        assert {key: group[key] for key in options} == options


@pytest.mark.parametrize(
    ("name", "options"), [("adamw", {}), ("sgd", {"momentum": 0.9, "nesterov": True}), ("adagrad", {})]
)
def test_fused_steps_are_the_plain_ones(name, options):
    networks = []
    for how in ({}, {"foreach": False}):
        torch.manual_seed(0)
        network = MobileNetV1(0.25)
        optimizer = make_optimizer(network, name, 0.01, 0.1, options | how, backbone_lr=0.5)
        assert bool(optimizer.defaults["fused"]) == (not how), "options say how"
        for _ in range(5):
            for parameter in network.parameters():
                parameter.grad = torch.randn_like(parameter)
            optimizer.step()
        networks.append(network)
    for fused, plain in zip(*(network.parameters() for network in networks), strict=True):
        torch.testing.assert_close(fused, plain, rtol=1e-4, atol=1e-6)
    assert not make_optimizer(network, name, 0.01, 0.1, fused=False).defaults["fused"]


def test_optimizers_are_fused_where_torch_has_it():
    network = MobileNetV1(0.25)
    assert make_optimizer(network, "adamw", 0.01, 0.1).defaults["fused"]
    assert not make_optimizer(network.to("meta"), "adamw", 0.01, 0.1).defaults["fused"]


class OneNumber(nn.Module):
    """A single weight, of the shape of a matrix so that it may decay."""

    def __init__(self, value: float):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[value]], dtype=torch.float64))


def rmsprop_steps(gradients: list[float], weight_decay: float = 0.0, rates: tuple[float, ...] = (0.1,)) -> list[float]:
    network = OneNumber(2.0)
    options = {"alpha": 0.9, "momentum": 0.8, "eps": 0.5}
    optimizer = make_optimizer(network, "rmsprop", rates[0], weight_decay, options)
    values = []
    for index, gradient in enumerate(gradients):
        optimizer.param_groups[0]["lr"] = rates[min(index, len(rates) - 1)]
        network.weight.grad = torch.tensor([[gradient]], dtype=torch.float64)
        optimizer.step()
        values.append(network.weight.item())
    return values


def test_rmsprop_is_tensorflows():
    # The mean square starts at 1: 1 + 0.1 * (9 - 1) = 1.8, then 1.8 + 0.1 * (1 - 1.8) = 1.72; epsilon is inside the
    # root; the learning rate goes into the momentum: 0.1 * 3 / sqrt(2.3), then 0.8 times that - 0.1 / sqrt(2.22).
    first = 0.1 * 3 / math.sqrt(1.8 + 0.5)
    second = 0.8 * first + 0.1 * -1 / math.sqrt(1.72 + 0.5)
    assert rmsprop_steps([3.0, -1.0]) == pytest.approx([2 - first, 2 - first - second], abs=1e-12)


def test_rmsprops_momentum_keeps_the_rate_at_which_it_was_gathered():
    first = 0.1 * 3 / math.sqrt(1.8 + 0.5)
    assert rmsprop_steps([3.0, 0.0], rates=(0.1, 0.0))[1] == pytest.approx(2 - first - 0.8 * first, abs=1e-12)


def test_rmsprops_decay_is_added_to_the_gradient():
    # 0.25 * 2 is added: the gradient is 3.5, the mean square 1 + 0.1 * (12.25 - 1) = 2.125
    expected = 2 - 0.1 * 3.5 / math.sqrt(2.125 + 0.5)
    assert rmsprop_steps([3.0], weight_decay=0.25) == pytest.approx([expected], abs=1e-12)


def factors(steps: list[int], steps_per_epoch: float = 10, epochs: int = 4, **options: Any) -> list[float]:
    """The schedule's factor before these steps, as a loop over the steps meets them."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = make_schedule(optimizer, steps_per_epoch, epochs, **options)
    rates = []
    for _ in range(max(steps) + 1):
        rates.append(optimizer.param_groups[0]["lr"] / 2.0)
        optimizer.step()
        scheduler.step()
    return [rates[step] for step in steps]


@pytest.mark.parametrize(
    ("options", "steps", "expected"),
    [
        ({"schedule": "constant"}, [0, 17, 39], [1, 1, 1]),
        ({"schedule": "cosine"}, [0, 10, 20, 30, 40, 45], [1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2, 0, 0]),
        ({"schedule": "cosine", "final": 0.2}, [0, 20, 40], [1, 0.6, 0.2]),
        ({"schedule": "exponential", "decay": 0.25}, [0, 5, 10, 20], [1, 0.5, 0.25, 0.0625]),
        ({"schedule": "exponential", "decay": 0.25, "decay_epochs": 0.5}, [5, 10], [0.25, 0.0625]),
        ({"schedule": "step"}, [0, 9, 10, 19, 20, 30], [1, 1, 0.1, 0.1, 0.01, 0.001]),
        ({"schedule": "step", "decay": 0.5, "decay_epochs": 2.5}, [24, 25, 49, 50], [1, 0.5, 0.5, 0.25]),
        ({"schedule": "constant", "warmup_epochs": 0.5}, [0, 1, 3, 4, 5], [0.2, 0.4, 0.8, 1, 1]),
        (
            {"schedule": "cosine", "warmup_epochs": 2},
            [0, 9, 20],
            [0.05, 0.5 * (1 + math.cos(0.225 * math.pi)) / 2, 0.5],
        ),
        ({"schedule": "step", "steps_per_epoch": 2.5}, [2, 3, 5], [1, 0.1, 0.01]),
    ],
)
def test_schedules_worked_by_hand(options, steps, expected):
    assert factors(steps, **options) == pytest.approx(expected, abs=1e-12)


def test_the_backbone_may_learn_slower():
    network = nn.Module()
    network.backbone, network.head = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)), nn.Linear(3, 2)
    optimizer = make_optimizer(network, "sgd", 0.5, 0.1, backbone_lr=0.1)
    rates = {id(p): (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    assert len(rates) == sum(len(group["params"]) for group in optimizer.param_groups) == 6, "each once"
    assert rates[id(network.backbone[0].weight)] == (pytest.approx(0.05), 0.1)
    assert rates[id(network.backbone[1].weight)] == (pytest.approx(0.05), 0.0)
    assert rates[id(network.head.weight)] == (0.5, 0.1) and rates[id(network.head.bias)] == (0.5, 0.0)
