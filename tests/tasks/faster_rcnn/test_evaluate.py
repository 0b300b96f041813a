"""The share of objects that proposals find, against a slow count, and under DDP."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from tasks.faster_rcnn.evaluate import ProposalEvaluator
from tasks.faster_rcnn.model import Found
from tasks.shared.images.decode import fit_scale
from tests.tasks.faster_rcnn.conftest import random_boxes
from tests.tasks.faster_rcnn.slow_loss import slow_iou

R = 96
SIZES = {11: (200, 100), 12: (60, 90), 13: (96, 96)}  # height, width


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., ProposalEvaluator]:
    images = [{"id": k, "file_name": f"{k}.jpg", "height": h, "width": w} for k, (h, w) in SIZES.items()]
    annotation = {"id": 1, "image_id": 11, "category_id": 1, "bbox": [5, 5, 40, 40], "area": 1600, "iscrowd": 0}
    content = {"images": images, "annotations": [annotation], "categories": [{"id": 1, "name": "a"}]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    return lambda *options: ProposalEvaluator(tmp_path / "a.json", [1], ["a"], "faster", R, *options)


def found(proposals: Tensor) -> Found:
    return Found(torch.tensor([[1.0, 1, 9, 9]]), torch.tensor([0.5]), torch.tensor([0]), proposals)


def batch(count: int, resize: str) -> tuple[list[Found], list[dict[str, Any]]]:
    """Proposals in pixels of the images, targets in pixels of their squares; the last image has no object."""
    results, targets = [], []
    for seed, (image, (height, width)) in enumerate(SIZES.items()):
        boxes = random_boxes(count if image != 13 else 0, seed=seed, side=50, size=40)
        near = boxes + 6 * torch.randn(boxes.shape, generator=torch.Generator().manual_seed(seed))
        near = torch.cat([near.clamp(min=0), random_boxes(4, seed=seed + 9, side=50, size=40)])
        results.append(found(near))
        square = boxes * fit_scale(height, width, R, resize)
        targets.append({"boxes": square, "image_id": image, "size": (height, width)})
    return results, targets


@pytest.mark.parametrize("resize", ["square", "keep_aspect"])
@pytest.mark.parametrize("count", [1, 8])
def test_recall_agrees_with_a_slow_count(make, count, resize):
    evaluator = make(resize)
    results, targets = batch(count, resize)
    hits = objects = 0
    for result, target in zip(results, targets, strict=True):
        height, width = target["size"]
        scale = fit_scale(height, width, R, resize)
        for box in (target["boxes"] / scale).tolist():
            objects += 1
            hits += any(slow_iou(box, proposal) >= 0.5 for proposal in result.proposals.tolist())
    for result, target in zip(results, targets, strict=True):  # in batches of one
        evaluator.update([result], [target])
    figures = evaluator.compute()
    assert figures["rpn_recall"] == pytest.approx(hits / objects)
    assert count == 1 or 0 < hits < objects
    assert "AP50" in figures


def test_worked_by_hand(make):
    evaluator = make()
    # In an image 100 wide and 200 high, the square's 48 pixels are 50 and 100.
    boxes = torch.tensor([[0.0, 0, 48, 48], [48, 48, 96, 96], [0, 48, 48, 96]])
    proposals = torch.tensor([[0.0, 0, 50, 51], [50, 100, 100, 149], [0, 100, 50, 200]])
    evaluator.update([found(proposals)], [{"boxes": boxes, "image_id": 11, "size": (200, 100)}])
    assert evaluator.compute()["rpn_recall"] == pytest.approx(2 / 3)  # IoU 0.51, 0.49 and 1


def test_images_without_objects_or_proposals_count_as_they_should(make):
    evaluator = make()
    evaluator.update([found(torch.zeros(0, 4))], [{"boxes": torch.zeros(0, 4), "image_id": 13, "size": (96, 96)}])
    assert "rpn_recall" not in evaluator.compute(), "there is nothing to find"
    evaluator.update([found(torch.zeros(0, 4))], [{"boxes": random_boxes(3), "image_id": 12, "size": (60, 90)}])
    assert evaluator.compute()["rpn_recall"] == 0
    evaluator.reset()
    assert not evaluator.recalled


def test_every_process_gets_the_counts_of_all_and_a_image_seen_twice_counts_once(make, monkeypatch):
    both = [make(), make()]
    results, targets = batch(8, "square")
    both[0].update(results[:2], targets[:2])
    both[1].update(results[1:], targets[1:])
    whole = make()
    whole.update(results, targets)

    def gather(parts: list[Any], own: Any) -> None:
        parts[:] = before["recalled" if any(own is e.recalled for e in both) else "found"]

    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_gather_object", gather)
    before = {"recalled": [e.recalled for e in both], "found": [e.found for e in both]}
    for evaluator in both:
        evaluator.gather()
        assert evaluator.recalled == whole.recalled
        assert evaluator.found.keys() == whole.found.keys()
        assert evaluator.compute() == whole.compute()
