"""What data sets of images share: two loaders and their settings, and images that are left out where unreadable."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tasks.shared.data.loading import loader_processes, make_loader
from tasks.shared.errors import UserError
from tasks.shared.images.decode import OnCorrupt

SPLITS = ("train", "val")


class ImageDataset(Dataset):
    """The images of a split, each with its target, by (epoch, index): with `seed` all that augmentation draws by.

    A subclass gives `__len__`, and how an image is read and made an example. One that gives `contents` too lets a run
    that goes on notice other data, see `tasks.shared.records.contents`.
    """

    def __init__(self, on_corrupt: OnCorrupt, seed: int = 0):
        self.on_corrupt, self.seed = on_corrupt, seed

    def __len__(self) -> int:
        raise NotImplementedError

    def name(self, index: int) -> str:
        """What errors call an image, its path or whatever names it."""
        raise NotImplementedError

    def load(self, index: int, rng: np.random.Generator) -> Any:
        """What `example` needs of the image's file. Raises UserError, naming it, where it cannot be read."""
        raise NotImplementedError

    def example(self, index: int, loaded: Any, rng: np.random.Generator) -> tuple[Tensor, Any]:
        """The image (3, R, R) uint8, R the resolution, and its target, a `tasks.shared.contract.Target` or more."""
        raise NotImplementedError

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Any] | None:
        """None for an image that cannot be read, where `on_corrupt` leaves it out."""
        epoch, index = key
        rng = np.random.default_rng((self.seed, epoch, index))
        try:
            loaded = self.load(index, rng)
        except UserError as error:
            self.on_corrupt.handle(self.name(index), error)
            return None
        return self.example(index, loaded, rng)


class ImageData:
    """Training and validation images, see `tasks.shared.contract.Data`.

    A subclass sets `data_type` and `info`, and gives `num_classes`, `image` and a data set for each split.

    Args:
        resolution: side in pixels of the square that the network is given.
        batch_size, val_batch_size: images a step.
        evaluate_on: "val", or "train" to see whether a network can learn its training images by heart.
        on_corrupt: "error", or "skip" to leave out and report images that are unreadable.
        workers: loader processes; None chooses from the machine.
        reports, leak_warnings: see `tasks.shared.contract.Data`.
    """

    kind: str
    info: Any

    def __init__(
        self,
        *,
        resolution: int,
        batch_size: int = 32,
        val_batch_size: int = 100,
        evaluate_on: str = "val",
        on_corrupt: str = "error",
        workers: int | None = None,
        reports: dict[str, str | Image.Image] | None = None,
        leak_warnings: dict[str, str] | None = None,
    ):
        if evaluate_on not in SPLITS:
            raise UserError(f"data.evaluate_on={evaluate_on!r}; expected 'train' or 'val'")
        if batch_size < 1 or val_batch_size < 1:
            raise UserError(f"data.batch_size={batch_size}, data.val_batch_size={val_batch_size}; expected at least 1")
        loader_processes(workers)  # so that a wrong number is told before anything is read
        self.resolution, self.evaluate_on, self.workers = resolution, evaluate_on, workers
        self.batch_size, self.val_batch_size = batch_size, val_batch_size
        self.on_corrupt = OnCorrupt(on_corrupt)
        self.reports, self.leak_warnings = reports or {}, leak_warnings or {}

    @property
    def num_classes(self) -> int:
        raise NotImplementedError

    def train_dataset(self, seed: int) -> Dataset:
        """Asked for (epoch, index), such as an `ImageDataset`."""
        raise NotImplementedError

    def val_dataset(self) -> Dataset:
        """Of the split `evaluate_on`."""
        raise NotImplementedError

    def image(self, target: Any) -> Tensor:
        """The original image that a target of `val_loader` belongs to, (3, H, W) uint8."""
        raise NotImplementedError

    def train_loader(self, seed: int) -> DataLoader:
        """Yields `tasks.shared.contract.Batch`, in an order that seed and epoch make."""
        return self._loader(self.train_dataset(seed), self.batch_size, train=True, seed=seed)

    def val_loader(self, shard: bool = False) -> DataLoader:
        """All of it, or under DDP with `shard` this process's part."""
        return self._loader(self.val_dataset(), self.val_batch_size, train=False, shard=shard)

    def _loader(self, dataset: Dataset, batch_size: int, **how: Any) -> DataLoader:
        return make_loader(dataset, batch_size, workers=self.workers, resolution=self.resolution, **how)


def splits_to_read(splits: Sequence[str], options: Mapping[str, Any]) -> list[str]:
    """The splits whose images have to be there. options: of `ImageData`, whose `evaluate_on` may stand for "val"."""
    return list(dict.fromkeys(options.get("evaluate_on", "val") if split == "val" else split for split in splits))
