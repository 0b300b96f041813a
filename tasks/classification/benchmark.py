"""MobileNet 1.0-224 against timm's: a training step, and inference."""

import copy
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backbone import MobileNetV1
from backbone.sources.timm import BN_EPS, to_timm
from tasks.shared.benchmark import Child, Comparison, Result, Suite, compare
from tasks.shared.classification.model import Classifier
from tasks.shared.ema import Ema
from tasks.shared.isometric import isometric_init
from tasks.shared.runtime import keep_heap, pick_device, pick_precision

PEER = "mobilenetv1_100"
CLASSES = 1000
SIDES = ("ours", "peer")
EXACT = 1e-4  # relative: the same sums in fp32, in another order
LOOSE = 0.03  # relative, of losses: what bf16 and a GPU's TF32 leave of them
COSINE = 0.99  # of a picture's logits, likewise

Step = Callable[[], float]


class Setting(NamedTuple):
    """How a side computes, bf16 by autocast.

    padding is for ours alone; timm's network pads symmetrically. in_a_run: with what tools/train.py does besides a
    step: it looks whether the loss is finite and updates a moving average.
    """

    bf16: bool = False
    channels_last: bool = False
    padding: str = "symmetric"
    in_a_run: bool = False


SETTINGS = {
    "fp32": Setting(),
    "fp32 channels last": Setting(channels_last=True),
    "bf16": Setting(bf16=True),
    "bf16 channels last": Setting(bf16=True, channels_last=True),
}


def train_suite(rounds: int, batch: int = 32, resolution: int = 224) -> Suite:
    """A training step from uint8 pictures on: forward, cross-entropy, backward, SGD with momentum.

    In the first case each side runs as its own training tool does by default: tools/train.py keeps the heap, computes
    in bf16 where the device does, channels_last, pads as TensorFlow does and updates a moving average; timm's does
    none of it. Keeping the heap cannot be taken back, so there each side has a process of its own. In the other
    cases both sides have the same settings and, being in this one process, the heap kept.
    """
    device = pick_device("auto")
    sizes, threads = (batch, resolution), torch.get_num_threads()
    settings = (Setting(_computes_in_bf16(device), True, "same", in_a_run=True), Setting())
    with (
        Child(_make_step_apart, threads, True, "ours", settings[0], *sizes) as ours,
        Child(_make_step_apart, threads, False, "peer", settings[1], *sizes) as peer,
    ):
        times = compare(ours, peer, rounds)
    kept = keep_heap()
    # Padded otherwise it is another network, so this is asked of the one that pads as timm's. One step: after it,
    # weights that were trained in bf16 and in fp32 differ by more than a mistake would make.
    alike = (settings[0]._replace(padding="symmetric"), settings[1])
    same = same_losses(*_make_steps(alike, *sizes), steps=1, tolerance=LOOSE)
    results = [_result("defaults", batch, times, {"same_loss": same})]
    for name, setting in _possible(device).items():
        steps = _make_steps((setting, setting), *sizes)
        same = same_losses(*steps, steps=2, tolerance=EXACT if _is_exact(device, setting) else LOOSE)
        results.append(_result(name, batch, compare(*steps, rounds), {"same_loss": same}))
    title = (
        f"a step of {batch} pictures of {resolution} pixels on the {device.type}, ours against timm's {PEER}; "
        "defaults: as tools/train.py and timm's own loop run it; "
        f"others: the same settings for both, the heap {_says(kept)}"
    )
    return Suite(title, results, _left_out(device))


def inference_suite(rounds: int, batches: tuple[int, ...] = (1, 32), resolution: int = 224) -> Suite:
    """Logits of uint8 pictures, both sides with the same settings in one process that keeps the heap."""
    device = pick_device("auto")
    kept = keep_heap()
    results = []
    for batch in batches:
        for name, setting in _possible(device).items():
            ours, peer = (make_inference(side, setting, batch, resolution) for side in SIDES)
            same = same_logits(ours(), peer(), exact=_is_exact(device, setting))
            times = compare(ours, peer, rounds)
            results.append(_result(f"batch {batch}, {name}", batch, times, {"same_logits": same}))
    title = (
        f"logits of pictures of {resolution} pixels on the {device.type}, ours against timm's {PEER}; "
        f"the same settings for both, the heap {_says(kept)}"
    )
    return Suite(title, results, _left_out(device))


