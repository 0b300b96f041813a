"""Inference of MobileNet 1.0-224 against timm's, and against ONNX Runtime on the same network."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import onnxruntime
import torch
import torch.nn.functional as F
from torch import Tensor

from backbone import fold_batch_norm
from tasks.classification.benchmark import (
    EXACT,
    PEER,
    Roofline,
    Setting,
    computes_in_bf16,
    describe,
    is_exact,
    left_out,
    make_network,
    says,
)
from tasks.classification.benchmark_onnx import to_onnx
from tasks.shared.benchmark import Options, Suite
from tasks.shared.classification.model import Classifier
from tasks.shared.roofline import wait_for
from tasks.shared.runtime import keep_heap, pick_device
from tasks.shared.timing import compare

COSINE = 0.95  # of a picture's logits, where they cannot be equal: folded, bf16 rounds other numbers
ONNX = "onnxruntime"

Side = Callable[[], Tensor]


class Case(NamedTuple):
    """ours: as tools/eval.py and tools/predict.py run it, but for what is said. peer: timm's setting, or ONNX."""

    ours: Setting
    peer: Setting | str


CASES = {
    "timm": Case(Setting(channels_last=True), Setting()),
    "timm, channels last": Case(Setting(channels_last=True), Setting(channels_last=True)),
    "ONNX Runtime": Case(Setting(channels_last=True), ONNX),
    "both bf16, timm channels last": Case(Setting(True, channels_last=True), Setting(True, channels_last=True)),
}


def inference_suite(options: Options, batches: tuple[int, ...] = (1, 32), resolution: int = 224) -> Suite:
    """Logits of uint8 pictures, in one process that keeps the heap, of which the peers too have the advantage.

    Ours has its batch norm folded and is channels_last, as tools/eval.py and tools/predict.py make it. Timm's is
    eager. ONNX Runtime has our network folded already, runs as many threads, and on the CPU alone.
    """
    device = pick_device("auto")
    kept, roofline, results = keep_heap(), Roofline(device, resolution, passes=1), []
    for batch in batches:
        for name, (mine, theirs) in CASES.items():
            if (mine.bf16 and not computes_in_bf16(device)) or (theirs == ONNX and device.type != "cpu"):
                continue
            ours = make_inference("ours", mine, batch, resolution)
            if isinstance(theirs, Setting):
                peer, exact = make_inference("peer", theirs, batch, resolution), is_exact(device, mine, theirs)
            else:
                peer, exact = make_onnx(batch, resolution), True
            same = same_logits(ours(), peer(), exact)
            times = compare(ours, peer, options.rounds)
            case = f"batch {batch}, {name}"
            results.append(describe(case, batch, mine.bf16, times, {"same_logits": same}, roofline))
    title = (
        f"logits of pictures of {resolution} pixels on the {device.type}, ours against timm's {PEER} and "
        f"ONNX Runtime {onnxruntime.__version__}; the heap {says(kept)}"
    )
    notes = [left_out(device), "" if device.type == "cpu" else "ONNX Runtime is left out: it runs on the CPU here"]
    return Suite(title, results, "; ".join(filter(None, notes)))


def make_inference(side: str, setting: Setting, batch: int, resolution: int) -> Side:
    """Inference of `"ours"` or `"peer"`; it returns logits (batch, CLASSES)."""
    network, images = make_network(side, setting, batch, resolution)
    network.eval()
    if side == "ours":
        fold_batch_norm(network)

    def infer() -> Tensor:
        with torch.inference_mode(), torch.autocast(images.device.type, torch.bfloat16, enabled=setting.bf16):
            logits = network(images)
        wait_for(images.device)
        return logits

    return infer


def make_onnx(batch: int, resolution: int) -> Side:
    """Our network in ONNX Runtime; normalising is in its graph."""
    network, images = make_network("ours", Setting(), batch, resolution)
    assert isinstance(network, Classifier)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    model = to_onnx(network.eval(), resolution).SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    pictures = {"images": images.cpu().contiguous().numpy()}

    def infer() -> Tensor:
        (logits,) = session.run(["logits"], pictures)
        return torch.from_numpy(np.asarray(logits))

    return infer


def same_logits(ours: Tensor, theirs: Tensor, exact: bool) -> bool:
    """Whether logits (B, classes) are equal, or, where they cannot be that exact, each picture's point the same way."""
    ours, theirs = ours.double().cpu(), theirs.double().cpu()
    if exact:
        return bool((ours - theirs).abs().max() <= EXACT * theirs.abs().max())
    return bool((F.cosine_similarity(ours, theirs) >= COSINE).all())
