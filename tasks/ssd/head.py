"""SSD's head: extra feature maps beyond the backbone, and 1x1 predictors on every map (Table 13, SSD-300)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from backbone import FeatureInfo
from backbone.layers import ConvNormAct

# ssd_mobilenet_v1: each extra map is a 1x1 convolution and a 3x3 one of stride 2, of these widths.
EXTRAS = ((256, 512), (128, 256), (128, 256), (64, 128))
MIN_WIDTH = 16


class SSDHead(nn.Module):
    """Class logits and box offsets at every location of every map.

    Args:
        features: the maps that the backbone hands over, two or more, finest first.
        shapes_per_map: anchors a location, one number for each of the backbone's and the extra maps.
        outputs: class logits an anchor.
        width: multiplier of the extra maps' channels, as alpha is of the backbone's (never below 16).
        unit: arguments of every extra layer (padding, activation, bn_eps, bn_momentum), see ConvNormAct.
    """

    def __init__(
        self, features: Sequence[FeatureInfo], shapes_per_map: Sequence[int], outputs: int, width: float = 1.0, **unit
    ):
        super().__init__()
        self.outputs = outputs
        self.extras = nn.ModuleList()
        channels = [info.channels for info in features]
        for middle, wide in EXTRAS:
            middle, wide = (max(int(c * width), MIN_WIDTH) for c in (middle, wide))
            self.extras.append(
                nn.Sequential(
                    ConvNormAct(channels[-1], middle, 1, **unit), ConvNormAct(middle, wide, 3, stride=2, **unit)
                )
            )
            channels.append(wide)
        counted = list(zip(channels, shapes_per_map, strict=True))
        self.classes = nn.ModuleList(nn.Conv2d(c, shapes * outputs, 1) for c, shapes in counted)
        self.boxes = nn.ModuleList(nn.Conv2d(c, shapes * 4, 1) for c, shapes in counted)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # TF object detection: everything in the head starts at 0.03
                nn.init.trunc_normal_(module.weight, std=0.03, a=-0.06, b=0.06)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor, tuple[tuple[int, int], ...]]:
        """maps: the backbone's, (B, C, H, W) each.

        Returns class logits (B, A, outputs), box offsets (B, A, 4), and height and width of every map, the
        extra ones included.
        """
        all_maps = list(maps)
        for extra in self.extras:
            all_maps.append(extra(all_maps[-1]))
        logits = [_flatten(predict(x), self.outputs) for predict, x in zip(self.classes, all_maps, strict=True)]
        offsets = [_flatten(predict(x), 4) for predict, x in zip(self.boxes, all_maps, strict=True)]
        sizes = tuple((x.shape[-2], x.shape[-1]) for x in all_maps)
        return torch.cat(logits, dim=1), torch.cat(offsets, dim=1), sizes


def _flatten(prediction: Tensor, values: int) -> Tensor:
    """(B, shapes * values, H, W) -> (B, H * W * shapes, values)."""
    return prediction.permute(0, 2, 3, 1).reshape(len(prediction), -1, values)
