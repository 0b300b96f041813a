"""Folded batch norms, made into batch norms with statistics again: the same function, and one that can be trained."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from backbone import MobileNetV1, folded_norms, unfold_batch_norm
from backbone.sources.published import identity_norm


@dataclass
class Case:
    net: MobileNetV1
    images: Tensor


@pytest.fixture
def case() -> Case:
    torch.manual_seed(0)
    net = MobileNetV1(0.25, taps=("conv_5", "conv_13")).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            bias = torch.randn(module.num_features) * 0.5 + 0.5
            module.load_state_dict(identity_norm(bias, module.eps))
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    net.get_parameter("conv_3.depthwise.conv.weight").data[4] = 0  # a channel without any variance
    net.get_parameter("conv_6.pointwise.norm.bias").data[7] = -50  # and one that is always off
    return Case(net, torch.randn(24, 3, 64, 64))


def test_evaluation_stays_the_same_function_on_any_image(case):
    before = {name: tensor.clone() for name, tensor in case.net.state_dict().items()}
    others = torch.randn(4, 3, 64, 96)
    with torch.no_grad():
        expected = [case.net(x) for x in (case.images, others)]
    names = unfold_batch_norm(case.net, case.images.split(5))
    assert len(names) == 27
    assert names[:2] == ["conv_0.norm", "conv_1.depthwise.norm"]
    assert not case.net.training
    with torch.no_grad():
        for maps, x in zip(expected, (case.images, others), strict=True):
            for name, features in case.net(x).items():
                torch.testing.assert_close(features, maps[name], rtol=1e-5, atol=1e-5 * float(maps[name].max()))
    after = case.net.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before if name.endswith("conv.weight"))
    assert not any(torch.equal(after[name], before[name]) for name in before if name.endswith("norm.running_mean"))


def test_statistics_are_those_of_the_convolutions_outputs(case):
    seen: list[Tensor] = []
    hook = case.net.get_submodule("conv_2.pointwise.conv").register_forward_hook(lambda *a: seen.append(a[2]))
    unfold_batch_norm(case.net, case.images.split(7))
    hook.remove()
    values = torch.cat(seen).double().transpose(0, 1).flatten(1)
    norm = case.net.get_submodule("conv_2.pointwise.norm")
    torch.testing.assert_close(norm.running_mean.double(), values.mean(1), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(norm.running_var.double(), values.var(1, correction=0), rtol=1e-5, atol=1e-6)


def test_training_starts_from_the_same_function_where_folded_norms_would_lose_it(case):
    with torch.no_grad():
        expected = case.net.eval()(case.images)["conv_13"]
        lost = case.net.train()(case.images)["conv_13"]
        for norm in (m for m in case.net.modules() if isinstance(m, nn.BatchNorm2d)):
            assert norm.running_mean is not None  # training has moved the statistics: fold again
            norm.load_state_dict(identity_norm(norm.bias.detach(), norm.eps))
        unfold_batch_norm(case.net, case.images.split(6))
        started = case.net.train()(case.images)["conv_13"]
    assert (started - expected).abs().max() < 1e-3 * expected.max()
    assert (lost - expected).abs().mean() > 0.3 * expected.mean()


def test_only_folded_norms_are_touched_and_named(case):
    case.net.get_submodule("conv_4.depthwise.norm").running_mean.fill_(0.1)
    names = folded_norms(case.net)
    assert len(names) == 26
    assert "conv_4.depthwise.norm" not in names
    assert unfold_batch_norm(case.net, [case.images]) == names
    assert folded_norms(case.net) == []
    assert unfold_batch_norm(case.net, []) == []  # nothing to do, so no images are asked for
    assert folded_norms(MobileNetV1(0.25)) == []  # a new network's are no identity


def test_no_images_or_broken_ones_are_refused_and_change_nothing(case):
    before = {name: tensor.clone() for name, tensor in case.net.state_dict().items()}
    for batches in ([], [torch.full((1, 3, 32, 32), torch.nan)]):
        with pytest.raises(ValueError, match=r"conv_0.norm: saw \d+ values, .*expected images"):
            unfold_batch_norm(case.net.train(), batches)
        assert case.net.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in case.net.state_dict().items())