def make_step(side: str, setting: Setting, batch: int, resolution: int) -> Step:
    """A training step of `"ours"` or `"peer"`, always on the same batch; it returns its loss."""
    network, images = _make_network(side, setting, batch, resolution)
    labels = torch.arange(batch, device=images.device) % CLASSES
    optimizer = torch.optim.SGD(network.parameters(), lr=0.001, momentum=0.9)
    average = Ema(network, 0.9998) if setting.in_a_run else None
    network.train()

    def step() -> float:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=setting.bf16):
            logits = network(images)
        loss = F.cross_entropy(logits.float(), labels)
        if setting.in_a_run:
            loss.item()  # which waits for a GPU
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if average is not None:
            average.update(network)
        _wait_for(images.device)
        return loss.item()

    return step


def _make_steps(settings: tuple[Setting, Setting], batch: int, resolution: int) -> tuple[Step, Step]:
    ours, peer = (make_step(*pair, batch, resolution) for pair in zip(SIDES, settings, strict=True))
    return ours, peer


def _make_step_apart(threads: int, heap_kept: bool, side: str, setting: Setting, batch: int, resolution: int) -> Step:
    """`make_step` in a new process."""
    torch.set_num_threads(threads)
    if heap_kept:
        keep_heap()
    return make_step(side, setting, batch, resolution)


def make_inference(side: str, setting: Setting, batch: int, resolution: int) -> Callable[[], Tensor]:
    """Inference of `"ours"` or `"peer"`; it returns logits (batch, CLASSES)."""
    network, images = _make_network(side, setting, batch, resolution)
    network.eval()

    def infer() -> Tensor:
        with torch.inference_mode(), torch.autocast(images.device.type, torch.bfloat16, enabled=setting.bf16):
            logits = network(images)
        _wait_for(images.device)
        return logits

    return infer


def _make_network(side: str, setting: Setting, batch: int, resolution: int) -> tuple[nn.Module, Tensor]:
    """A network of `"ours"` or `"peer"`, and the uint8 pictures (batch, 3, resolution, resolution) to feed it.

    Both sides get the same weights and pictures, in whatever process. Timm's network too is given uint8 pictures:
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
    return network, _draw_pictures(batch, resolution).to(device=device, memory_format=layout)


@cache
def _draw_network(resolution: int) -> Classifier:
    """The network whose weights both sides get."""
    torch.manual_seed(0)
    task = _new_task(resolution, "symmetric")
    isometric_init(task.backbone)  # from the published init a rounded gradient is another one, 27 layers down
    # Statistics of pictures: with those of a new network the activations of eval mode fade to nothing, layer by layer.
    with torch.no_grad():
        task.train()(_draw_pictures(4, resolution))
    return task


def _new_task(resolution: int, padding: str) -> Classifier:
    return Classifier(MobileNetV1(padding=padding, bn_eps=BN_EPS, bn_momentum=1.0), CLASSES, resolution, dropout=0.0)


def _draw_pictures(count: int, resolution: int) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, resolution, resolution), dtype=torch.uint8, generator=draw)


def same_losses(ours: Step, peer: Step, steps: int, tolerance: float) -> bool:
    """Whether the first losses are the same; the second step's weights come of the first one's gradients."""
    losses = [(ours(), peer()) for _ in range(steps)]
    return all(abs(mine - theirs) <= tolerance * abs(theirs) for mine, theirs in losses)


def same_logits(ours: Tensor, theirs: Tensor, exact: bool) -> bool:
    """Whether logits (B, classes) are equal, or, where they cannot be that exact, each picture's point the same way."""
    ours, theirs = ours.double(), theirs.double()
    if exact:
        return bool((ours - theirs).abs().max() <= EXACT * theirs.abs().max())
    return bool((F.cosine_similarity(ours, theirs) >= COSINE).all())


def _result(case: str, batch: int, times: Comparison, checks: dict[str, bool]) -> Result:
    return Result(case, {"our_images_per_s": round(1000 * batch / times.ours_ms)}, times, checks)


def _computes_in_bf16(device: torch.device) -> bool:
    return pick_precision(device) == "bf16-mixed"


def _possible(device: torch.device) -> dict[str, Setting]:
    return {name: setting for name, setting in SETTINGS.items() if _computes_in_bf16(device) or not setting.bf16}


def _left_out(device: torch.device) -> str:
    return "" if _computes_in_bf16(device) else f"bf16 is left out: this {device.type} does not compute in it"


def _is_exact(device: torch.device, setting: Setting) -> bool:
    return device.type == "cpu" and not setting.bf16


def _says(kept: bool) -> str:
    return "kept" if kept else "as it is, for want of glibc"


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
