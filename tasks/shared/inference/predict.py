"""Running a checkpoint on images, folders, globs, films and cameras."""

import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tasks.shared.config.nodes import NetworkConfig
from tasks.shared.contract import Task
from tasks.shared.errors import UserError
from tasks.shared.files.folders import METRICS
from tasks.shared.files.writing import make_folder, write_image, write_text
from tasks.shared.images.decode import collate_images, read_image, to_pil
from tasks.shared.images.files import find_images
from tasks.shared.images.limits import max_pixels
from tasks.shared.inference.settings import PredictConfig
from tasks.shared.inference.video import VIDEO_SUFFIXES, FilmWriter, is_camera, read_frames
from tasks.shared.network.fused import network_of
from tasks.shared.records.checkpoint import load_checkpoint
from tasks.shared.records.runs import read_metrics
from tasks.shared.terminal.escaped import printable
from tasks.shared.terminal.progress import track

log = logging.getLogger(__name__)


def predict_files(
    path: Path, network: NetworkConfig, accelerator: str, precision: str | int, keys: PredictConfig, output: Path
) -> list[dict[str, Any]]:
    """Answer for every image of `keys.input` with the checkpoint `path`; returns what predictions.json holds.

    network: the checkpoint's, with what the user has changed. accelerator, precision: what it runs on.
    input: a file, a folder, a glob, a film, or a camera's number. Images with the answer drawn on go to `output`
    under their own names, a film as one film. Unreadable images among others are left out and reported.
    pair: an image to compare with the one that `input` is, where the task does so.
    """
    source, pair = str(keys.input), None if keys.pair is None else str(keys.pair)
    checkpoint = load_checkpoint(path)
    live = is_camera(source) or Path(source).suffix.lower() in VIDEO_SUFFIXES
    files = [] if live else find_images(source)
    task, device = network_of(checkpoint, network, accelerator, precision)
    if pair is not None:
        files = _both(files, pair, task, network.task.name)

    film = FilmWriter(output / f"{Path(source).stem or 'camera'}.mp4", source) if live else None
    base = _common_folder(files)
    frames = read_frames(source) if live else track(_read_all(files, strict=pair is not None), "predicting")
    predictions: list[dict[str, Any]] = []
    names: list[str] = []
    with nullcontext() if film is None else film:
        try:
            for group in _in_groups(frames, keys.batch_size, max_pixels()):
                images = collate_images([task.prepare(image) for _, image in group]).to(device)
                sizes = torch.tensor([image.shape[-2:] for _, image in group])
                with torch.inference_mode():
                    results = task.predict(task(images), sizes)
                for (name, image), result in zip(group, results, strict=True):
                    drawn = task.draw(to_pil(image), result, checkpoint.info)
                    if film is not None:
                        film.add(drawn)
                    else:
                        target = (output / Path(name).relative_to(base)).with_suffix(".jpg")
                        if target.exists():  # a.png beside a.jpg
                            target = target.with_name(f"{Path(name).name}.jpg")
                        make_folder(target.parent, "output")
                        write_image(target, drawn, "output")
                    names.append(name)
                    predictions.append({"file": printable(name), "answer": task.describe(result, checkpoint.info)})
        except KeyboardInterrupt:
            if not is_camera(source):
                raise
            log.info("camera stopped after %d frames", len(predictions))
    if not predictions:
        raise UserError(f"input={printable(source)}: none of it could be read as an image")
    write_text(output / "predictions.json", json.dumps(predictions, indent=1, ensure_ascii=False) + "\n", "output")
    metrics = path.parent.parent / METRICS
    task.summarise(names, predictions, read_metrics(metrics) if metrics.exists() else {}, output)
    return predictions


def _both(files: list[Path], pair: str, task: Task, name: str | None) -> list[Path]:
    """The two images to compare."""
    if not task.compares:
        raise UserError(f"pair={printable(pair)}: task={name} compares no images; leave it out")
    both = [*files, *find_images(pair, "pair")]
    if len(files) != 1 or len(both) != 2:
        raise UserError(f"pair={printable(pair)}: expected one image there, and one as input, to compare the two")
    return both


def _common_folder(files: list[Path]) -> Path:
    """The deepest folder that holds all files."""
    parents = [file.parent for file in files]
    common = parents[0] if parents else Path()
    while not all(parent.is_relative_to(common) for parent in parents):
        common = common.parent
    return common


def _read_all(files: list[Path], strict: bool) -> Iterator[tuple[str, Tensor]]:
    """strict: none of them can be left out."""
    for file in files:
        try:
            yield str(file), read_image(file, exif=True)
        except UserError as error:
            if strict or len(files) == 1:
                raise
            log.warning("left out: %s", error)


def _in_groups(items: Iterable[tuple[str, Tensor]], size: int, pixels: int) -> Iterator[list[tuple[str, Tensor]]]:
    """Up to `size` images each, and fewer where they have `pixels` pixels together: all of a group are in memory."""
    group: list[tuple[str, Tensor]] = []
    for item in items:
        group.append(item)
        if len(group) == size or sum(image[0].numel() for _, image in group) >= pixels:
            yield group
            group = []
    if group:
        yield group
