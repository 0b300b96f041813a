"""A published detector into SSD: TensorFlow Lite's files of ssd_mobilenet_v1, backbone and head."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from backbone import MobileNetV1, Published, load_weights, read_weights
from backbone.layers import ACTIVATIONS, ConvNormAct
from backbone.sources.published import identity_norm, listed
from backbone.sources.tflite_graph import Layer
from backbone.weights import conflicts
from tasks.shared.detection.boxes import SCALES, to_centers
from tasks.shared.detection.dataset import DetectionInfo
from tasks.ssd.anchors import Shape, make_anchors
from tasks.ssd.head import SSDHead
from tasks.ssd.loss import SSDLoss
from tasks.ssd.tflite_head import TFLiteHead, read_head

log = logging.getLogger(__name__)
COCO_IDS = 90  # of which 80 are in use
TF_ORDER = (1, 0, 3, 2)  # where our x, y, width and height stand among TensorFlow's y, x, height and width
ANCHOR_TOLERANCE = 1e-3  # of the image's side, beside the file's own rounding


class Detector(Protocol):
    """The parts of `SSD` that weights fill, or have to fit."""

    backbone: Any
    head: SSDHead
    criterion: SSDLoss
    resolution: int
    shapes: list[list[Shape]]


def load_ssd(task: Detector, source: str | Path | Published) -> Published:
    """Load a detector's backbone and head into `task`, all of it; returns what was read.

    source: a .tflite file of ssd_mobilenet_v1. The task must be built as the file needs it: a MobileNetV1 with the
    arguments that `read_weights(source).implied` tells, and its resolution, taps, number of classes and `width`.
    The head's batch norms are folded like the backbone's (see `unfold_batch_norm`), and its scores are sigmoids or a
    softmax as the file's.

    Raises ValueError, and leaves `task` as it was, naming all that the file and the task differ in, with both values.
    """
    published = source if isinstance(source, Published) else read_weights(source)
    if published.format != "tflite":
        raise ValueError(f"{published.source}: {published.format} weights have no SSD head; expected a .tflite file")
    if not isinstance(task.backbone, MobileNetV1):
        raise ValueError(
            f"{published.source}: backbone is {type(task.backbone).__name__}; expected MobileNetV1, which it is for"
        )
    head = read_head(Path(published.source))
    if differences := conflicts(task.backbone, published) + _differences(task, head):
        raise ValueError(f"{published.source}: does not fit the task: {'; '.join(differences)}")
    state = _head_state(task, head)
    for name, tensor in task.head.state_dict().items():
        if state[name].shape != tensor.shape:
            raise ValueError(
                f"{published.source}: head.{name} has the shape {tuple(state[name].shape)}; the task's is "
                f"{tuple(tensor.shape)} (task.width, num_classes)"
            )
    _check_anchors(task, head, published.source)
    unused = {name: tensor for name, tensor in published.left_over.items() if name not in head.weights}
    if unused:
        raise ValueError(f"{published.source}: holds {listed(list(unused))}, which SSD does not have")
    load_weights(task.backbone, replace(published, left_over={}))
    task.head.load_state_dict(state)
    theirs = ", ".join(f"{key} {value}" for key, value in head.options.items() if key.startswith(("nms", "max", "det")))
    log.info(
        "%s: head loaded. Its own postprocessing (%s) is not taken over: task.postprocess", published.source, theirs
    )
    return replace(published, left_over={})


def coco_info(published: Published, classes: list[str] | None) -> DetectionInfo:
    """The `info` of a checkpoint with a published detector: COCO's categories where it has 90 classes.

    classes: their names, without background, where they are others; their category ids are then 1, 2, 3 ...
    Raises ValueError if there are more or fewer of them than the detector tells apart.
    """
    count = read_head(Path(published.source)).num_classes
    if classes is None and count == COCO_IDS:
        from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

        classes = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"][1:]  # 90, with gaps called N/A
    names = classes or [f"class {number}" for number in range(1, count + 1)]
    if len(names) != count:
        raise ValueError(f"{published.source} has {count} classes and background, but classes names {len(names)}")
    return {"class_names": names, "category_ids": list(range(1, count + 1))}


def _differences(task: Detector, head: TFLiteHead) -> list[str]:
    """What the task would have to be built like, as "key is A, but the weights need B"."""
    scores = "softmax" if task.criterion.classification == "softmax" else "sigmoid"
    pairs = [
        ("resolution", task.resolution, head.resolution),
        ("num_classes", task.head.outputs - 1, head.num_classes),
        ("backbone.taps", [info.name for info in task.backbone.feature_info], list(head.taps)),
        ("the number of extra maps", len(task.head.extras), len(head.extras)),
        ("task.loss.classification", scores, head.scores),
    ]
    for extra, layers in zip(task.head.extras, head.extras, strict=False):
        for unit, layer in zip(_units(extra), layers, strict=True):
            pairs += _unit_differences(unit, layer)
    different = dict.fromkeys(
        f"{key} is {mine}, but the weights need {theirs}" for key, mine, theirs in pairs if mine != theirs
    )
    return list(different)


def _units(extra: nn.Module) -> list[ConvNormAct]:
    return [unit for unit in extra.children() if isinstance(unit, ConvNormAct)]


def _unit_differences(unit: ConvNormAct, layer: Layer) -> list[tuple[str, object, object]]:
    conv = unit.conv
    activation = next(name for name, module_type in ACTIVATIONS.items() if type(unit.act) is module_type)
    strided = conv.stride != (1, 1)
    return [
        ("task.unit.activation", activation, layer.activation),
        ("task.unit.padding", "same" if conv.pad_by_size or not strided else "symmetric", layer.padding),
        ("the stride of the extra maps", conv.stride, layer.stride),
    ]


def _head_state(task: Detector, head: TFLiteHead) -> dict[str, Tensor]:
    """The file's head as a state dict of SSDHead."""
    state: dict[str, Tensor] = {}
    rescale = torch.tensor(SCALES) / torch.tensor(head.scales)
    for index, (box, classes) in enumerate(zip(head.boxes, head.classes, strict=True)):
        state[f"classes.{index}.weight"], state[f"classes.{index}.bias"] = classes.weight, classes.bias
        for name, tensor in (("weight", box.weight), ("bias", box.bias)):
            rows = tensor.unflatten(0, (-1, 4))[:, TF_ORDER]  # (anchors a location, 4, ...)
            rows = rows * rescale.view(4, *[1] * (rows.dim() - 2))
            state[f"boxes.{index}.{name}"] = rows.flatten(0, 1)
    for index, (extra, layers) in enumerate(zip(task.head.extras, head.extras, strict=True)):
        for step, (unit, layer) in enumerate(zip(_units(extra), layers, strict=True)):
            state[f"extras.{index}.{step}.conv.weight"] = layer.weight
            norm = identity_norm(layer.bias, unit.norm.eps)
            state |= {f"extras.{index}.{step}.norm.{key}": tensor for key, tensor in norm.items()}
    return state


def _check_anchors(task: Detector, head: TFLiteHead, source: str) -> None:
    ours = make_anchors(task.shapes, head.map_sizes, task.resolution) / task.resolution
    center, size = to_centers(ours)
    mine = torch.cat([center.flip(1), size.flip(1)], dim=1)
    if mine.shape != head.anchors.shape:
        raise ValueError(f"{source}: stores {len(head.anchors)} anchors; the task has {len(mine)}")
    apart, index = (mine - head.anchors).abs().amax(1).max(0)
    if apart > head.rounding + ANCHOR_TOLERANCE:
        first, second = ([round(v, 4) for v in anchors[index].tolist()] for anchors in (mine, head.anchors))
        raise ValueError(
            f"{source}: anchor {int(index)} is {second} (y, x, height, width as shares of the image); the task's is "
            f"{first} (task.anchors)"
        )
