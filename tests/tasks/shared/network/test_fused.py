"""A network made ready to answer: what it computes in, and that it is still the same one."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backbone import MobileNetV1
from backbone.fuse import FusedConv2d
from tasks.shared.classification.model import Classifier
from tasks.shared.network.fused import prepare_for_inference
from tests.backbone.random_weights import randomize

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network() -> Classifier:
    task = Classifier(MobileNetV1(0.25), 10, 64, dropout=0.0)
    randomize(task.backbone)
    return task.eval()


def logits(task: nn.Module) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        return task(torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8, generator=draw))


def test_in_fp32_it_is_the_same_function(network: Classifier) -> None:
    expected, ready = logits(network), prepare_for_inference(copy.deepcopy(network), CPU, bf16=False)
    assert {p.dtype for p in ready.parameters()} == {torch.float32}
    assert not any(isinstance(module, nn.BatchNorm2d) for module in ready.modules())
    torch.testing.assert_close(logits(ready), expected, rtol=0, atol=1e-5 * expected.abs().max().item())


def test_in_bf16_layers_keep_rounded_weights_and_logits_point_the_same_way(network: Classifier) -> None:
    expected, ready = logits(network), prepare_for_inference(copy.deepcopy(network), CPU, bf16=True)
    layers = [module for module in ready.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert len(layers) == 28 and {layer.weight.dtype for layer in layers} == {torch.bfloat16}
    answer, copied = logits(ready), logits(copy.deepcopy(ready))
    assert torch.equal(copied, answer)
    with pytest.raises(RuntimeError):
        ready(torch.zeros(1, 2, 64, 64))
    assert not torch.is_autocast_enabled("cpu"), "after an error too"
    assert answer.dtype == torch.bfloat16 and not torch.equal(answer.float(), expected)
    assert (F.cosine_similarity(answer.float(), expected) > 0.99).all()


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="without oneDNN nothing is fused")
def test_activations_are_fused(network: Classifier) -> None:
    ready = prepare_for_inference(copy.deepcopy(network), CPU, bf16=False)
    assert sum(isinstance(module, FusedConv2d) for module in ready.modules()) == 27
