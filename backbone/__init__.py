"""MobileNet as a backbone: plain PyTorch, importable into any project.

>>> from backbone import MobileNetV1, count_cost
>>> net = MobileNetV1(alpha=0.5, taps=("conv_11", "conv_13"))
>>> maps = net(images)        # {"conv_11": (B, 256, H/16, W/16), "conv_13": (B, 512, H/32, W/32)}
"""

from backbone.cost import Cost, LayerCost, count_cost
from backbone.features import Backbone, FeatureInfo, select_taps
from backbone.fold import fold_batch_norm
from backbone.fuse import fuse_activations
from backbone.mobilenet import MobileNetV1
from backbone.unfold import folded_norms, unfold_batch_norm
from backbone.weights import Published, load_weights, read_weights, save_weights

__all__ = [
    "Backbone",
    "Cost",
    "FeatureInfo",
    "LayerCost",
    "MobileNetV1",
    "Published",
    "count_cost",
    "fold_batch_norm",
    "folded_norms",
    "fuse_activations",
    "load_weights",
    "read_weights",
    "save_weights",
    "select_taps",
    "unfold_batch_norm",
]
