"""The score of a checkpoint: one function, for the end of training and for tools/eval.py."""

import json
import logging
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from tasks.shared.build import build_data, check_kind, load_task
from tasks.shared.checkpoint import load_checkpoint
from tasks.shared.images import read_image, to_pil
from tasks.shared.module import update_evaluator
from tasks.shared.progress import track
from tasks.shared.runtime import keep_heap, pick_device

log = logging.getLogger(__name__)
PICTURES = 12
TILE = 320


def score_checkpoint(path: Path, config: dict[str, Any], output: Path) -> dict[str, float]:
    """Evaluate a checkpoint on the validation data of `config`, in fp32.

    Writes metrics.json, the evaluator's results, pictures/ and samples.jpg into `output`; returns the metrics.
    """
    checkpoint = load_checkpoint(path)
    info = checkpoint.info
    task = load_task(config, checkpoint.weights, len(info["class_names"]), str(path))
    data = build_data(config, splits=("val",))
    check_kind(task, data, config)
    evaluator = task.evaluator(data, info)
    keep_heap()
    device = pick_device(config["trainer"]["accelerator"])
    task = task.eval().to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    pictures: list[tuple[str, Image.Image]] = []
    start, count = time.monotonic(), 0
    with torch.inference_mode():
        for batch in track(data.val_loader(), "evaluating"):
            if not batch.targets:
                continue
            batch = batch._replace(images=batch.images.to(device))
            results = update_evaluator(task, evaluator, batch)
            count += len(results)
            for result, target in zip(results[: PICTURES - len(pictures)], batch.targets, strict=False):
                image = to_pil(read_image(Path(target["file"])))
                truth = original_target(target, task.resolution)
                pictures.append((Path(target["file"]).stem, task.draw(image, result, info, truth)))
    seconds = time.monotonic() - start
    metrics = evaluator.compute()
    log.info("evaluated %d pictures, %.1f a second", count, count / seconds)

    output.mkdir(parents=True, exist_ok=True)
    evaluator.save(output)
    save_pictures(pictures, output)
    (output / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    return metrics


def original_target(target: dict[str, Any], resolution: int) -> dict[str, Any]:
    """The target with its boxes, if it has any, in pixels of the original picture."""
    if "boxes" not in target:
        return target
    height, width = target["size"]
    return target | {"boxes": target["boxes"].cpu() * torch.tensor([width, height, width, height]) / resolution}


def save_pictures(pictures: list[tuple[str, Image.Image]], output: Path) -> None:
    """Each picture into pictures/, and all of them as tiles on one sheet, samples.jpg."""
    if not pictures:
        return
    folder = output / "pictures"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    columns = 4
    sheet = Image.new("RGB", (columns * TILE, -(-len(pictures) // columns) * TILE), "white")
    for index, (name, picture) in enumerate(pictures):
        picture.save(folder / f"{name}.jpg", quality=92)
        tile = picture.copy()
        tile.thumbnail((TILE, TILE))
        sheet.paste(tile, (index % columns * TILE, index // columns * TILE))
    sheet.save(output / "samples.jpg", quality=92)
