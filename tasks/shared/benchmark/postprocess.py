"""Our post-processing of detections against torchvision's."""

import math

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD
from torchvision.ops import box_iou

from tasks.shared.benchmark.suite import Options, Result, Suite
from tasks.shared.benchmark.timing import compare
from tasks.shared.detection.boxes import clip, decode, encode
from tasks.shared.detection.postprocess import Detections, postprocess

SIDE = 300  # pixels
CLASSES = 90  # without background
MAPS = ((19, 3), (10, 6), (5, 6), (3, 6), (2, 6), (1, 6))  # SSD-300's: cells a side, anchors a cell; 1917 anchors
RATIOS = (1, 2, 1 / 2, 3, 1 / 3, 1.2)  # width / height
OBJECTS = 12
PAIRS = {"few": 150, "many": 11_000, "most": 114_000}  # of anchor and class, above the threshold
TOTAL = 100  # detections wanted
IOU = 0.6
TIE = 1e-5  # scores no further apart may stand in either order
NEAR = 0.01  # pixels


def postprocess_suite(options: Options) -> Suite:
    """`postprocess` against torchvision's `SSD.postprocess_detections`, one image, on the CPU.

    torchvision's function begins with the softmax of the logits and with decoding and clipping the boxes, so these
    are timed on our side too. It cuts each class to its 400 best pairs before the suppression (`topk_candidates`,
    left at its default, which saves it time); ours cuts nothing before the suppression, and after it each class to
    100, no fewer than are wanted in all. So the answers can differ only where a class's 401st pair is among the 100
    best detections; `same_detections` tells.
    """
    logits, offsets, anchors = draw_outputs()
    ranked = logits.softmax(-1)[:, 1:].flatten().sort(descending=True).values
    results = []
    for case, pairs in PAIRS.items():
        threshold = float(ranked[pairs])
        above = int((ranked > threshold).sum())
        theirs = SSD(
            nn.Identity(),
            DefaultBoxGenerator([[2]]),
            (SIDE, SIDE),
            CLASSES + 1,
            head=nn.Identity(),
            score_thresh=threshold,
            nms_thresh=IOU,
            detections_per_img=TOTAL,
        )

        def ours(threshold: float = threshold) -> Detections:
            scores = logits.softmax(-1)[:, 1:]
            boxes = clip(decode(offsets, anchors), SIDE, SIDE)
            return postprocess(
                boxes, scores, score_threshold=threshold, iou_threshold=IOU, per_class=TOTAL, total=TOTAL
            )

        def peer(theirs: SSD = theirs) -> Detections:
            outputs = {"bbox_regression": offsets[None], "cls_logits": logits[None]}
            (found,) = theirs.postprocess_detections(outputs, [anchors], [(SIDE, SIDE)])
            return Detections(found["boxes"], found["scores"], found["labels"] - 1)

        with torch.inference_mode():
            same = same_detections(ours(), peer())
            times = compare(ours, peer, options.rounds)
        results.append(Result(case, {"pairs": above}, times, {"same_detections": same}))
    return Suite("ours against torchvision's SSD.postprocess_detections", results)


def draw_outputs(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """What a detector may say about an image of a few objects.

    logits (A, CLASSES + 1), background first; offsets (A, 4) against the anchors (A, 4), xyxy in pixels. The anchors
    near an object agree about its box and its class, the nearer the more; the others say anything.
    """
    draw = torch.Generator().manual_seed(seed)
    anchors = make_grid()
    size = SIDE * (0.1 + 0.5 * torch.rand(OBJECTS, 2, generator=draw))
    corner = (SIDE - size) * torch.rand(OBJECTS, 2, generator=draw)
    objects = torch.cat([corner, corner + size], dim=1)
    classes = torch.randint(1, CLASSES + 1, (OBJECTS,), generator=draw)

    overlap, nearest = box_iou(anchors, objects).max(dim=1)
    near = overlap > 0.3
    noise = torch.randn(len(anchors), 4, generator=draw)
    offsets = torch.where(near[:, None], encode(objects[nearest], anchors) + noise / 2, noise)
    logits = 1.5 * torch.randn(len(anchors), CLASSES + 1, generator=draw)
    logits[:, 0] += 7  # so that most scores are small
    logits[near, classes[nearest[near]]] += 12 * overlap[near]
    return logits, offsets, anchors


def make_grid() -> Tensor:
    """Anchors (1917, 4) xyxy in pixels, larger on coarser maps."""
    anchors = []
    for level, (cells, shapes) in enumerate(MAPS):
        centers = (torch.arange(cells) + 0.5) * SIDE / cells
        center = torch.cartesian_prod(centers, centers)
        for ratio in RATIOS[:shapes]:
            half = SIDE * (0.2 + 0.15 * level) / 2 * torch.tensor([math.sqrt(ratio), 1 / math.sqrt(ratio)])
            anchors.append(torch.cat([center - half, center + half], dim=1))
    return torch.cat(anchors)


def same_detections(ours: Detections, theirs: Detections, total: int = TOTAL) -> bool:
    """Whether each detection has its like on the other side, and the scores are the same in order.

    Of two that tie for the last of `total` places, either may be there.
    """
    if len(ours.scores) != len(theirs.scores):
        return False
    if not len(ours.scores):
        return True
    alike = ours.labels[:, None] == theirs.labels
    alike &= (ours.scores[:, None] - theirs.scores).abs() <= TIE
    alike &= (ours.boxes[:, None] - theirs.boxes).abs().amax(2) <= NEAR
    last = ours.scores[-1] + TIE if len(ours.scores) == total else -math.inf
    return bool(
        torch.allclose(ours.scores, theirs.scores, rtol=0, atol=TIE)
        and (alike.any(1) | (ours.scores <= last)).all()
        and (alike.any(0) | (theirs.scores <= last)).all()
    )
