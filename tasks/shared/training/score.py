"""The score of a checkpoint: one function, for the end of training and for tools/eval.py."""

import json
import logging
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from tasks.shared.distillation.teacher_targets import teach, teacher_if_there
from tasks.shared.errors import UserError
from tasks.shared.files.writing import encode_image, make_folder, whole_folder, write_image, write_text
from tasks.shared.images.decode import to_pil
from tasks.shared.network.build import build_data, check_data_type
from tasks.shared.network.fused import network_of
from tasks.shared.records.checkpoint import load_checkpoint
from tasks.shared.terminal.progress import track
from tasks.shared.training.module import update_evaluator
from tasks.shared.training.settings import RunConfig

log = logging.getLogger(__name__)
IMAGES = 12
TILE = 320


def score_checkpoint(path: Path, config: RunConfig, output: Path) -> dict[str, float]:
    """Evaluate a checkpoint on the validation data of `config`, and the teacher that it names beside it.

    Writes metrics.json, the evaluator's results, pictures/ and samples.jpg into `output`; returns the metrics.
    """
    checkpoint = load_checkpoint(path)
    info = checkpoint.info
    task, device = network_of(checkpoint, config.network, config.trainer.accelerator, config.trainer.precision)
    data = build_data(config.data, config.resolution, splits=("val",))
    check_data_type(task, data, config.task.name, config.data_name)
    teacher, teacher_targets = teacher_if_there(config.teacher), None
    if teacher is not None:
        task.check_teacher(teacher, info)
        teacher_targets = teach(data, teacher, config.teacher, config.data_name, splits=("val",))["val"]
    evaluator = task.evaluator(data, info)

    images: list[tuple[str, Image.Image]] = []
    loader = data.val_loader()
    total = len(loader.dataset)  # type: ignore[arg-type]
    shown = {round(k * (total - 1) / (IMAGES - 1)) for k in range(IMAGES)}  # from all parts of the set
    start, count, skipped = time.monotonic(), 0, 0
    with torch.inference_mode():
        for batch in track(loader, "evaluating"):
            skipped += batch.skipped
            if not batch.targets:
                continue
            batch = batch._replace(images=batch.images.to(device))
            results = update_evaluator(task, evaluator, batch, teacher_targets)
            count += len(results)
            numbered = zip(range(count - len(results), count), results, batch.targets, strict=True)
            for result, target in [(r, t) for number, r, t in numbered if number in shown]:
                drawn = task.draw(to_pil(data.image(target)), result, info, target)
                images.append((f"{len(images):02d}_{Path(target['file']).stem[:100]}", drawn))
    seconds = time.monotonic() - start
    metrics = evaluator.compute()
    left_out = f"; {skipped} could not be read and are left out" if skipped else ""
    log.info("evaluated %d images, %.1f a second%s", count, count / seconds, left_out)
    if count == 0:
        raise UserError("there was no image to evaluate")

    make_folder(output, "output")
    evaluator.save(output)
    save_images(images, output)
    # Last: a run with metrics.json is finished.
    write_text(output / "metrics.json", json.dumps(metrics, indent=2) + "\n", "output")
    return metrics


def save_images(images: list[tuple[str, Image.Image]], output: Path) -> None:
    """Each image into pictures/, and all of them as tiles on one sheet, samples.jpg."""
    if not images:
        return
    shape = float(np.median([image.width / image.height for _, image in images]))
    columns = max(1, round(4 / shape**0.5))  # fewer of wide images
    width = 4 * TILE // columns
    tiles = [ImageOps.contain(image, (width, TILE)) for _, image in images]
    height = max(tile.height for tile in tiles)
    sheet = Image.new("RGB", (columns * width, -(-len(tiles) // columns) * height), "white")
    with whole_folder(output / "pictures", "output", replace=True) as folder:
        for index, ((name, image), tile) in enumerate(zip(images, tiles, strict=True)):
            (folder / f"{name}.jpg").write_bytes(encode_image(image, "JPEG", quality=92))
            sheet.paste(tile, (index % columns * width, index // columns * height))
    write_image(output / "samples.jpg", sheet, "output")
