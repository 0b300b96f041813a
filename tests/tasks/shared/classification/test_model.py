"""The classifier: what it costs, what it computes, what it refuses."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from backbone import MobileNetV1, count_cost
from tasks.shared.classification import Classifier
from tasks.shared.classification.data import ClassInfo
from tasks.shared.classification.model import Prediction

INFO: ClassInfo = {"class_ids": ["n1", "n2", "n3", "n4", "n5", "n6"], "class_names": ["a", "b", "c", "d", "e", "f"]}


@pytest.fixture
def task() -> Classifier:
    torch.manual_seed(0)
    return Classifier(MobileNetV1(0.25), 6, 64).eval()


@pytest.mark.parametrize(
    ("arguments", "resolution", "mult_adds", "weights"),
    [
        ({}, 224, 568_740_352, 4_209_088),  # Table 6, 7
        ({"alpha": 0.5}, 160, 76.52e6, 1.320e6),  # Table 9
        ({"alpha": 0.25}, 128, 13.57e6, 0.464e6),
        ({"shallow": True}, 224, 307.32e6, 2.875e6),  # Table 5
        ({"block": "conv"}, 224, 4866.27e6 + 1.024e6, 29.28e6),  # Table 4, whose mult-adds leave the last layer out
    ],
)
def test_costs_are_the_papers(arguments: dict, resolution: int, mult_adds: float, weights: float) -> None:
    with torch.device("meta"):
        cost = count_cost(Classifier(MobileNetV1(**arguments), 1000, resolution), resolution)
    assert cost.mult_adds == pytest.approx(mult_adds, rel=2e-3) and cost.weights == pytest.approx(weights, rel=2e-3)
    if not arguments:
        assert (cost.mult_adds, cost.weights) == (568_740_352, 4_209_088)


def test_logits_are_pooled_features_times_weights(task: Classifier) -> None:
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    features = task.backbone((images.float() / 255 - 0.5) / 0.5)["conv_13"]
    by_hand = torch.stack([task.head.weight @ f.flatten(1).mean(1) + task.head.bias for f in features])
    assert torch.allclose(task(images), by_hand, atol=1e-5)


def labelled(*labels: int) -> list[Any]:
    return [{"label": label} for label in labels]


def test_the_loss_is_cross_entropy_with_smoothing() -> None:
    task = Classifier(MobileNetV1(0.25), 3, 64, label_smoothing=0.3)
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    wanted = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.1, 0.8]])
    by_hand = -(wanted * F.log_softmax(logits, -1)).sum(-1).mean()
    assert torch.allclose(task.loss(logits, labelled(0, 2))["cross_entropy"], by_hand)


def test_the_loss_for_noisy_labels() -> None:
    """(1 - p^q) / q, which tends to cross-entropy as q tends to 0, and has a gradient where p is 0."""
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]], requires_grad=True)
    targets = labelled(0, 2)
    right = logits.softmax(-1)[[0, 1], [0, 2]]
    for q in (0.7, 1.0):
        loss = Classifier(MobileNetV1(0.25), 3, 64, noise_q=q).loss(logits, targets)["generalised_cross_entropy"]
        assert torch.allclose(loss, ((1 - right**q) / q).mean())
    nearly = Classifier(MobileNetV1(0.25), 3, 64, noise_q=1e-4).loss(logits, targets)["generalised_cross_entropy"]
    assert torch.allclose(nearly, -right.log().mean(), rtol=1e-3)
    hopeless = torch.tensor([[0.0, 500.0, 0.0]], requires_grad=True)
    task = Classifier(MobileNetV1(0.25), 3, 64, noise_q=0.7)
    task.loss(hopeless, labelled(0))["generalised_cross_entropy"].backward()
    assert hopeless.grad is not None and hopeless.grad.isfinite().all()
    for noise_q, smoothing in ((-0.1, 0.0), (1.1, 0.0), (0.7, 0.1)):
        with pytest.raises(ValueError, match=r"task\.noise_q="):
            Classifier(MobileNetV1(0.25), 3, 64, noise_q=noise_q, label_smoothing=smoothing)


def test_predictions_are_the_best_five(task: Classifier) -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0, 2.0, -1.0, -9.0]])
    (answer,) = task.predict(logits, torch.tensor([[10, 10]]))
    assert answer.labels.tolist() == [1, 3, 2, 0, 4]
    total = sum(math.exp(v) for v in logits[0].tolist())
    assert answer.probabilities[0].item() == pytest.approx(math.exp(3) / total, rel=1e-5)
    assert task.describe(answer, INFO)[0] == {
        "class_id": "n2", "name": "b", "probability": answer.probabilities[0].item()
    }  # fmt: skip


def test_dropout_works_in_training_alone(task: Classifier) -> None:
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    dropping = Classifier(MobileNetV1(0.25), 6, 64, dropout=0.9)
    assert torch.equal(dropping.eval()(images), dropping(images))
    dropping.train()
    assert not torch.equal(dropping(images), dropping(images))


def bar(sheet: Image.Image, line: int) -> str:
    """The colour of a line of the text below a small image."""
    colors = [sheet.getpixel((60, y)) for y in range(262, sheet.height - 6)]
    kinds = ["green" if g > r + 30 else "red" if r > g + 30 else "" for r, g, b in colors]  # type: ignore[misc]
    runs = [kind for k, kind in enumerate(kinds) if kind and (k == 0 or kinds[k - 1] != kind)]
    return runs[line]


def test_the_drawing_says_whether_it_is_right(task: Classifier) -> None:
    answer = Prediction(torch.tensor([1, 0, 2]), torch.tensor([0.7, 0.2, 0.1]))
    image = Image.new("RGB", (40, 30), "gray")
    truths: list[Any] = [None, {"class_id": "n2"}, {"class_id": "n1"}]
    sheets = [task.draw(image, answer, INFO, truth) for truth in truths]
    assert all(min(sheet.size) >= 256 for sheet in sheets), "small images are enlarged"
    assert sheets[0].size[1] < sheets[1].size[1], "the truth has a line"

    assert bar(sheets[1], 0) == "green" and bar(sheets[2], 0) == "red"


def test_a_class_of_the_same_name_is_drawn_as_wrong(task: Classifier) -> None:
    """ImageNet has two classes `crane`, a bird and a machine."""
    info: ClassInfo = {"class_ids": ["n02012849", "n03126707", "n01440764"], "class_names": ["crane", "crane", "tench"]}
    answer = Prediction(torch.tensor([1, 2, 0]), torch.tensor([0.8, 0.1, 0.1]))
    truths: list[Any] = [{"class_id": i} for i in info["class_ids"][:2]]
    bird, machine = (task.draw(Image.new("RGB", (40, 30), "gray"), answer, info, truth) for truth in truths)
    assert bar(bird, 0) == "red" and bar(machine, 0) == "green"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"resolution": 16}, "resolution=16"),
        ({"num_classes": 1}, "num_classes=1"),
        ({"dropout": 1.0}, "task.dropout=1.0"),
        ({"label_smoothing": -0.1}, "task.label_smoothing"),
        ({"crop": "left"}, "task.crop='left'"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict, named: str) -> None:
    with pytest.raises(ValueError, match=named.replace(".", r"\.")):
        Classifier(MobileNetV1(0.25), **({"num_classes": 3, "resolution": 64} | arguments))
