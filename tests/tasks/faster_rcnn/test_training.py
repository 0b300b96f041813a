"""The detector in training: what gradients reach, awkward batches, frozen batch norm, and whether it learns."""

import pytest
import torch
from torch import Tensor, nn

from tasks.faster_rcnn import FasterRCNN
from tests.tasks.faster_rcnn.conftest import make_task, random_images, target

FIRST, SECOND = ("rpn_objectness", "rpn_localization"), ("classification", "localization")
BOXES = [target([10, 10, 60, 60], [50, 40, 90, 90], labels=(1, 0)), target([20, 30, 70, 90], labels=(2,))]


def gradients(task: FasterRCNN, losses: dict[str, Tensor]) -> set[str]:
    """The parts of the network that these losses reach: `conv_0` ..., `rpn.conv`, `classes` ..."""
    task.zero_grad()
    torch.stack(list(losses.values())).sum().backward(retain_graph=True)
    assert all(p.grad is None or p.grad.isfinite().all() for p in task.parameters())
    reached = [name for name, p in task.named_parameters() if p.grad is not None and p.grad.any()]
    return {".".join(name.removeprefix("backbone.").split(".")[: 2 if "rpn" in name else 1]) for name in reached}


def test_each_loss_reaches_what_it_is_made_of():
    task = make_task().train()
    losses = task.loss(task(random_images(2, 96)), BOXES)
    assert tuple(losses) == FIRST + SECOND
    shared, last = {f"conv_{k}" for k in range(12)}, {"conv_12", "conv_13"}
    for names, parts in {
        FIRST[:1]: {"rpn.conv", "rpn.objectness"},
        FIRST[1:]: {"rpn.conv", "rpn.offsets"},
        SECOND[:1]: last | {"classes"},
        SECOND[1:]: last | {"boxes"},
    }.items():
        reached = gradients(task, {name: losses[name] for name in names})
        assert reached == shared | parts, names


@pytest.mark.parametrize(
    "targets",
    [
        pytest.param(BOXES[:1], id="batch-of-one"),
        pytest.param([BOXES[0], target()], id="half-empty"),
        pytest.param([target(), target(), target()], id="all-empty"),
        pytest.param([target()], id="one-empty-image"),
        pytest.param([target([0.0, 0, 0.5, 0.5], [1, 1, 96, 96], labels=(0, 2))], id="a-box-below-a-pixel"),
        pytest.param([target(*[[k, 0.0, k + 40, 50] for k in range(50)], labels=(1,) * 50)], id="many-boxes"),
    ],
)
def test_every_batch_trains_every_parameter(targets):
    task = make_task().train()
    losses = task.loss(task(random_images(len(targets), 96)), targets)
    assert all(value.isfinite() and value.ndim == 0 for value in losses.values())
    some = any(len(t["boxes"]) for t in targets)
    assert (losses["rpn_localization"] > 0) == (losses["localization"] > 0) == some
    assert losses["rpn_objectness"] > 0 and losses["classification"] > 0, "background is learnt from empty images too"
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in task.parameters()), "as DDP needs"


def test_the_smallest_map_trains():
    task = make_task(1, 16, proposals=3).train()
    losses = task.loss(task(random_images(1, 16)), [target([2, 2, 12, 14], labels=(0,))])
    torch.stack(list(losses.values())).sum().backward()
    assert all(value.isfinite() for value in losses.values())


def test_sampling_is_seeded():
    task = make_task(sampling={"anchors": 8, "proposals": 4}).eval()
    outputs = task(random_images(2, 96))
    values = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        values.append(torch.stack(list(task.loss(outputs, BOXES).values())))
    assert torch.equal(values[0], values[1])
    assert not torch.equal(values[0], values[2])


def test_sampling_settings_reach_the_losses(monkeypatch):
    drawn = []
    task = make_task(sampling={"anchors": 8, "proposals": 4}).train()
    second_stage = task.second_stage

    def counting(features: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        drawn.append(tuple(boxes.shape))
        return second_stage(features, boxes)

    monkeypatch.setattr(task, "second_stage", counting)
    outputs = task(random_images(2, 96))
    losses = task.loss(outputs, BOXES)
    assert drawn == [(2, 4, 4)]
    (gradient,) = torch.autograd.grad(losses["rpn_objectness"], outputs.objectness)
    assert gradient.any(-1).sum(1).tolist() == [8, 8]


def test_bf16_has_nearly_the_losses_of_fp32():
    task = make_task().eval()
    torch.manual_seed(0)
    expected = task.loss(task(random_images(2, 96)), BOXES)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = task(random_images(2, 96))
    assert outputs.features.dtype == torch.bfloat16
    torch.manual_seed(0)
    with torch.autocast("cpu", enabled=False):
        losses = task.loss(outputs, BOXES)
    for name, value in losses.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, expected[name], rtol=0.15, atol=0.02)
    torch.stack(list(losses.values())).sum().backward()
    (found, _) = task.predict(outputs, torch.tensor([[96, 96]] * 2))
    assert found.boxes.dtype == found.scores.dtype == torch.float32


def test_training_goes_on_after_an_evaluation_in_inference_mode():
    task = make_task()
    with torch.inference_mode():
        task.eval()(random_images(1, 96))
    losses = task.train().loss(task(random_images(1, 96)), BOXES[:1])
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in task.parameters())


def test_a_fixed_batch_is_learnt_by_heart():
    task = make_task(anchors={"scales": [0.12, 0.24], "ratios": [0.5, 1, 2]}, body={"bn_momentum": 0.1}).train()
    images = random_images(4, 96) // 4 + 96
    targets = []
    for index, (x1, y1, x2, y2) in enumerate([(8, 8, 56, 60), (30, 24, 90, 92), (20, 40, 70, 80), (40, 6, 90, 50)]):
        images[index, index % 3, y1:y2, x1:x2] = 250
        targets.append(target([float(v) for v in (x1, y1, x2, y2)], labels=(index % 3,)))
    optimizer = torch.optim.AdamW(task.parameters(), lr=2e-3)
    history = []
    for _ in range(60):
        total = torch.stack(list(task.loss(task(images), targets).values())).sum()
        optimizer.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(task.parameters(), 10)
        optimizer.step()
        history.append(total.item())
    assert sum(history[-5:]) < sum(history[:5]) / 4
    with torch.no_grad():
        results = task.eval().predict(task(images), torch.tensor([[96, 96]] * 4))
    for found, expected in zip(results, targets, strict=True):
        assert found.labels[0] == expected["labels"][0]
        assert (found.boxes[0] - expected["boxes"][0]).abs().max() < 6
        assert (found.proposals - expected["boxes"]).abs().amax(1).min() < 4
