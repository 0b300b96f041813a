"""COCO's evaluation: the 12 numbers and AP per class."""

import contextlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch.distributed as dist

from tasks.shared.detection.annotations import load_coco_json
from tasks.shared.detection.dataset import DetectionTarget
from tasks.shared.detection.postprocess import Detections
from tasks.shared.errors import UserError
from tasks.shared.files.writing import write_text

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
BACKENDS = ("faster", "pycocotools")


def check_resize_agrees(data: Any, resize: str) -> None:
    """Refuse data whose boxes lie in another square than the network's images are prepared in."""
    if (theirs := getattr(data, "resize", resize)) != resize:
        raise UserError(
            f"data.resize={theirs}, but this network takes its images with resize={resize}; expected one for both"
        )


class CocoEvaluator:
    """Collects detections and scores them against a COCO instances file, as `tasks.shared.contract.Evaluator`.

    Args:
        annotations: the file; crowd boxes in it are ignored as COCO does.
        category_ids, class_names: what the network's labels mean. Every category of the file must be among them;
            detections of others are no errors, COCO does not count them.
        backend: "faster" (faster-coco-eval) or "pycocotools", the reference; the same numbers.

    Only images that `update` has seen are scored. Holds six numbers a detection.
    """

    def __init__(
        self, annotations: Path, category_ids: Sequence[int], class_names: Sequence[str], backend: str = "faster"
    ):
        if backend not in BACKENDS:
            raise UserError(f"task.evaluator={backend!r}; expected one of {', '.join(BACKENDS)}")
        self.truth = load_coco_json(annotations)
        for number, annotation in enumerate(self.truth["annotations"], 1):
            annotation.pop("segmentation", None)  # boxes are what is scored; outlines are most of the memory
            annotation["id"] = number  # both backends count a match with annotation 0 as none
        known = dict(zip(category_ids, class_names, strict=True))
        wrong = [c for c in self.truth["categories"] if known.get(c["id"]) != str(c["name"])]
        if wrong:
            listed = ", ".join(f"{c['id']} {c['name']}" for c in wrong[:5])
            raise UserError(
                f"{annotations}: {len(wrong)} of its {len(self.truth['categories'])} categories are not among the "
                f"{len(known)} that the network was trained on: {listed}"
            )
        self.category_ids = np.array(category_ids, dtype=np.int64)
        self.backend = backend
        self.found: dict[int, np.ndarray] = {}  # image id -> rows of x, y, width, height, score, category id

    def reset(self) -> None:
        self.found.clear()

    def update(self, results: Sequence[Detections], targets: Sequence[DetectionTarget]) -> None:
        """targets: only their `image_id` is read."""
        for result, target in zip(results, targets, strict=True):
            boxes, scores, labels = (t.double().cpu().numpy() for t in result)
            sizes = boxes[:, 2:] - boxes[:, :2]
            categories = self.category_ids[labels.astype(np.int64)]
            rows = np.column_stack([boxes[:, :2], sizes, scores, categories])
            self.found[int(target["image_id"])] = rows

    def gather(self) -> None:
        """Under DDP: every process gets the detections of all."""
        if dist.is_initialized() and dist.get_world_size() > 1:
            parts: list[Any] = [None] * dist.get_world_size()
            dist.all_gather_object(parts, self.found)
            self.found = {image: rows for part in parts for image, rows in part.items()}

    def detections(self) -> list[dict[str, Any]]:
        """In COCO's results format, by image id, best first."""
        return [
            {
                "image_id": image,
                "category_id": int(row[5]),
                "bbox": [round(v, 3) for v in row[:4].tolist()],
                "score": float(row[4]),
            }
            for image in sorted(self.found)
            for row in self.found[image]
        ]

    def compute(self) -> dict[str, float]:
        """The 12 numbers by name and `AP/<class>`, each in 0 to 1.

        A figure for which there is no ground truth (COCO's -1) is left out. Without any detection all are 0.
        """
        return evaluate_detections(self.truth, self.detections(), sorted(self.found), self.backend)

    def save(self, folder: Path) -> None:
        write_text(folder / "detections.json", json.dumps(self.detections()), "output")


def evaluate_detections(
    truth: dict[str, Any], detections: list[dict[str, Any]], image_ids: Sequence[int], backend: str = "faster"
) -> dict[str, float]:
    """Score detections in COCO's results format against COCO's instances dict, over the images `image_ids`."""
    if backend == "faster":
        from faster_coco_eval import COCO
        from faster_coco_eval import COCOeval_faster as COCOeval
    else:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    with contextlib.redirect_stdout(io.StringIO()):  # both print as they go
        reference = COCO()
        reference.dataset = truth
        reference.createIndex()
        found = reference.loadRes(detections) if detections else COCO()  # loadRes fails on an empty list
        if not detections:
            found.dataset = {"images": truth["images"], "annotations": [], "categories": truth["categories"]}
            found.createIndex()
        scoring = COCOeval(reference, found, "bbox")
        scoring.params.imgIds = list(image_ids)
        scoring.evaluate()
        scoring.accumulate()
        scoring.summarize()
    figures = dict(zip(METRICS, (float(v) for v in scoring.stats[:12]), strict=True))
    names = {c["id"]: c["name"] for c in truth["categories"]}
    precision = np.asarray(scoring.eval["precision"])[:, :, :, 0, -1]  # IoU, recall, class; all areas, 100 an image
    for index, category in enumerate(scoring.params.catIds):
        column = precision[:, :, index]
        figures[f"AP/{names[category]}"] = float(column[column > -1].mean()) if (column > -1).any() else -1.0
    return {name: value for name, value in figures.items() if value > -1}
