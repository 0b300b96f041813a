"""Inference of MobileNet 1.0-224 against timm's, and against ONNX Runtime on the same network."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from tasks.classification.benchmark import (
    EXACT,
    PEER,
    Roofline,
    Setting,
    computes_in_bf16,
    describe,
    is_exact,
    left_out,
    make_apart,
    make_network,
)
from tasks.shared.benchmark.suite import Options, Suite
from tasks.shared.benchmark.timing import Child, compare
from tasks.shared.classification.model import Classifier
from tasks.shared.errors import installed_by
from tasks.shared.network.fused import prepare_for_inference
from tasks.shared.network.runtime import pick_device

with installed_by("onnx", "suite=inference"):
    import onnxruntime

    from tasks.classification.benchmark_onnx import to_onnx

COSINE = 0.95  # of an image's logits, where they cannot be equal: folded, bf16 rounds other numbers
ONNX = "onnxruntime"
PAUSE = 0.1  # seconds: ONNX Runtime's threads spin for a while after an answer, and would slow what comes next

Side = Callable[[], np.ndarray]


class Case(NamedTuple):
    """ours: as tools/eval.py and tools/predict.py run it, but for what is said. peer: timm's setting, or ONNX.

    heap_kept: the peer's; ours always is.
    """

    ours: Setting
    peer: Setting | str
    heap_kept: bool = True


FAST = Setting(channels_last=True)
FAST_BF16 = Setting(bf16=True, channels_last=True)


def inference_suite(options: Options, batches: tuple[int, ...] = (1, 32), resolution: int = 224) -> Suite:
    """Logits of uint8 images, each side in a process of its own.

    Ours is as tools/eval.py and tools/predict.py make it: batch norm folded, channels_last, the heap kept, and bf16
    where the device computes in it. Timm's is eager; by default it is fp32 and NCHW and keeps no heap, otherwise it is
    given what ours has. ONNX Runtime has our network folded already, runs as many threads, and on the CPU alone.
    """
    device = pick_device("auto")
    threads = torch.get_num_threads()
    roofline, results = Roofline(device, resolution, passes=1), []
    for batch in batches:
        for name, (mine, theirs, heap_kept) in _cases(device).items():
            sizes = batch, resolution
            other = (make_onnx, *sizes) if theirs == ONNX else (make_inference, "peer", theirs, *sizes)
            with (
                Child(make_apart, threads, True, make_inference, "ours", mine, *sizes) as ours,
                Child(make_apart, threads, heap_kept, *other) as peer,
            ):
                same = same_logits(ours(), peer(), is_exact(device, mine))
                times = compare(ours, peer, options.rounds, PAUSE)
            case = f"batch {batch}, {name}"
            results.append(describe(case, batch, mine.bf16, times, {"same_logits": same}, roofline))
    title = (
        f"logits of images of {resolution} pixels on the {device.type}, ours against timm's {PEER} and "
        f"ONNX Runtime {onnxruntime.__version__}"
    )
    notes = [left_out(device), "" if device.type == "cpu" else "ONNX Runtime is left out: it runs on the CPU here"]
    return Suite(title, results, "; ".join(filter(None, notes)))


def _cases(device: torch.device) -> dict[str, Case]:
    bf16 = computes_in_bf16(device)
    cases = {
        "defaults": Case(FAST_BF16 if bf16 else FAST, Setting(), heap_kept=False),
        "defaults, fp32 only": Case(FAST, Setting(), heap_kept=False),
        "both fp32 channels last": Case(FAST, FAST),
        "fp32, ONNX Runtime": Case(FAST, ONNX),
        "both bf16 channels last": Case(FAST_BF16, FAST_BF16),
    }
    absent = {"defaults, fp32 only", "both bf16 channels last"} if not bf16 else set()
    absent |= {"fp32, ONNX Runtime"} if device.type != "cpu" else set()
    return {name: case for name, case in cases.items() if name not in absent}


def make_inference(side: str, setting: Setting, batch: int, resolution: int) -> Side:
    """Inference of `"ours"` or `"peer"`; it returns logits (batch, CLASSES)."""
    network, images = make_network(side, setting, batch, resolution)
    if isinstance(network, Classifier):
        prepare_for_inference(network, images.device, setting.bf16)
    network.eval()
    autocast = setting.bf16 and side == "peer"  # ours has its own

    def infer() -> np.ndarray:
        with torch.inference_mode(), torch.autocast(images.device.type, torch.bfloat16, enabled=autocast):
            logits = network(images)
        return logits.float().cpu().numpy()

    return infer


def make_onnx(batch: int, resolution: int) -> Side:
    """Our network in ONNX Runtime; normalising is in its graph."""
    network, images = make_network("ours", Setting(), batch, resolution)
    assert isinstance(network, Classifier)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    model = to_onnx(network.eval(), resolution).SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    fed = {"images": images.cpu().contiguous().numpy()}

    def infer() -> np.ndarray:
        (logits,) = session.run(["logits"], fed)
        return np.asarray(logits)

    return infer


def same_logits(ours: np.ndarray, theirs: np.ndarray, exact: bool) -> bool:
    """Whether logits (B, classes) are equal, or, where they cannot be that exact, each image's point the same way."""
    ours, theirs = ours.astype(float), theirs.astype(float)
    if exact:
        return bool(np.abs(ours - theirs).max() <= EXACT * np.abs(theirs).max())
    cosines = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    return bool((cosines >= COSINE).all())
