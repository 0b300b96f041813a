"""The detector in training: what gradients reach, precision, evaluation and export in between, whether it learns."""

import pytest
import torch

from tasks.ssd import anchors as anchors_module
from tests.tasks.ssd.conftest import make_task, random_images, target


@pytest.mark.parametrize("classification", ["sigmoid", "softmax", "focal"])
@pytest.mark.parametrize(
    "targets",
    [
        pytest.param([target([10, 10, 60, 60], labels=(1,))], id="batch-of-one"),
        pytest.param([target([10, 10, 60, 60], labels=(1,)), target()], id="half-empty"),
        pytest.param([target([0.0, 0, 0.5, 0.5], [1, 1, 96, 96], labels=(0, 2))], id="a-box-below-a-pixel"),
    ],
)
def test_gradients_reach_every_part_that_can_learn(classification, targets):
    task = make_task(loss={"classification": classification}).train()
    losses = task.loss(task(random_images(len(targets), 96)), targets)
    assert list(losses) == ["classification", "localization"]
    torch.stack(list(losses.values())).sum().backward()
    gradients = {name: p.grad for name, p in task.named_parameters()}
    assert all(g is not None and g.isfinite().all() for g in gradients.values())
    for part in ("backbone.conv_0", "head.extras.0", "head.classes", "head.boxes"):
        assert any(g.any() for name, g in gradients.items() if name.startswith(part) and g is not None), part


def test_a_batch_without_boxes_has_a_loss_of_zero_and_trains_on():
    task = make_task().train()
    losses = task.loss(task(random_images(2, 96)), [target(), target()])
    total = torch.stack(list(losses.values())).sum()
    total.backward()
    assert total.item() == 0
    assert all(p.grad is None or not p.grad.any() for p in task.parameters())


def test_bf16_outputs_have_the_loss_and_boxes_of_fp32():
    task = make_task().eval()
    outputs = task(random_images(1, 96))
    half = outputs._replace(class_logits=outputs.class_logits.bfloat16(), box_offsets=outputs.box_offsets.bfloat16())
    targets = [target([10, 10, 60, 60], labels=(1,))]
    losses, expected = task.loss(half, targets), task.loss(outputs, targets)
    for name, value in losses.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, expected[name], rtol=0.02, atol=0.02)
    (found,) = task.predict(half, torch.tensor([[96, 96]]))
    assert found.boxes.dtype == found.scores.dtype == torch.float32


def test_training_goes_on_after_an_evaluation_in_inference_mode():
    anchors_module._cached_anchors.cache_clear()
    task = make_task()
    with torch.inference_mode():
        task.eval()(random_images(1, 96))
    losses = task.train().loss(task(random_images(1, 96)), [target([10, 10, 60, 60], labels=(1,))])
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in task.parameters())
    assert any(p.grad is not None and p.grad.any() for p in task.head.boxes.parameters())


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # torch.export's own
def test_an_exported_network_answers_alike_and_leaves_the_eager_one_usable():
    anchors_module._cached_anchors.cache_clear()
    task = make_task().eval()
    images = random_images(1, 96)
    exported = torch.export.export(task, (images,)).module()
    with torch.no_grad():
        expected = task(images)
        for got, wanted in zip(exported(images), expected, strict=True):
            torch.testing.assert_close(got, wanted)
    (found,) = task.predict(expected, torch.tensor([[96, 96]]))
    assert found.boxes.isfinite().all()


def test_a_fixed_batch_is_learnt_by_heart():
    task = make_task(loss={"mining_nms": None}, unit={"bn_momentum": 0.1}, body={"bn_momentum": 0.1}).train()
    images = random_images(4, 96) // 4 + 96
    targets = []
    boxes = ([8, 8, 56, 60], [30, 24, 90, 92], [20, 40, 70, 80], [40, 6, 90, 50])
    for index, box in enumerate(boxes):
        x1, y1, x2, y2 = box
        images[index, index % 3, y1:y2, x1:x2] = 250
        targets.append(target([float(v) for v in box], labels=(index % 3,)))
    optimizer = torch.optim.AdamW(task.parameters(), lr=3e-3)
    history = []
    for _ in range(60):
        total = torch.stack(list(task.loss(task(images), targets).values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        history.append(total.item())
    assert history[-1] < history[0] / 10
    with torch.no_grad():
        results = task.predict(task(images), torch.tensor([[96, 96]] * 4))
    for found, expected in zip(results, targets, strict=True):
        assert found.labels[0] == expected["labels"][0]
        assert (found.boxes[0] - expected["boxes"][0]).abs().max() < 10
