"""What a split holds, so that a run which goes on notices that its data are others."""

import hashlib
import logging
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from tasks.shared.errors import UserError

log = logging.getLogger(__name__)


def content_of(dataset: Dataset) -> dict[str, Any]:
    """How many images a data set has, and a digest of its names and labels where it hands them out.

    dataset: one with `contents()` gives arrays that tell it from others, of names that stay the same where the folder
    is moved; of any other the images are counted.
    """
    found: dict[str, Any] = {"pictures": len(dataset)}  # type: ignore[arg-type]
    if hasattr(dataset, "contents"):
        arrays: Iterable[NDArray] = dataset.contents()
        digest = hashlib.blake2b(digest_size=16)
        for array in arrays:
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).view(np.uint8).data)
        found["digest"] = digest.hexdigest()
    return found


def check_contents(before: Any, now: dict[str, Any], choice: Any, other_data: bool) -> None:
    """Tell how the data of a run that goes on differ from those that it began with.

    before, now: `content_of` by split; before is as a checkpoint carries it, None in those of older versions.
    Raises UserError where another number of training images would make other epochs, unless other_data.
    """
    for split, new in now.items():
        old = before.get(split) if isinstance(before, dict) else None
        if not isinstance(old, dict) or old == new:
            continue
        counts = old.get("pictures"), new["pictures"]
        message = f"data={choice}: the run began with {counts[0]} images in {split}, now there are {counts[1]}"
        if counts[0] == counts[1]:
            message = (
                f"data={choice}: the {counts[1]} images in {split} have other names or labels than the run began with"
            )
        elif split == "train" and not other_data:
            raise UserError(
                f"{message}; give back what is missing (data.root=...), or go on all the same: other_data=true"
            )
        log.warning("warning: %s", message)
