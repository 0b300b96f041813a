"""What a task, its data and its evaluator owe each other. Everything shared is written against these four."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Required, TypedDict

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader

from backbone import Backbone, Published, load_weights
from tasks.shared.errors import UserError


class Target(TypedDict, total=False):
    """What every loader says of an image. Each type of data says more, which its tasks' losses and evaluators read.

    file: its path, or whatever names it. size: original height and width in pixels. index: of the image in its split.
    teacher: the teacher's prediction (K,) float32, of data with a teacher; until it has been asked `view`, the image as
    it takes it, (3, h, w) uint8, and where predictions are kept `checksum`, of the whole image.
    """

    file: Required[str]
    size: Required[tuple[int, int]]
    index: int
    teacher: Tensor
    view: np.ndarray
    checksum: int


Targets = list[Target]


class Batch(NamedTuple):
    """What a loader yields.

    images: (B, 3, H, W) uint8, 0 to 255; the network normalises them on its device.
    targets: one for each image, a `Target` with what its type of data says besides.
    skipped: images that were to be in it but could not be read; a batch may have lost all.
    """

    images: Tensor
    targets: list[Any]
    skipped: int = 0

    def to(self, device: torch.device) -> "Batch":
        """On a device, with the tensors among its targets.

        Lightning asks for it. Without it, it would look for tensors in every word of every target, at each step.
        """

        def moved(value: Any) -> Any:
            return value.to(device, non_blocking=device.type == "cuda") if isinstance(value, Tensor) else value

        targets = [{key: moved(value) for key, value in target.items()} for target in self.targets]
        return self._replace(images=moved(self.images), targets=targets)


class Data(Protocol):
    """A data set with a training and a validation split."""

    data_type: str
    """What its targets are, as in `Task.data_type`."""
    info: Any
    """Plain data that a trained network needs to name its answers, a TypedDict of this kind of data; stored in the
    checkpoint."""
    reports: dict[str, str | Image.Image]
    """What a user should know of the data, such as what was left out: files for the run's folder, by name."""
    leak_warnings: dict[str, str]
    """Choices of `data` whose networks have seen validation images of this one, and what to say of that."""

    @property
    def num_classes(self) -> int: ...

    def train_loader(self, seed: int) -> DataLoader: ...

    def val_loader(self, shard: bool = False) -> DataLoader:
        """All of it, or under DDP with `shard` this process's part. Both loaders yield `Batch`."""

    def image(self, target: Any) -> Tensor:
        """The original image that a target of `val_loader` belongs to, (3, H, W) uint8, to draw on."""


class Evaluator(Protocol):
    """Collects results over a validation set. Holds a few numbers an image, never images or maps."""

    def reset(self) -> None:
        """Forget all results."""

    def update(self, results: Sequence[Any], targets: Sequence[Any]) -> None: ...

    def gather(self) -> None:
        """Under DDP: bring the results of all processes together."""

    def compute(self) -> dict[str, float]:
        """Flat name -> figure; a figure that cannot be had is left out."""

    def save(self, folder: Path) -> None:
        """Write the results in the format that the field exchanges."""


class TeacherInfo(Protocol):
    """What a task asks of a teacher before it learns from it."""

    @property
    def name(self) -> str: ...

    @property
    def num_outputs(self) -> int:
        """How many numbers it answers an image with."""

    @property
    def class_names(self) -> list[str] | None:
        """What they mean, where that is known."""


