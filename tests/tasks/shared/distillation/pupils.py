"""A teacher and a task that are small enough to work out by hand, and runs of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from backbone import MobileNetV1
from tasks.shared.config.compose import compose_config, plain, quote_paths
from tasks.shared.contract import Target, TeacherInfo
from tasks.shared.distillation.teacher import Teacher
from tasks.shared.errors import UserError
from tasks.shared.network.pooled_task import PooledTask

HOME = "tests.tasks.shared.distillation.pupils"
OWN_TARGETS = frozenset(f"{HOME}.{name}" for name in ("Copier", "ClassCopier", "make_teacher", "missing"))
CALLS: list[int] = []  # images in each call of any teacher here
LOSSES: list[float] = []  # of each step of any Copier


class Colours:
    """Answers with the mean of each channel of the image's left and right half, in the order of `order`."""

    def __init__(self, order: Sequence[int]):
        self.order = list(order)

    def to(self, device: torch.device) -> None: ...

    def __call__(self, images: Tensor) -> Tensor:
        CALLS.append(len(images))
        halves = images.float().unflatten(-1, (2, -1)).mean((-1, -3))  # (B, 3, 2)
        return halves.flatten(1)[:, self.order] / 255

    def cost(self) -> tuple[int, int]:
        return 4_000_000, 2_000


def make_teacher(
    path: str | None = None, order: Sequence[int] = (0, 1, 2, 3, 4, 5), size: tuple[int, int] = (20, 24)
) -> Teacher:
    """`Colours` as a teacher; path: only has to be there. Draws from torch's generator, as a new network would."""
    torch.rand(7)
    content = "-".join(map(str, order))
    teacher = Teacher(Colours(order), name="colours", size=(size[0], size[1]), content=content)
    CALLS.clear()  # it has tried the network
    return teacher


class Copier(PooledTask):
    """Copies its teacher's six numbers."""

    outputs: int | None = 6
    monitored_metrics = ("never_given", "closeness", "level")
    data_type = "classification"

    def __init__(self, backbone: MobileNetV1, num_classes: int, resolution: int, **_: Any):
        cut: dict[str, Any] = {"crop": "short_side", "crop_share": 0.875}
        super().__init__(backbone, self.outputs or num_classes, resolution, dropout=0.0, **cut)

    def loss(self, outputs: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        for target in targets:
            assert target.keys() == {"file", "size", "index", "teacher"}, "a taught network is told nothing else"
            assert target["teacher"].shape == (outputs.shape[1],) and target["teacher"].dtype == torch.float32
        loss = F.mse_loss(outputs.float(), torch.stack([target["teacher"] for target in targets]).to(outputs.device))
        LOSSES.append(loss.item())
        return {"difference": loss}

    def check_teacher(self, teacher: TeacherInfo, info: dict[str, Any]) -> None:
        if teacher.num_outputs != self.head.out_features:
            raise UserError(f"the teacher has {teacher.num_outputs} outputs, the student {self.head.out_features}")

    def info_of_teacher(self, teacher: TeacherInfo) -> dict[str, Any]:
        return {"taught_by": teacher.name}

    def predict(self, outputs: Tensor, sizes: Tensor) -> list[Tensor]:
        return list(outputs.float().cpu())

    def evaluator(self, data: Any, info: dict[str, Any]) -> "CopyEvaluator":
        return CopyEvaluator()

    def draw(self, image: Image.Image, result: Tensor, info: dict[str, Any], target: Any = None) -> Image.Image:
        return image

    def describe(self, result: Tensor, info: dict[str, Any]) -> list[float]:
        return result.tolist()


class ClassCopier(Copier):
    """Copies as many numbers as there are classes."""

    outputs = None


class CopyEvaluator:
    """`closeness`, minus the mean squared difference to the teacher, so below 0; and each one's mean, `level`."""

    def __init__(self) -> None:
        self.results: list[Tensor] = []
        self.answers: list[Tensor] = []

    def reset(self) -> None:
        self.results, self.answers = [], []

    def update(self, results: Sequence[Tensor], targets: Sequence[Target]) -> None:
        assert all("label" in target for target in targets), "evaluation knows labels"
        self.results += results
        self.answers += [target["teacher"].cpu() for target in targets if "teacher" in target]

    def gather(self) -> None: ...

    def compute(self) -> dict[str, float]:
        ours = torch.stack(self.results).double()
        metrics = {"level": ours.mean().item()}
        if self.answers:
            theirs = torch.stack(self.answers).double()
            metrics["teacher_level"] = theirs.mean().item()
            metrics["closeness"] = -(ours - theirs).square().mean().item()
        return metrics

    def save(self, folder: Path) -> None: ...


def taught_config(root: Path, place: Path, *more: str, **teacher: Any) -> dict[str, Any]:
    """The config of a tiny run on class folders in `root`, taught by `make_teacher(**teacher)`; place: of the cache."""
    settings = [
        "task=classification", "data=image_folder", f"data.root={root}", "backbone.alpha=0.25", "resolution=32",
        "data.batch_size=4", "data.workers=0", "trainer.accelerator=cpu", "trainer.max_epochs=2",
        "trainer.precision=32-true", "trainer.val_every_epochs=1", "trainer.ema_decay=null",
        f"task._target_={HOME}.Copier", *more,
    ]  # fmt: skip
    config = plain(compose_config("train", quote_paths(settings)))
    del config["output"], config["resume"]
    node = {"choice": "colours", "cache": True, "cache_folder": str(place), "_target_": f"{HOME}.make_teacher"}
    return config | {"teacher": node | teacher}
