"""Networks that take a certain number of images at once and no other."""

from collections.abc import Callable

import torch
from torch import Tensor


def in_batches(predict: Callable[[Tensor], Tensor], images: Tensor, count: int) -> Tensor:
    """`predict` on (B, ...), B of 1 and more, `count` at a time; the last batch is filled up with its last image."""
    predictions = []
    for part in images.split(count):
        missing = count - len(part)
        filled = torch.cat([part, part[-1:].expand(missing, *part.shape[1:])]) if missing else part
        predictions.append(predict(filled)[: len(part)])
    return torch.cat(predictions)
