"""Networks that take a certain number of pictures at once and no other."""

from collections.abc import Callable

import torch
from torch import Tensor


def in_batches(answer: Callable[[Tensor], Tensor], images: Tensor, count: int) -> Tensor:
    """`answer` on (B, ...), B of 1 and more, `count` at a time; the last batch is filled up with its last picture."""
    answers = []
    for part in images.split(count):
        missing = count - len(part)
        filled = torch.cat([part, part[-1:].expand(missing, *part.shape[1:])]) if missing else part
        answers.append(answer(filled)[: len(part)])
    return torch.cat(answers)
