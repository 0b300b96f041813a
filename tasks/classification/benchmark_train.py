"""A training step of MobileNet 1.0-224 against timm's."""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from backbone.kernels import kernels
from tasks.classification.benchmark import (
    CLASSES,
    EXACT,
    PEER,
    SIDES,
    Roofline,
    Setting,
    computes_in_bf16,
    describe,
    is_exact,
    left_out,
    make_apart,
    make_network,
    says,
)
from tasks.shared.benchmark.roofline import wait_for
from tasks.shared.benchmark.suite import Options, Suite
from tasks.shared.benchmark.timing import Child, compare
from tasks.shared.network.runtime import keep_heap, pick_device
from tasks.shared.training.ema import Ema

# Relative, of losses in fp32 after a training step, which magnifies what another order of sums leaves: on some CPUs
# the second loss of timm's network in channels last is further from fp64 than EXACT, on small images above all.
TRAINED = 1e-3
LOOSE = 0.03  # relative, of losses: what bf16 and a GPU's TF32 leave of them
SAME = {
    "fp32": Setting(),
    "fp32 channels last": Setting(channels_last=True),
    "bf16": Setting(bf16=True),
    "bf16 channels last": Setting(bf16=True, channels_last=True),
}

Step = Callable[[], float]


def train_suite(options: Options, batch: int = 32, resolution: int = 224) -> Suite:
    """A training step from uint8 images on: forward, cross-entropy, backward, SGD with momentum.

    First each side as its own user runs it, in a process of its own, as keeping the heap cannot be taken back. Ours is
    tools/train.py by default: heap kept, bf16 where the device computes in it, channels_last, padding as TensorFlow
    does, a moving average; or the same in fp32. Timm's keeps no heap: its loop by default is fp32 and NCHW; an informed
    user asks for channels_last and bf16. In the other cases both sides have the same settings and, being in this one
    process, the heap kept.
    """
    device = pick_device("auto")
    sizes, threads = (batch, resolution), torch.get_num_threads()
    roofline, results = Roofline(device, resolution, passes=3), []
    for name, (mine, theirs) in _as_run(device).items():
        with (
            Child(make_apart, threads, True, make_step, "ours", mine, *sizes) as ours,
            Child(make_apart, threads, False, make_step, "peer", theirs, *sizes) as peer,
        ):
            times = compare(ours, peer, options.rounds)
            memory = {"our_peak_MB": ours.peak_memory(), "peer_peak_MB": peer.peak_memory()}
        # Padded otherwise it is another network, so this is asked of the one that pads as timm's. One step: after it,
        # weights that were trained in bf16 and in fp32 differ by more than a mistake would make.
        steps = _make_steps((mine._replace(padding="symmetric"), theirs), *sizes)
        same = same_losses(*steps, steps=1, tolerance=EXACT if is_exact(device, mine, theirs) else LOOSE)
        results.append(describe(name, batch, mine.bf16, times, {"same_loss": same}, roofline, **memory))
    kept = keep_heap()
    for name, setting in SAME.items():
        if setting.bf16 and not computes_in_bf16(device):
            continue
        steps = _make_steps((setting, setting), *sizes)
        same = same_losses(*steps, steps=2, tolerance=TRAINED if is_exact(device, setting) else LOOSE)
        times = compare(*steps, options.rounds)
        results.append(describe(f"both {name}", batch, setting.bf16, times, {"same_loss": same}, roofline))
    title = (
        f"a step of {batch} images of {resolution} pixels on the {device.type}, ours against timm's {PEER}; "
        f"first each as it is run, then both with the same settings and the heap {says(kept)}"
    )
    slower = "backbone/kernels were not compiled" if device.type == "cpu" and not kernels() else ""
    return Suite(title, results, "; ".join(filter(None, [left_out(device), slower])))


def _as_run(device: torch.device) -> dict[str, tuple[Setting, Setting]]:
    """Ours and theirs by case."""
    bf16 = computes_in_bf16(device)
    ours = Setting(bf16, channels_last=True, padding="same", in_a_run=True)
    cases = {
        "defaults": (ours, Setting()),
        "informed": (ours, Setting(bf16, channels_last=True)),
        "defaults, fp32 only": (ours._replace(bf16=False), Setting()),
    }
    return cases if bf16 else {name: pair for name, pair in cases.items() if name != "defaults, fp32 only"}


def make_step(side: str, setting: Setting, batch: int, resolution: int) -> Step:
    """A training step of `"ours"` or `"peer"`, always on the same batch; it returns its loss."""
    network, images = make_network(side, setting, batch, resolution)
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
        wait_for(images.device)
        return loss.item()

    return step


def _make_steps(settings: tuple[Setting, Setting], batch: int, resolution: int) -> tuple[Step, Step]:
    ours, peer = (make_step(*pair, batch, resolution) for pair in zip(SIDES, settings, strict=True))
    return ours, peer


def same_losses(ours: Step, peer: Step, steps: int, tolerance: float) -> bool:
    """Whether the first losses are the same; the second step's weights come of the first one's gradients."""
    losses = [(ours(), peer()) for _ in range(steps)]
    return all(abs(mine - theirs) <= tolerance * abs(theirs) for mine, theirs in losses)
