"""COCO's numbers: both backends against each other, cases whose answer is known, and labels against category ids."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tasks.shared.detection.evaluate import BACKENDS, METRICS, CocoEvaluator, evaluate_detections
from tasks.shared.detection.postprocess import Detections
from tasks.shared.errors import UserError

# pycocotools' own arrays are behind numpy's interface; nothing here can change that.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

IDS, NAMES = [1, 3, 17, 90], ["person", "car", "cat", "brush"]  # no brush in any image
SIZES = ((5, 30), (35, 90), (100, 200))  # COCO's small, medium and large


def ground_truth(images: int = 12, seed: int = 0) -> dict[str, Any]:
    """Boxes of every size and class but the last, some of them crowds; every third image is empty."""
    rng = np.random.default_rng(seed)
    annotations: list[dict[str, Any]] = []
    for image in range(images):
        for _ in range(0 if image % 3 == 2 else 9):
            w, h = (float(v) for v in rng.uniform(*SIZES[rng.integers(3)], 2).round(2))
            x, y = (float(v) for v in rng.uniform(0, 400, 2).round(2))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": 100 + 7 * image,
                    "category_id": int(rng.choice(IDS[:3])),
                    "bbox": [x, y, w, h],
                    "area": round(w * h * 0.7, 2),
                    "iscrowd": int(rng.random() < 0.1),
                }
            )
    return {
        "images": [{"id": 100 + 7 * p, "file_name": f"{p}.jpg", "height": 600, "width": 600} for p in range(images)],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in zip(IDS, NAMES, strict=True)],
    }


def random_detections(truth: dict[str, Any], seed: int = 1) -> list[dict[str, Any]]:
    """Noisy copies of the boxes, some of another class, and boxes out of nowhere."""
    rng = np.random.default_rng(seed)
    found = []
    for annotation in truth["annotations"] * 4:
        bbox = np.array(annotation["bbox"]) * rng.normal(1, 0.08, 4)
        category = annotation["category_id"] if rng.random() < 0.8 else int(rng.choice(IDS))
        found.append(detection(annotation["image_id"], category, bbox.clip(1).round(3).tolist(), rng.random()))
    for image in truth["images"]:
        for _ in range(15):
            bbox = np.concatenate([rng.uniform(0, 400, 2), rng.uniform(5, 200, 2)])
            found.append(detection(image["id"], int(rng.choice(IDS)), bbox.round(3).tolist(), rng.random()))
    return found


def detection(image: int, category: int, bbox: list[float], score: float) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": bbox, "score": score}


@pytest.fixture
def evaluator(tmp_path) -> Callable[..., CocoEvaluator]:
    def make(truth: dict[str, Any], **options: Any) -> CocoEvaluator:
        path = tmp_path / "instances.json"
        path.write_text(json.dumps(truth))
        settings: dict[str, Any] = {"category_ids": IDS, "class_names": NAMES} | options
        return CocoEvaluator(path, **settings)

    return make


def perfect(truth: dict[str, Any], image: int, ids: Sequence[int] = IDS) -> Detections:
    """The boxes of an image as a network's answer, crowds left out."""
    own = [a for a in truth["annotations"] if a["image_id"] == image and not a.get("iscrowd")]
    boxes = torch.tensor([a["bbox"] for a in own], dtype=torch.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    labels = torch.tensor([ids.index(a["category_id"]) for a in own], dtype=torch.int64)
    return Detections(boxes, torch.linspace(0.9, 0.5, len(own)), labels)


def feed(scored: CocoEvaluator, truth: dict[str, Any], answer: Callable[[int], Detections]) -> dict[str, float]:
    for image in truth["images"]:
        target: Any = {"image_id": image["id"]}  # all that is read of it
        scored.update([answer(image["id"])], [target])
    return scored.compute()


def nothing(_: int) -> Detections:
    return Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_both_backends_give_the_same_numbers(seed):
    truth = ground_truth(seed=seed)
    found, ids = random_detections(truth, seed + 10), [image["id"] for image in truth["images"]]
    faster, reference = (evaluate_detections(truth, found, ids, backend) for backend in BACKENDS)
    assert list(faster) == list(reference) == [*METRICS, "AP/person", "AP/car", "AP/cat"]
    assert faster == pytest.approx(reference, rel=0, abs=1e-12)
    assert all(0 < value < 1 for value in faster.values())
    assert faster["AP"] == pytest.approx(np.mean([faster[f"AP/{name}"] for name in NAMES[:3]]))


@pytest.mark.parametrize("first_id", [1, 0])
@pytest.mark.parametrize("backend", BACKENDS)
def test_perfect_detections_have_ap_1(evaluator, backend, first_id):
    truth = ground_truth()
    for number, annotation in enumerate(truth["annotations"], first_id):
        annotation["id"] = number  # COCO counts from 1, other people's files from 0
    scored = evaluator(truth, backend=backend)
    figures = feed(scored, truth, lambda image: perfect(truth, image))
    assert figures.pop("AR1") < figures.pop("AR10") + 1e-9  # nine boxes an image: one detection cannot recall them
    assert figures == pytest.approx(dict.fromkeys(figures, 1.0), abs=1e-9)
    assert {"AP", "AP50", "APs", "AR100", "AP/person"} < figures.keys()


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_detections_at_all_score_zero(evaluator, backend):
    truth = ground_truth()
    figures = feed(evaluator(truth, backend=backend), truth, nothing)
    assert figures == dict.fromkeys([*METRICS, "AP/person", "AP/car", "AP/cat"], 0.0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_figures_without_ground_truth_are_left_out(evaluator, backend):
    truth = ground_truth()
    truth["annotations"] = [
        {"id": 5, "image_id": 100, "category_id": 3, "bbox": [1, 1, 20, 20], "area": 400},
        {"id": 6, "image_id": 100, "category_id": 17, "bbox": [1, 1, 200, 200], "area": 40000, "iscrowd": 1},
    ]
    figures = feed(evaluator(truth, backend=backend), truth, lambda image: perfect(truth, image))
    small = {"AP", "AP50", "AP75", "APs", "AR1", "AR10", "AR100", "ARs", "AP/car"}
    assert figures == pytest.approx(dict.fromkeys(small, 1.0))


@pytest.mark.parametrize("backend", BACKENDS)
def test_before_any_image_there_are_no_figures(evaluator, backend):
    assert evaluator(ground_truth(), backend=backend).compute() == {}


@pytest.mark.parametrize("backend", BACKENDS)
def test_only_the_images_seen_are_scored(evaluator, backend):
    truth = ground_truth()
    scored = evaluator(truth, backend=backend)
    scored.update([perfect(truth, 100)], [{"image_id": 100}])  # the other images' boxes are not missed
    assert scored.compute()["AP"] == pytest.approx(1)
    scored.update([nothing(107)], [{"image_id": 107}])
    assert scored.compute()["AP"] < 0.9
    scored.reset()
    assert scored.compute() == {}
    scored.update([perfect(truth, 107)], [{"image_id": 107}])
    assert scored.compute()["AP"] == pytest.approx(1)


def test_a_image_seen_twice_counts_once(evaluator):
    truth = ground_truth()
    scored = evaluator(truth)
    for _ in range(2):  # as under DDP, where the last batch is filled up
        scored.update([perfect(truth, 100)], [{"image_id": 100}])
    assert len(scored.detections()) == len(perfect(truth, 100).scores)
    assert scored.compute()["AP"] == pytest.approx(1)


def test_a_wrong_class_costs_the_class_its_precision(evaluator):
    truth = ground_truth()
    swapped = {0: 1, 1: 0, 2: 2}
    figures = feed(
        evaluator(truth),
        truth,
        lambda image: perfect(truth, image)._replace(
            labels=torch.tensor([swapped[i] for i in perfect(truth, image).labels.tolist()], dtype=torch.int64)
        ),
    )
    assert figures["AP/cat"] == pytest.approx(1)
    assert max(figures["AP/person"], figures["AP/car"]) < 0.1


def test_detections_are_in_cocos_format_with_the_files_category_ids(evaluator, tmp_path):
    truth = ground_truth()
    scored = evaluator(truth)
    boxes = torch.tensor([[10.0, 20, 40, 60], [1.23456, 2, 3, 4]])
    scored.update(
        [Detections(boxes, torch.tensor([0.75, 0.5]), torch.tensor([2, 0]))], [{"image_id": 107, "file": "x.jpg"}]
    )
    scored.update([nothing(100)], [{"image_id": 100}])
    expected = [
        detection(107, 17, [10.0, 20.0, 30.0, 40.0], 0.75),
        detection(107, 1, [1.235, 2.0, 1.765, 2.0], 0.5),
    ]
    assert scored.detections() == expected
    scored.save(tmp_path)
    assert json.loads((tmp_path / "detections.json").read_text()) == expected


@pytest.mark.parametrize("backend", BACKENDS)
def test_classes_that_the_file_does_not_know_are_not_counted(evaluator, backend):
    truth = ground_truth()
    more: dict[str, Any] = {
        "category_ids": [2, *IDS],
        "class_names": ["dog", *NAMES],
    }  # the network knows dogs, and its labels shift
    scored = evaluator(truth, backend=backend, **more)

    def answer(image: int) -> Detections:
        found = perfect(truth, image, more["category_ids"])
        dogs = Detections(torch.tensor([[5.0, 5, 50, 50]] * 3), torch.full((3,), 0.99), torch.zeros(3).long())
        return Detections(*(torch.cat([dog, own]) for dog, own in zip(dogs, found, strict=True)))

    figures = feed(scored, truth, answer)
    assert figures["AP"] == pytest.approx(1)
    assert "AP/dog" not in figures


@pytest.mark.parametrize(
    ("ids", "names", "listed"),
    [([1, 3, 90], ["person", "car", "brush"], "17 cat"), (IDS, ["person", "car", "kitten", "brush"], "17 cat")],
)
def test_a_category_that_the_network_does_not_know_is_refused(evaluator, ids, names, listed):
    with pytest.raises(UserError, match=rf"instances\.json: 1 of its 4 categories.*: {listed}$"):
        evaluator(ground_truth(), category_ids=ids, class_names=names)


def test_names_may_be_numbers_in_the_file(evaluator):
    truth = ground_truth()
    truth["categories"][1]["name"] = 7
    evaluator(truth, class_names=["person", "7", "cat", "brush"])


def test_an_unknown_backend_is_refused(evaluator):
    with pytest.raises(UserError, match=r"task\.evaluator='slow'; expected one of faster, pycocotools"):
        evaluator(ground_truth(), backend="slow")


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_is_printed(evaluator, backend, capfd):
    truth = ground_truth()
    feed(evaluator(truth, backend=backend), truth, lambda image: perfect(truth, image))
    assert capfd.readouterr() == ("", "")


EXAMPLE = os.environ.get("MOBILENET_TOOLKIT_COCO_EXAMPLE")


@pytest.mark.skipif(not EXAMPLE, reason="MOBILENET_TOOLKIT_COCO_EXAMPLE names no folder with COCO's published example")
@pytest.mark.parametrize("backend", BACKENDS)
def test_cocos_published_example_comes_out(backend):
    folder = Path(EXAMPLE or "")
    truth, found, published = (
        json.loads((folder / f"{name}.json").read_text())
        for name in ("instances_val2014_100", "detections", "published")
    )
    figures = evaluate_detections(truth, found, [image["id"] for image in truth["images"]], backend)
    assert len(published) == 12
    assert {name: round(figures[name], 3) for name in published} == published
