"""Faces with what is known of them: attributes, identities, or nothing."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from tasks.shared.contract import Target
from tasks.shared.data.image_set import CroppedDataset, Images
from tasks.shared.data.whole_images import WholeImageData


class Faces(NamedTuple):
    """images: N of them; their labels are people, -1 where that is not known. attributes: (N, A) of 0 and 1."""

    images: Images
    attributes: NDArray[np.uint8] | None = None


class FaceTarget(Target, total=False):
    """What is known of a face. Training images with a teacher's lesson have neither.

    attributes: (A,) float32 of 0 and 1. identity: a number for each person.
    """

    attributes: Tensor
    identity: int


class FaceInfo(TypedDict, total=False):
    """attributes: their names, where there are any."""

    attributes: list[str]


class FaceData(WholeImageData):
    """Faces, see `tasks.shared.contract.Data`.

    Args:
        faces: by split.
        attributes: names.
        pairs: (P, 3) int64: two validation images and 1 where they show one person, 0 for two; None is all pairs.
        folds: (P,) int64, for each pair.
        options: of `WholeImageData`.
    """

    data_type = "faces"
    info: FaceInfo

    def __init__(
        self,
        faces: dict[str, Faces],
        attributes: Sequence[str] = (),
        *,
        pairs: NDArray[np.int64] | None = None,
        folds: NDArray[np.int64] | None = None,
        **options: Any,
    ):
        super().__init__({split: part.images for split, part in faces.items()}, **options)
        self.faces = faces
        evaluated = self.evaluate_on == "val"
        self.pairs, self.folds = (pairs, folds) if evaluated else (None, None)
        self.info = {"attributes": list(attributes)} if attributes else {}

    @property
    def num_classes(self) -> int:
        return len(self.info.get("attributes", ()))

    def identities(self, split: str) -> NDArray[np.int64] | None:
        """(N,), who is in each image that the loader of `split` reads; None where that is not known."""
        labels = self.images_of(split).labels
        return None if (labels < 0).any() else labels

    def train_dataset(self, seed: int) -> Dataset:
        return FaceDataset(self.training(seed), self.faces["train"], labelled="train" not in self.teacher_targets)

    def val_dataset(self) -> Dataset:
        return FaceDataset(self.validation(), self.faces[self.evaluate_on])


class FaceDataset(Dataset):
    """What `images` gives, with what is known of the faces unless `labelled` is False."""

    def __init__(self, images: CroppedDataset, faces: Faces, labelled: bool = True):
        self.images, self.labelled, self.people = images, labelled, faces.images.labels
        self.attributes: Tensor | None = None
        if labelled and faces.attributes is not None:
            # Loader processes share it: a tensor of its own for each image would cost each an open file.
            self.attributes = torch.from_numpy(faces.attributes).float().share_memory_()

    def __len__(self) -> int:
        return len(self.images)

    def contents(self) -> Iterator[np.ndarray]:
        yield from self.images.contents()
        if self.attributes is not None:
            yield self.attributes.numpy()

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, FaceTarget] | None:
        item = self.images[key]
        if item is None or not self.labelled:
            return item
        image, target = item
        if (identity := int(self.people[key[1]])) >= 0:
            target["identity"] = identity
        if self.attributes is not None:
            target["attributes"] = self.attributes[key[1]]
        return image, target
