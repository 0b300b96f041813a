"""The head that the whole image has one answer of: pooling and a linear layer (Table 1's last rows)."""

import torch.nn.functional as F
from torch import Tensor, nn

from backbone import Backbone


class PooledHead(nn.Linear):
    """Global average pooling, dropout and one linear layer on a backbone's deepest map; starts as TF-slim's.

    Args:
        backbone: what it reads, by its `feature_info`.
        num_classes: outputs; there is no background class.
        resolution: side of the square input image in pixels.
        dropout: share of features that training drops (TF-slim keeps 0.999).
        least: fewest outputs that make sense: of classes two.

    Raises ValueError for a resolution below the backbone's deepest stride, fewer outputs than `least`, and a share
    outside 0 to 1.
    """

    def __init__(self, backbone: Backbone, num_classes: int, resolution: int, dropout: float, least: int = 2):
        last = backbone.feature_info[-1]
        if resolution < last.stride:
            raise ValueError(f"resolution={resolution} is below the backbone's stride; expected at least {last.stride}")
        if num_classes < least:
            raise ValueError(f"num_classes={num_classes}; a classifier needs at least {least} classes")
        if not 0 <= dropout < 1:
            raise ValueError(f"task.dropout={dropout}; expected 0 up to below 1")
        super().__init__(last.channels, num_classes)
        self.map, self.dropout = last.name, dropout
        nn.init.trunc_normal_(self.weight, std=0.09, a=-0.18, b=0.18)  # TF-slim's, as the backbone's
        nn.init.zeros_(self.bias)

    def forward(self, maps: dict[str, Tensor]) -> Tensor:  # type: ignore[override]
        """The backbone's maps, (B, C, H, W) each -> logits (B, num_classes)."""
        features = F.dropout(maps[self.map].mean((2, 3)), self.dropout, self.training)
        return super().forward(features)
