"""Learning embeddings from identities: what a teacher of our own is trained by."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MarginLoss(nn.Module):
    """Cross-entropy over the training identities by their cosines, with a margin (CosFace: Wang et al. 2018, Eq. 4).

    Each identity has a direction. The cosine to that of the right one has to be larger than to the others by `margin`;
    `scale` makes probabilities of cosines. The directions are of use in training alone: no answer needs them.

    Raises ValueError for values outside their range.
    """

    def __init__(self, identities: int, width: int, scale: float, margin: float):
        super().__init__()
        if not scale > 0:
            raise ValueError(f"task.identities.scale={scale}; expected above 0")
        if not 0 <= margin < 2:
            raise ValueError(f"task.identities.margin={margin}; expected 0 up to below 2, as cosines are -1 to 1")
        self.scale, self.margin = scale, margin
        self.directions = nn.Parameter(torch.randn(identities, width))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """embeddings (B, D) of any length; labels (B,) int64 -> a scalar, the mean over the batch."""
        cosines = F.normalize(embeddings.float(), dim=1) @ F.normalize(self.directions, dim=1).T
        right = F.one_hot(labels, len(self.directions))
        return F.cross_entropy(self.scale * (cosines - self.margin * right), labels)
