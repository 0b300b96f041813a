"""Every task with an untrained network and a sample of eleven images and a few more, ready to be evaluated."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from tasks.shared.config.compose import CONFIGS, compose_config, plain
from tasks.shared.contract import Data, Evaluator, Targets, Task
from tasks.shared.network.build import build_data, build_task, task_class
from tasks.shared.training.module import update_evaluator
from tasks.shared.training.settings import run_of

TASKS = sorted(file.stem for file in (CONFIGS / "task").glob("*.yaml"))
SAMPLES = {
    "classification": ["data.train=2", "data.val=2"],
    "dogs": ["data.train=2", "data.val=2"],
    "ssd": ["data.train=2", "data.val=11"],
    "faster_rcnn": ["data.train=2", "data.val=11"],
    "planet": ["data.train=30", "data.val=11", "data.partition.min_photos=1", "data.partition.max_photos=10"],
    "face_attributes": ["data.train=12", "data.val=12"],
    "facenet": ["data.train=12", "data.train_pictures=2", "data.val=12", "data.val_pictures=2"],
}


class Taught:
    """In place of a lesson: a teacher's answer, which depends on the image alone."""

    def __init__(self, width: int):
        self.width = width

    def complete(self, targets: Targets, device: Any) -> None:
        for target in targets:
            generator = torch.Generator().manual_seed(target["index"])
            target["teacher"] = torch.randn(self.width, generator=generator)


class Ready(NamedTuple):
    """A task's network, its data, and what scores it; a teacher's answers where the task compares with them."""

    data: Data
    task: Task
    evaluator: Evaluator
    teacher_targets: Any

    def evaluate(self, count: int) -> None:
        """Score the first `count` images, or under DDP this process's part of them."""
        loader = self.data.val_loader(shard=True)
        loader.batch_sampler.sampler.data = range(count)  # type: ignore[union-attr]
        self.evaluator.reset()
        with torch.inference_mode():
            for batch in loader:
                update_evaluator(self.task, self.evaluator, batch, self.teacher_targets)


def ready(name: str, root: Path, *overrides: str) -> Ready:
    """root: of the sample, which is drawn there if need be."""
    tiny = ["backbone.alpha=0.25", "resolution=64", "data.workers=0", "data.val_batch_size=2", *SAMPLES[name]]
    settings = [f"task={name}", f"data.root={root}", "teacher=none", *tiny, *overrides]
    config = run_of(plain(compose_config("train", settings)))
    torch.manual_seed(0)
    data = build_data(config.data, config.resolution)
    task = build_task(config.network, task_class(config.task).count_outputs(data, None)).eval()
    for layer in task.modules():  # so that answers differ from image to image
        if isinstance(layer, nn.Linear | nn.Conv2d) and layer.bias is not None:
            nn.init.normal_(layer.bias, std=0.5)
    widths = {"face_attributes": data.num_classes, "facenet": 128}
    return Ready(data, task, task.evaluator(data, data.info), Taught(widths[name]) if name in widths else None)
