"""PlaNet's network: what it costs, its loss, what its beliefs mean."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from backbone import MobileNetV1, count_cost
from tasks.planet.dataset import PlaceInfo
from tasks.planet.locate import locate
from tasks.planet.model import Belief, PlaNet
from tasks.shared.errors import UserError
from tests.tasks.planet.test_neighbours import make_cells

CELLS = make_cells()
INFO: PlaceInfo = {"cells": CELLS.plain()}


def make_task(**options: object) -> PlaNet:
    return PlaNet(MobileNetV1(0.25), len(CELLS), 64, **options)  # type: ignore[arg-type]


def test_costs_are_the_papers() -> None:
    """Table 11's row: 13 million parameters, 10 of them the last layer's, and 0.58 billion mult-adds, which the paper
    prints as million."""
    with torch.device("meta"):
        cost = count_cost(PlaNet(MobileNetV1(1.0), 9834, 224), 224)
    assert cost.weights == 13_255_104 and cost.parameters == 13_286_826
    assert cost.layers[-1].weights == 1024 * 9834
    assert cost.mult_adds == pytest.approx(577.8e6, rel=1e-4)


def test_the_loss_against_a_slow_loop() -> None:
    logits = torch.randn(4, len(CELLS), generator=torch.Generator().manual_seed(0))
    beside = [np.array([5, 9]), np.empty(0, np.int64), np.array([0]), np.array([1, 2, 3, 4, 11])]
    targets: list[Any] = [{"label": k, "neighbours": b} for k, b in zip((3, 0, 7, 8), beside, strict=True)]
    for share in (0.0, 0.3):
        total = 0.0
        for row, target in zip(logits.double().numpy(), targets, strict=True):
            logarithm = row - math.log(sum(math.exp(x) for x in row))
            wanted = np.zeros(len(CELLS))
            wanted[target["label"]] = 1 - share if len(target["neighbours"]) else 1
            for k in target["neighbours"]:
                wanted[k] += share / len(target["neighbours"])
            assert wanted.sum() == pytest.approx(1)
            total -= float(wanted @ logarithm)
        loss = make_task(label_smoothing=share).loss(logits, targets)
        assert loss.keys() == {"cross_entropy"}
        assert loss["cross_entropy"].item() == pytest.approx(total / 4, rel=1e-5)


def test_without_smoothing_targets_need_no_neighbours() -> None:
    targets: list[Any] = [{"label": 2}]
    loss = make_task().loss(torch.zeros(1, len(CELLS)), targets)
    assert loss["cross_entropy"] == pytest.approx(math.log(len(CELLS)))


@pytest.mark.parametrize("answer", ["best_cell", "weighted"])
@pytest.mark.parametrize("place", ["centre", "mean"])
def test_answers_are_described(answer: str, place: str) -> None:
    task = make_task(answer=answer, place=place).eval()
    logits = torch.randn(3, len(CELLS), generator=torch.Generator().manual_seed(1))
    results = task.predict(logits, torch.tensor([[10, 20]] * 3))
    for row, result in zip(logits, results, strict=True):
        assert result.probabilities.sum().item() == pytest.approx(1, abs=1e-5)
        told = task.describe(result, INFO)
        wanted = locate(row.softmax(-1)[None].numpy(), CELLS, answer, place)[0]
        assert (told["lat"], told["lon"]) == pytest.approx(tuple(wanted))
        order = row.argsort(descending=True)[:5].tolist()
        assert [cell["cell"] for cell in told["cells"]] == [CELLS.tokens[k] for k in order]
        assert [cell["probability"] for cell in told["cells"]] == pytest.approx(row.softmax(-1)[order].tolist())
        assert (told["cells"][0]["lat"], told["cells"][0]["lon"]) == tuple(CELLS.centres[order[0]])


def test_the_image_shows_photo_and_world() -> None:
    from PIL import Image

    task = make_task()
    belief = Belief(torch.full((len(CELLS),), 1 / len(CELLS)))
    photo = Image.new("RGB", (40, 400), (250, 0, 0))
    truth: Any = {"lat": 10.0, "lon": 20.0}
    drawn = task.draw(photo, belief, INFO, truth)
    assert drawn.getpixel((5, drawn.height // 2)) == (250, 0, 0)
    assert drawn.width > 1.5 * drawn.height and drawn != task.draw(photo, belief, INFO)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_smoothing": 1.0}, "task.label_smoothing=1.0"),
        ({"dropout": -0.1}, "task.dropout=-0.1"),
        ({"answer": "mode"}, "task.answer='mode'"),
        ({"crop": "all"}, "task.crop='all'"),
    ],
)
def test_what_it_refuses(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_task(**options)
    with pytest.raises(ValueError, match="num_classes=1; a classifier needs at least 2"):
        PlaNet(MobileNetV1(0.25), 1, 64)
    with pytest.raises(ValueError, match="resolution=16 is below"):
        PlaNet(MobileNetV1(0.25), 5, 16)


def test_without_cells_there_is_no_answer() -> None:
    with pytest.raises(UserError, match=r"data\.cells: there are no cells"):
        make_task().describe(Belief(torch.ones(len(CELLS))), {})
