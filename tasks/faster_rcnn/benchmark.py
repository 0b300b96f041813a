"""Our proposals and detections against torchvision's Faster-RCNN."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops import box_iou

from tasks.faster_rcnn.anchors import anchor_sizes, make_anchors
from tasks.faster_rcnn.detect import detect
from tasks.faster_rcnn.rpn import propose
from tasks.shared.benchmark.postprocess import NEAR, same_detections
from tasks.shared.benchmark.suite import Options, Result, Suite
from tasks.shared.benchmark.timing import compare
from tasks.shared.detection.boxes import SCALES, encode
from tasks.shared.detection.postprocess import Detections

CLASSES = 90  # without background
TOTAL = 300  # proposals, and detections
PROPOSAL_IOU, IOU, PER_CLASS = 0.7, 0.6, 100
OBJECTS = 12


class Case(NamedTuple):
    """side: of the image in pixels. noise: how far what the anchors near an object say of its box lies apart, in the
    coder's units. looked_at: how many of the best proposals torchvision looks at; where the anchors agree, too few of
    its 1000 would survive. threshold: of the scores."""

    side: int
    noise: float = 4.0
    looked_at: int = 1000
    threshold: float = 1e-8


CASES = {
    "300 px": Case(300),
    "300 px, scores above 0.05": Case(300, threshold=0.05),  # torchvision's default
    "300 px, crowded": Case(300, 0.5, 100_000),
    "600 px": Case(600),
    "600 px, crowded": Case(600, 0.5, 100_000),
}


class Example(NamedTuple):
    """What both stages may say of an image of `side` pixels: logits (A, 2), offsets (A, 4) and anchors (A, 4), then
    class_logits (TOTAL, CLASSES + 1) and box_offsets (TOTAL, CLASSES, 4) of the proposals (TOTAL, 4)."""

    side: int
    logits: Tensor
    offsets: Tensor
    anchors: Tensor
    class_logits: Tensor
    box_offsets: Tensor
    proposals: Tensor


def postprocess_suite(options: Options) -> Suite:
    """What follows the network's layers in the first stage, the second and both, one image, on the CPU.

    First stage: decoding, clipping and suppression; `propose` against `BoxCoder.decode` and
    `RegionProposalNetwork.filter_proposals`. Second stage, of 300 proposals and 90 classes: softmax, decoding, clipping
    and suppression; `detect`, which `FasterRCNN.predict` calls, against `RoIHeads.postprocess_detections`. Thresholds
    and counts are the same, but torchvision counts none a class; ours, 100, changes no answer here.
    """
    with torch.inference_mode():
        results = [result for name, case in CASES.items() for result in _compare(name, case, options.rounds)]
    return Suite("ours against torchvision's Faster-RCNN", results)


def our_proposals(image: Example) -> Tensor:
    """(N, 4), best first."""
    batch = image.logits[None], image.offsets[None]
    boxes, found = propose(*batch, image.anchors, TOTAL, PROPOSAL_IOU, image.side, image.side)
    return boxes[0, : int(found[0])]


def our_detections(image: Example, threshold: float) -> Detections:
    return detect(
        image.class_logits,
        image.box_offsets,
        image.proposals,
        image.side,
        image.side,
        score_threshold=threshold,
        iou_threshold=IOU,
        per_class=PER_CLASS,
        total=TOTAL,
    )


class Torchvision:
    """The parts of its network that follow the layers, and their inputs as its layers would give them."""

    def __init__(self, image: Example, looked_at: int, threshold: float):
        self.size, self.image = [(image.side, image.side)], image
        counts = {"testing": looked_at}, {"testing": TOTAL}
        self.rpn = RegionProposalNetwork(nn.Identity(), nn.Identity(), 0.7, 0.3, 256, 0.5, *counts, PROPOSAL_IOU).eval()  # type: ignore[arg-type]
        self.objectness = (image.logits[:, 1] - image.logits[:, 0])[None]  # one logit an anchor
        self.heads = RoIHeads(None, None, None, 0.5, 0.5, 64, 0.25, SCALES, threshold, IOU, TOTAL)
        self.rpn.box_coder = self.heads.box_coder  # of the same scales
        self.box_offsets = F.pad(image.box_offsets, (0, 0, 1, 0)).flatten(1)  # a row for background too

    def proposals(self) -> Tensor:
        anchors = [self.image.anchors]
        boxes = self.rpn.box_coder.decode(self.image.offsets, anchors).view(1, -1, 4)
        (found,), _ = self.rpn.filter_proposals(boxes, self.objectness, self.size, [len(anchors[0])])
        return found

    def detections(self) -> Detections:
        inputs = self.image.class_logits, self.box_offsets, [self.image.proposals], self.size
        (boxes,), (scores,), (labels,) = self.heads.postprocess_detections(*inputs)
        return Detections(boxes, scores, labels - 1)


def _compare(name: str, case: Case, rounds: int) -> list[Result]:
    image = draw_image(case.side, case.noise)
    peer = Torchvision(image, case.looked_at, case.threshold)
    proposals, detections = partial(our_proposals, image), partial(our_detections, image, case.threshold)
    ours, theirs = proposals(), peer.proposals()
    same = {
        "first stage": len(ours) == len(theirs) and bool(((ours - theirs).abs() <= NEAR).all()),
        "second stage": same_detections(detections(), peer.detections(), TOTAL),
    }
    sides: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "first stage": (proposals, peer.proposals),
        "second stage": (detections, peer.detections),
        "both": (lambda: (proposals(), detections()), lambda: (peer.proposals(), peer.detections())),
    }
    facts = {"pairs": int((image.class_logits.softmax(-1)[:, 1:] > case.threshold).sum())}
    return [
        Result(f"{name}: {part}", facts, compare(*both, rounds), {"same": same.get(part, all(same.values()))})
        for part, both in sides.items()
    ]


def draw_image(side: int, noise: float, seed: int = 0) -> Example:
    """The anchors near one of a few objects agree about its box up to `noise`, the others say anything; two of five
    proposals are sure of some class."""
    draw = torch.Generator().manual_seed(seed)
    cells = -(-side // 16)
    anchors = make_anchors(anchor_sizes((0.25, 0.5, 1, 2), (0.5, 1, 2)), cells, cells, 16)
    size = side * (0.1 + 0.5 * torch.rand(OBJECTS, 2, generator=draw))
    corner = (side - size) * torch.rand(OBJECTS, 2, generator=draw)
    overlap, nearest = box_iou(anchors, torch.cat([corner, corner + size], dim=1)).max(dim=1)
    near = overlap > 0.3
    objects = torch.cat([corner, corner + size], dim=1)[nearest]
    offsets = torch.randn(len(anchors), 4, generator=draw)
    offsets = torch.where(near[:, None], encode(objects, anchors) + noise * offsets, offsets)
    logits = torch.randn(len(anchors), 2, generator=draw)
    logits[:, 0] += 3
    logits[near, 1] += 8 * overlap[near]

    class_logits = 1.5 * torch.randn(TOTAL, CLASSES + 1, generator=draw)
    class_logits[:, 0] += 4
    sure = torch.arange(0, TOTAL, 5)[:, None].add(torch.arange(2)).flatten()
    class_logits[sure, torch.randint(1, CLASSES + 1, sure.shape, generator=draw)] += 8
    box_offsets = torch.randn(TOTAL, CLASSES, 4, generator=draw)
    image = Example(side, logits, offsets, anchors, class_logits, box_offsets, anchors[:0])
    return image._replace(proposals=our_proposals(image))
