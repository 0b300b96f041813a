"""The score of a checkpoint: one function, for the end of training and for tools/eval.py."""

import json
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from tasks.shared.distillation.lessons import teach, teacher_if_there
from tasks.shared.errors import UserError
from tasks.shared.files.writing import encode_picture, make_folder, whole_folder, write_picture, write_text
from tasks.shared.images.decode import to_pil
from tasks.shared.network.build import build_data, check_kind
from tasks.shared.network.fused import network_of
from tasks.shared.records.checkpoint import load_checkpoint
from tasks.shared.terminal.progress import track
from tasks.shared.training.module import update_evaluator

log = logging.getLogger(__name__)
PICTURES = 12
TILE = 320


def score_checkpoint(path: Path, config: dict[str, Any], output: Path) -> dict[str, float]:
    """Evaluate a checkpoint on the validation data of `config`, and the teacher that it names beside it.

    Writes metrics.json, the evaluator's results, pictures/ and samples.jpg into `output`; returns the metrics.
    """
    checkpoint = load_checkpoint(path)
    info = checkpoint.info
    task, device = network_of(checkpoint, config)
    data = build_data(config, splits=("val",))
    check_kind(task, data, config)
    teacher, lesson = teacher_if_there(config), None
    if teacher is not None:
        task.check_teacher(teacher, info)
        lesson = teach(data, teacher, config, splits=("val",))["val"]
    evaluator = task.evaluator(data, info)

    pictures: list[tuple[str, Image.Image]] = []
    loader = data.val_loader()
    total = len(loader.dataset)  # type: ignore[arg-type]
    shown = {round(k * (total - 1) / (PICTURES - 1)) for k in range(PICTURES)}  # from all parts of the set
    start, count, skipped = time.monotonic(), 0, 0
    with torch.inference_mode():
        for batch in track(loader, "evaluating"):
            skipped += batch.skipped
            if not batch.targets:
                continue
            batch = batch._replace(images=batch.images.to(device))
            results = update_evaluator(task, evaluator, batch, lesson)
            count += len(results)
            numbered = zip(range(count - len(results), count), results, batch.targets, strict=True)
            for result, target in [(r, t) for number, r, t in numbered if number in shown]:
                drawn = task.draw(to_pil(data.picture(target)), result, info, target)
                pictures.append((f"{len(pictures):02d}_{Path(target['file']).stem[:100]}", drawn))
    seconds = time.monotonic() - start
    metrics = evaluator.compute()
    left_out = f"; {skipped} could not be read and are left out" if skipped else ""
    log.info("evaluated %d pictures, %.1f a second%s", count, count / seconds, left_out)
    if count == 0:
        raise UserError("there was no picture to evaluate")

    make_folder(output, "output")
    evaluator.save(output)
    save_pictures(pictures, output)
    # Last: a run with metrics.json is finished.
    write_text(output / "metrics.json", json.dumps(metrics, indent=2) + "\n", "output")
    return metrics


def save_pictures(pictures: list[tuple[str, Image.Image]], output: Path) -> None:
    """Each picture into pictures/, and all of them as tiles on one sheet, samples.jpg."""
    if not pictures:
        return
    shape = float(np.median([picture.width / picture.height for _, picture in pictures]))
    columns = max(1, round(4 / shape**0.5))  # fewer of wide pictures
    width = 4 * TILE // columns
    tiles = [ImageOps.contain(picture, (width, TILE)) for _, picture in pictures]
    height = max(tile.height for tile in tiles)
    sheet = Image.new("RGB", (columns * width, -(-len(tiles) // columns) * height), "white")
    with whole_folder(output / "pictures", "output", replace=True) as folder:
        for index, ((name, picture), tile) in enumerate(zip(pictures, tiles, strict=True)):
            (folder / f"{name}.jpg").write_bytes(encode_picture(picture, "JPEG", quality=92))
            sheet.paste(tile, (index % columns * width, index // columns * height))
    write_picture(output / "samples.jpg", sheet, "output")
