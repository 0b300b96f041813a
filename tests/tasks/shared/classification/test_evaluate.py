"""Accuracy against a count by hand, and what is written down."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tasks.shared.classification.confused import CAPTION, GAP, PLACES, TILE, Pair, most_confused
from tasks.shared.classification.evaluate import TopKEvaluator
from tasks.shared.classification.model import Prediction
from tasks.shared.errors import UserError

IDS = [f"c{k}" for k in range(8)]
NAMES = [f"name {k}" for k in range(8)]


def answer(*labels: int) -> Prediction:
    return Prediction(torch.tensor(labels), torch.linspace(0.5, 0.1, len(labels)))


def target(label: int, file: str = "a.jpg", index: int = 0) -> Any:
    return {"label": label, "file": file, "index": index}


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


def test_classes_may_have_the_same_name(tmp_path: Path) -> None:
    """Two cranes: an answer is right by its id, and each has a line of its own."""
    evaluator = TopKEvaluator(IDS, IDS, ["crane"] * 8)
    evaluator.update([answer(1, 0, 2, 3, 4), answer(1, 0, 2, 3, 4)], [target(0), target(1)])
    assert evaluator.compute() == {"top1": 0.5, "top5": 1.0, "class_mean": 0.5}
    evaluator.save(tmp_path)
    rows = list(csv.DictReader((tmp_path / "classes.csv").read_text().splitlines()))
    assert [(row["class"], row["mostly_taken_for"]) for row in rows] == [("c0", "c1"), ("c1", "")]


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
    with Image.open(tmp_path / "confusion.png") as image:
        assert image.width > 300 and len(image.convert("RGB").getcolors(1 << 20) or []) > 50


def test_the_most_confused_pairs() -> None:
    truth = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2, 3])
    best = np.array([1, 1, 0, 2, 1, 0, 0, 2, 3, 3])
    # 0 -> 1: 2 of 4; 1 -> 0: 1 of 2, fewer images of the same share; 2 -> 0 and 2 -> 3: 1 of 3; 0 -> 2: 1 of 4.
    assert most_confused(truth, best) == [Pair(0, 1, 2, 4), Pair(2, 0, 1, 3), Pair(2, 3, 1, 3)]
    assert most_confused(truth, truth) == []


def test_confused_pairs_are_drawn_from_the_right_images(tmp_path: Path) -> None:
    """Image k is grey, of level 10 k."""
    evaluator = TopKEvaluator(IDS, IDS, NAMES, lambda t: torch.full((3, 60, 80), 10 * t["index"], dtype=torch.uint8))
    found = [3, 3, 4, 4, 4]
    evaluator.update(
        [answer(k, 1, 2, 5, 6) for k in found], [target(t, index=5 + n) for n, t in enumerate((3, 3, 3, 4, 4))]
    )
    evaluator.save(tmp_path)
    sheet = np.asarray(Image.open(tmp_path / "confused.jpg").convert("L"))
    part = PLACES * TILE + GAP
    middle = GAP + CAPTION + TILE // 2
    levels = [int(sheet[middle, GAP + number * part + place * TILE + TILE // 2]) for number, place in
              ((0, 0), (0, 1), (1, 0), (2, 0), (2, 1))]  # fmt: skip
    assert levels == pytest.approx([50, 60, 70, 80, 90], abs=4)
    evaluator.reset()
    evaluator.update([answer(3, 1, 2, 5, 6)], [target(3)])
    evaluator.save(tmp_path)
    assert not (tmp_path / "confused.jpg").exists(), "nothing is confused any more"
