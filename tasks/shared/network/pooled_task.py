"""What the tasks share that have one answer for a whole image: backbone, pooling, one linear layer."""

from torch import Tensor

from backbone import Backbone
from tasks.shared.contract import Task
from tasks.shared.images.crops import center_crop, check_crop
from tasks.shared.network.pooled_head import PooledHead


class PooledTask(Task):
    """Global average pooling, dropout and one linear layer on the backbone's deepest map.

    Args:
        backbone: see `Task`.
        outputs: of the linear layer.
        resolution: side of the square input image in pixels.
        dropout: share of features that training drops.
        crop, crop_share: how whole images are cut for it, see `tasks.shared.images.crops.center_crop`.
        least: fewest outputs that make sense.

    Raises ValueError for what `PooledHead` refuses, and UserError for a crop that there is not.
    """

    def __init__(
        self,
        backbone: Backbone,
        outputs: int,
        resolution: int,
        *,
        dropout: float,
        crop: str,
        crop_share: float,
        least: int = 1,
    ):
        super().__init__(backbone, resolution)
        check_crop(crop, crop_share)
        self.crop, self.crop_share = crop, crop_share
        self.head = PooledHead(backbone, outputs, resolution, dropout, least)

    def prepare(self, image: Tensor) -> Tensor:
        """The middle of the image, cut as validation data are."""
        return center_crop(image, self.resolution, self.crop, self.crop_share)

    def respond(self, maps: dict[str, Tensor], images: Tensor) -> Tensor:
        """-> (B, outputs)."""
        return self.head(maps)