class Normalize(nn.Module):
    """uint8 pixels to what the backbone expects, once a batch and on its device.

    mean, std: per channel, of pixels scaled to [0, 1].
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.register_buffer(
            "mean", 255 * torch.tensor(list(mean), dtype=torch.float32).view(1, -1, 1, 1), persistent=False
        )
        self.register_buffer(
            "std", 255 * torch.tensor(list(std), dtype=torch.float32).view(1, -1, 1, 1), persistent=False
        )

    def forward(self, images: Tensor) -> Tensor:
        if not images.is_contiguous(memory_format=torch.channels_last):
            return (images.to(self.mean.dtype) - self.mean).div_(self.std)
        # Channels last, a vector of three is repeated for every pixel, which takes three times as long as a row's.
        rows = images.permute(0, 2, 3, 1).flatten(2)  # (B, H, W * 3)
        mean, std = (each.view(1, -1).expand(images.shape[-1], -1).flatten() for each in (self.mean, self.std))
        return (rows.to(mean.dtype) - mean).div_(std).unflatten(2, (-1, len(self.mean[0]))).permute(0, 3, 1, 2)


class Task(nn.Module):
    """A backbone with a head: network, loss and decoding, one instance each, plain arguments only.

    Class attributes: `monitored_metrics` are the metrics of `Evaluator.compute` that are drawn over training. The first
    of them that the evaluator gives picks the best checkpoint (higher is better). `data_type` is the type of data that
    it learns from. `info` is what such data have of that name.

    Args:
        backbone: a module with `feature_info`, `input_mean`, `input_std`, that returns a dict of maps.
        resolution: side of the square input image in pixels.
    """

    monitored_metrics: tuple[str, ...]
    data_type: str
    needs: tuple[str, ...] = ()
    """Keys of `info` that it cannot name its answers without."""
    compares: bool = False
    """Whether `summarise` tells something of two images that are given to be compared."""
    answers_under: AbstractContextManager[Any] = nullcontext()
    """Autocast, where the network is made to answer in bf16 (network/fused.py)."""

    def __init__(self, backbone: Backbone, resolution: int):
        super().__init__()
        self.resolution = resolution
        self.normalize = Normalize(backbone.input_mean, backbone.input_std)
        self.backbone = backbone

    @classmethod
    def count_outputs(cls, data: Data, teacher_dim: int | None) -> int:
        """`num_classes` of a network for `data`, or for a teacher whose predictions are vectors of `teacher_dim`."""
        return data.num_classes or teacher_dim or 0

    def prepare(self, image: Tensor) -> Tensor:
        """An original image (3, H, W) uint8 as `forward` takes it, (3, R, R) uint8; the same as validation data's."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Any:
        """images (B, 3, H, W), uint8 or float in 0 to 255 -> outputs, the same type in training and evaluation."""
        with self.answers_under:
            return self.respond(self.maps(images), images)

    def maps(self, images: Tensor) -> dict[str, Tensor]:
        """The backbone's maps of `forward`'s images, by name: those that `respond` reads."""
        return self.backbone(self.normalize(images))

    def respond(self, maps: dict[str, Tensor], images: Tensor) -> Any:
        """The head's outputs. maps: of `images`, which tell their size; from this task's backbone or another's."""
        raise NotImplementedError

    def loss(self, outputs: Any, targets: Sequence[Any]) -> dict[str, Tensor]:
        """Named scalars; their sum is what training minimises."""
        raise NotImplementedError

    def check_teacher(self, teacher: TeacherInfo, info: Any) -> None:
        """Raise UserError where this task cannot learn from the teacher's answers, which are `target["teacher"]`.

        info: what this network's outputs mean.
        """
        raise UserError(f"teacher {teacher.name}: this task learns from labels alone; give teacher=none")

    def info_of_teacher(self, teacher: TeacherInfo) -> Any:
        """What the teacher knows of the answers' names, as `Data.info`, for data that has none."""
        return {}

    def check_info(self, info: dict[str, Any], source: str) -> None:
        """Raise UserError where a checkpoint's `info` does not tell what this network's outputs mean.

        source: what errors call the checkpoint.
        """
        if lacking := [key for key in self.needs if info.get(key) is None]:
            raise UserError(
                f"{source}: its info lacks {', '.join(lacking)}; expected what tools/train.py has written of its data"
            )

    def predict(self, outputs: Any, sizes: Tensor) -> list[Any]:
        """One result an image, in units of the original image; sizes (B, 2): its height and width in pixels."""
        raise NotImplementedError

    def evaluator(self, data: Any, info: Any) -> Evaluator:
        """An evaluator for `data`'s validation split; `info` names what this network's outputs mean."""
        raise NotImplementedError

    def draw(self, image: Image.Image, result: Any, info: Any, target: Any = None) -> Image.Image:
        """The original image with the answer drawn on, and the truth too where `target` (a loader's) gives it."""
        raise NotImplementedError

    @classmethod
    def published_info(cls, published: Published, classes: list[str] | None) -> Any:
        """The `info` of a checkpoint with published weights, as `Data.info`; {} where they hold no head for this task.

        classes: their ids where the usual ones do not fit. Raises ValueError for a wrong count of them.
        """
        return {}

    def load_published(self, published: Published) -> None:
        """Load published weights, and where `published_info` says so the head too. ValueError for what does not fit."""
        load_weights(self.backbone, published)  # type: ignore[arg-type]

    def describe(self, result: Any, info: Any) -> Any:
        """The answer as plain data for predictions.json."""
        raise NotImplementedError

    def summarise(
        self, files: Sequence[str | Path], predictions: list[dict[str, Any]], figures: dict[str, float], output: Path
    ) -> None:
        """What predictions.json does not tell: of all images together, as files in `output`; mostly nothing.

        files: of the images. answers: as predictions.json has them. figures: the final metrics of the network's run,
        {} where they are not at hand.
        """
