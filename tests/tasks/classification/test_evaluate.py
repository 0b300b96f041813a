"""Accuracy against a count by hand, and what is written down."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tasks.classification.evaluate import TopKEvaluator
from tasks.classification.model import Answer
from tasks.shared.errors import UserError

IDS = [f"c{k}" for k in range(8)]
NAMES = [f"name {k}" for k in range(8)]


def answer(*labels: int) -> Answer:
    return Answer(torch.tensor(labels), torch.linspace(0.5, 0.1, len(labels)))


def target(label: int, file: str = "a.jpg") -> dict:
    return {"label": label, "file": file}


def test_figures_by_hand() -> None:
    evaluator = TopKEvaluator(IDS, IDS, NAMES)
    evaluator.update([answer(0, 1, 2, 3, 4), answer(1, 0, 2, 3, 4)], [target(0), target(0)])
    evaluator.update([answer(7, 6, 5, 4, 3), answer(3, 1, 5, 6, 7)], [target(2), target(3)])
    # Right at once: the first and the last; among five: all but the third. Classes: 1 of 2, 0 of 1, 1 of 1.
    assert evaluator.compute() == {"top1": 0.5, "top5": 0.75, "class_mean": 0.5}
    evaluator.reset()
    assert evaluator.compute() == {}


def test_random_answers_agree_with_a_slow_count() -> None:
    rng = np.random.default_rng(0)
    evaluator = TopKEvaluator(IDS, IDS, NAMES)
    truth = rng.integers(0, 8, 200)
    found = np.stack([rng.permutation(8)[:5] for _ in truth])
    for start in range(0, 200, 32):
        part = slice(start, start + 32)
        evaluator.update([answer(*row) for row in found[part]], [target(int(t)) for t in truth[part]])
    first = sum(int(row[0] == t) for row, t in zip(found, truth, strict=True)) / 200
    five = sum(int(t in row) for row, t in zip(found, truth, strict=True)) / 200
    figures = evaluator.compute()
    assert figures["top1"] == pytest.approx(first) and figures["top5"] == pytest.approx(five)


def test_five_classes_have_no_top_five() -> None:
    evaluator = TopKEvaluator(IDS[:5], IDS[:5], NAMES[:5])
    evaluator.update([answer(0, 1, 2, 3, 4)], [target(0)])
    assert "top5" not in evaluator.compute()


def test_classes_are_matched_by_id() -> None:
    """The data holds two classes, in another order than the network's eight."""
    evaluator = TopKEvaluator(["c6", "c2"], IDS, NAMES)
    evaluator.update([answer(6, 0, 1, 3, 4), answer(0, 2, 1, 3, 4)], [target(0), target(1)])
    assert evaluator.compute() == {"top1": 0.5, "top5": 1.0, "class_mean": 0.5}
    with pytest.raises(UserError, match=r"1 of the data's 2 classes are not among the 8 .*: dog"):
        TopKEvaluator(["c6", "dog"], IDS, NAMES)


def test_what_is_written(tmp_path: Path) -> None:
    evaluator = TopKEvaluator(IDS, IDS, NAMES)
    results = [answer(0, 1, 2, 3, 4), answer(5, 1, 2, 3, 4), answer(5, 0, 2, 3, 4), answer(3, 1, 2, 4, 5)]
    evaluator.update(results, [target(0, "a"), target(1, "b"), target(1, "c"), target(1, "d")])
    evaluator.save(tmp_path)
    rows = list(csv.DictReader((tmp_path / "classes.csv").read_text().splitlines()))
    assert [row["class"] for row in rows] == ["c1", "c0"], "the worst first"
    assert rows[0] | {"pictures": "3", "top1": "0.0000", "mostly_taken_for": "c5", "taken_share": "0.6667"} == rows[0]
    assert rows[1] | {"top1": "1.0000", "mostly_taken_for": ""} == rows[1]
    predictions = list(csv.DictReader((tmp_path / "predictions.csv").read_text().splitlines()))
    assert predictions[1] | {"file": "b", "class": "c1", "answer_1": "c5", "answer_2": "c1"} == predictions[1]
    with Image.open(tmp_path / "confusion.png") as picture:
        assert picture.width > 300 and len(picture.convert("RGB").getcolors(1 << 20) or []) > 50
