"""The suite `coco` on few images. How fast anything is, is asserted nowhere."""

import copy
from collections import Counter
from typing import Any

import numpy as np
import pytest

from tasks.shared.benchmark import coco
from tasks.shared.benchmark.coco import FOUND, SIDE, are_equal, coco_suite, draw_evaluation
from tasks.shared.benchmark.suite import Options
from tasks.shared.detection.evaluate import evaluate_detections


def test_both_give_the_same_numbers() -> None:
    (result,) = coco_suite(Options(rounds=1, coco_pictures=20)).results
    assert result.case == "20 images"
    assert result.facts["detections"] == 20 * FOUND and 0.1 < result.facts["AP"] < 0.9
    assert result.checks == {"equal_numbers": True}
    assert result.times.ratio > 0


def test_other_numbers_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def evaluate(truth: dict[str, Any], detections: list[dict[str, Any]], ids: list[int], backend: str) -> Any:
        return evaluate_detections(truth, detections[backend == "faster" :], ids, backend)

    monkeypatch.setattr(coco, "evaluate_detections", evaluate)
    (result,) = coco_suite(Options(rounds=1, coco_pictures=5)).results
    assert result.checks == {"equal_numbers": False}


def test_what_equal_means() -> None:
    figures = {"AP": 0.3, "AR1": 0.1}
    assert are_equal(figures, {"AP": 0.30000000000000004, "AR1": 0.1})
    assert not are_equal(figures, {"AP": 0.3000001, "AR1": 0.1})
    assert not are_equal(figures, {"AP": 0.3}) and not are_equal({"AP": 0.3}, figures)


def test_what_is_drawn_is_what_coco_holds() -> None:
    truth, detections = draw_evaluation(200)
    assert draw_evaluation(200) == (truth, detections)
    assert Counter(d["image_id"] for d in detections) == {image["id"]: FOUND for image in truth["images"]}
    assert 6 < len(truth["annotations"]) / 200 < 9
    assert 0 < sum(a["iscrowd"] for a in truth["annotations"]) < 0.05 * len(truth["annotations"])
    assert [a["id"] for a in truth["annotations"]] == list(range(1, len(truth["annotations"]) + 1))
    boxes = np.array([a["bbox"] for a in truth["annotations"]])
    assert boxes.min() >= 0 and (boxes[:, :2] + boxes[:, 2:]).max() <= SIDE + 0.01
    areas = np.array([a["area"] for a in truth["annotations"]])
    np.testing.assert_allclose(areas, boxes[:, 2] * boxes[:, 3])
    assert all(0.1 < share < 0.7 for share in ((areas < 32**2).mean(), (areas > 96**2).mean())), "all of COCO's sizes"
    figures = evaluate_detections(copy.deepcopy(truth), detections, [image["id"] for image in truth["images"]])
    assert 0.1 < figures["AP"] < figures["AP50"] < 0.95
    assert figures["APs"] != figures["APl"] and len(figures) == 12 + 80
