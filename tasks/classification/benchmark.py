"""MobileNet 1.0-224 and timm's with the same weights, as the suites `train` and `inference` compare them."""

import copy
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import timm
import torch
from torch import Tensor, nn

from backbone import MobileNetV1, count_cost
from backbone.sources.timm import BN_EPS, to_timm
from tasks.shared.benchmark.roofline import most_operations
from tasks.shared.benchmark.suite import Result
from tasks.shared.benchmark.timing import Comparison
from tasks.shared.classification.model import Classifier
from tasks.shared.network.isometric import isometric_init
from tasks.shared.network.runtime import keep_heap, pick_device, pick_precision

PEER = "mobilenetv1_100"
CLASSES = 1000
SIDES = ("ours", "peer")
EXACT = 1e-4  # relative: the same sums in fp32, in another order

Side = Callable[[], object]


class Setting(NamedTuple):
    """How a side computes, bf16 by autocast.

    padding is for ours alone; timm's network pads symmetrically. in_a_run: with what tools/train.py does besides a
    step: it looks whether the loss is finite and updates a moving average.
    """

    bf16: bool = False
    channels_last: bool = False
    padding: str = "symmetric"
    in_a_run: bool = False


def make_network(side: str, setting: Setting, batch: int, resolution: int) -> tuple[nn.Module, Tensor]:
    """A network of `"ours"` or `"peer"`, and the uint8 images (batch, 3, resolution, resolution) to feed it.

    Both sides get the same weights and images, in whatever process. Timm's network too is given uint8 images:
    its loader normalises them batch by batch in the training loop's process.
    """
    torch.backends.cudnn.benchmark = True  # as both training loops set it
    drawn = _draw_network(resolution)
    if side == "ours":
        network: nn.Module = _new_task(resolution, setting.padding)
        network.load_state_dict(drawn.state_dict())
    else:
        net = timm.create_model(PEER, num_classes=CLASSES)
        net.load_state_dict(to_timm(drawn.backbone.state_dict(), drawn.head.state_dict()))
        network = nn.Sequential(copy.deepcopy(drawn.normalize), net)
    device = pick_device("auto")
    layout = torch.channels_last if setting.channels_last else torch.contiguous_format
    network = network.to(device=device, memory_format=layout)  # type: ignore[call-overload]
    return network, _draw_images(batch, resolution).to(device=device, memory_format=layout)


@cache
def _draw_network(resolution: int) -> Classifier:
    """The network whose weights both sides get."""
    torch.manual_seed(0)
    task = _new_task(resolution, "symmetric")
    isometric_init(task.backbone)  # from the published init a rounded gradient is another one, 27 layers down
    # Statistics of images: with those of a new network the activations of eval mode fade to nothing, layer by layer.
    with torch.no_grad():
        task.train()(_draw_images(4, resolution))
    return task


def _new_task(resolution: int, padding: str) -> Classifier:
    return Classifier(MobileNetV1(padding=padding, bn_eps=BN_EPS, bn_momentum=1.0), CLASSES, resolution, dropout=0.0)


def _draw_images(count: int, resolution: int) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, resolution, resolution), dtype=torch.uint8, generator=draw)


class Roofline:
    """What share of the device's largest matrix products a number of images a second comes to.

    passes: through the network that an image takes, of which a training step has three.
    """

    def __init__(self, device: torch.device, resolution: int, passes: int):
        cost = count_cost(_new_task(resolution, "symmetric"), resolution)
        self.device, self.operations = device, passes * cost.mult_adds
        self.most: dict[torch.dtype, float] = {}

    def share(self, images_per_s: float, bf16: bool) -> float:
        dtype = torch.bfloat16 if bf16 else torch.float32
        if dtype not in self.most:
            self.most[dtype] = most_operations(self.device, dtype)
        return images_per_s * self.operations / self.most[dtype]


def describe(
    case: str, batch: int, bf16: bool, times: Comparison, checks: dict[str, bool], roofline: Roofline, **facts: Any
) -> Result:
    speed = 1000 * batch / times.ours_ms
    measured = {"our_images_per_s": round(speed), "share_of_roofline": round(roofline.share(speed, bf16), 2)}
    return Result(case, measured | facts, times, checks)


def make_apart(threads: int, heap_kept: bool, make: Callable[..., Side], *arguments: object) -> Side:
    """What `make` makes, in a new process."""
    torch.set_num_threads(threads)
    if heap_kept:
        keep_heap()
    return make(*arguments)


def computes_in_bf16(device: torch.device) -> bool:
    return pick_precision(device) == "bf16-mixed"


def left_out(device: torch.device) -> str:
    return "" if computes_in_bf16(device) else f"bf16 is left out: this {device.type} does not compute in it"


def is_exact(device: torch.device, *settings: Setting) -> bool:
    return device.type == "cpu" and not any(setting.bf16 for setting in settings)


def says(kept: bool) -> str:
    """Of the heap."""
    return "kept" if kept else "as it is, for want of glibc"
