"""The data sets of torchvision that have one class an image."""

import inspect
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
from PIL import Image
from torch import Tensor
from torchvision import datasets

from tasks.shared.classification.data import ClassificationData
from tasks.shared.config.consent import asks_for
from tasks.shared.data.image_data import SPLITS, splits_to_read
from tasks.shared.data.image_set import Images
from tasks.shared.errors import UserError
from tasks.shared.images.decode import DAMAGE, from_pil, open_image, read_bytes
from tasks.shared.images.limits import out_of_memory
from tasks.shared.terminal.escaped import printable

# Arguments that take a function, or that have keys of their own.
NOT_OPTIONS = {"root", "download", "transform", "target_transform", "transforms", "loader", "is_valid_file"}
# What the argument `train` (true or false) or `split` of each is given for training and for evaluation.
SETS: dict[str, tuple[Any, Any]] = {
    **dict.fromkeys(
        ("CIFAR10", "CIFAR100", "EMNIST", "FashionMNIST", "KMNIST", "MNIST", "QMNIST", "USPS"), (True, False)
    ),
    **dict.fromkeys(
        ("Country211", "DTD", "FER2013", "Flowers102", "Food101", "GTSRB", "RenderedSST2", "STL10", "StanfordCars",
         "SVHN"), ("train", "test")
    ),
    **dict.fromkeys(("FGVCAircraft", "OxfordIIITPet"), ("trainval", "test")),
    **dict.fromkeys(("CLEVRClassification", "ImageNet", "Imagenette"), ("train", "val")),
    "Places365": ("train-standard", "val"),
}  # fmt: skip

_OPENING = threading.RLock()


class TorchvisionImages(Images):
    """One of torchvision's data sets; images are converted to RGB."""

    def __init__(self, dataset: Any, labels: np.ndarray, title: str):
        self.dataset, self.labels, self.title = dataset, labels, title

    def name(self, index: int) -> str:
        return f"{self.title}/{index:06d}"

    def read(self, index: int) -> Tensor:
        return _read(self.dataset, index, self.name(index))[0]


def _read(dataset: Any, index: int, name: str) -> tuple[Tensor, Any]:
    """A set's image and its label. Raises UserError, naming it, for what cannot be read."""
    try:
        with _our_opener():
            image, label = dataset[index]
        return from_pil(image), label
    except MemoryError as error:
        raise out_of_memory(name) from error
    except DAMAGE as error:
        raise UserError(f"{name}: cannot be read ({error})") from error


@contextmanager
def _our_opener() -> Iterator[None]:
    """Where what torchvision opens by PIL is opened, and checked, as all images are."""

    def open_file(fp: Any, mode: str = "r", formats: Any = None) -> Image.Image:
        if hasattr(fp, "read"):
            return open_image(np.frombuffer(fp.read(), np.uint8), "it")
        return open_image(read_bytes(Path(fp)), printable(fp))

    with _OPENING:  # one thread at a time: the name is the whole process's
        pils, Image.open = Image.open, open_file  # type: ignore[assignment]
        try:
            yield
        finally:
            Image.open = pils


def torchvision_set(
    root: str,
    *,
    name: str,
    train_split: Any = None,
    val_split: Any = None,
    options: dict[str, Any] | None = None,
    download: bool = True,
    splits: Sequence[str] = SPLITS,
    **settings: Any,
) -> ClassificationData:
    """A data set of `torchvision.datasets`, by its class's name, one of `SETS`.

    Args:
        train_split, val_split: what its argument `train` or `split` is given; None takes what `SETS` says.
        options: more arguments of its class, such as EMNIST's `split`.
        download: fetch it where it is not in `root` yet.
        settings: of `ClassificationData`.
    """
    if not isinstance(name, str) or name not in SETS:
        raise UserError(
            f"data.name={name!r}: expected a set of torchvision.datasets that has a class an image and a training and "
            f"a test split: {', '.join(sorted(SETS))}"
        )
    if not isinstance(options, dict | None):
        raise UserError(f"data.options={options!r}; expected arguments of torchvision.datasets.{name}, or null")
    key = "train" if SETS[name][0] is True else "split"
    given = {"train": train_split, "val": val_split}
    values = {split: SETS[name][k] if given[split] is None else given[split] for k, split in enumerate(given)}
    opened = splits_to_read(splits, settings)
    more = options or {}
    if refused := more.keys() & NOT_OPTIONS:
        raise UserError(f"data.options.{sorted(refused)[0]}: is no option; this toolkit sets it itself")
    fetch = download and asks_for("data.download")
    made = {split: _open(name, root, {key: values[split]} | more, fetch) for split in opened}
    labels = {split: _labels_of(each, f"data.name={name}, {key}={values[split]}") for split, each in made.items()}
    images: dict[str, Images] = {
        split: TorchvisionImages(each, labels[split], f"{name}/{split}") for split, each in made.items()
    }
    first = made[opened[0]]
    known = getattr(first, "classes", None) or range(1 + max(int(y.max()) for y in labels.values()))
    # ImageNet's classes have several names each, of which the first need not be its alone, and ids.
    names = [str(each[0] if isinstance(each, tuple) else each) for each in known]
    return ClassificationData(images, getattr(first, "wnids", names), names, **settings)


def _open(name: str, root: str, arguments: dict[str, Any], download: bool) -> Any:
    cls = getattr(datasets, name)
    # Some hand what they do not know to the class that they extend.
    if any("download" in inspect.signature(base).parameters for base in cls.__mro__[:-1]):
        arguments["download"] = download
    try:
        return cls(root, **arguments)
    except ImportError as error:
        raise UserError(f"data.name={name}: torchvision reads it with a package that is absent: {error}") from error
    except (RuntimeError, ValueError, TypeError, OSError, URLError) as error:
        message = ", ".join(f"{key}={value}" for key, value in arguments.items())
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if not download and not isinstance(error, TypeError):
            reason += " (give data.download=true on this command line to fetch it)"
        more = f"; data.options takes arguments of torchvision.datasets.{name}" if isinstance(error, TypeError) else ""
        raise UserError(f"data.name={name}, data.root={root}, {message}: {reason}{more}") from error


def _labels_of(dataset: Any, title: str) -> np.ndarray:
    """All labels, from the list that the set holds, as asking for each reads its image.

    torchvision promises no list: where there is none by the names of today, each is asked for.
    """
    held = getattr(dataset, "targets", None), getattr(dataset, "labels", None), getattr(dataset, "_labels", None)
    listed = next((each for each in held if each is not None), None)
    if listed is None and (samples := getattr(dataset, "_samples", None)) is not None:
        listed = [sample[-1] for sample in samples]
    if listed is None:
        listed = [_read(dataset, index, f"{title}: image {index}")[1] for index in range(len(dataset))]
    labels = np.asarray(listed)
    if labels.ndim == 2:  # QMNIST has more to say of each digit, its class first
        labels = labels[:, 0]
    if labels.dtype.kind not in "iu" or len(labels) == 0 or labels.min() < 0:
        raise UserError(f"{title}: this split has images without a class; expected one that has a class for each")
    return labels.astype(np.int64)
