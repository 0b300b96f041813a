"""A drawn sample data set for object detection in COCO's own layout: training without a download.

Six kinds of textured shapes lie, partly over each other, on cluttered images of about 300 pixels a side.
A kind is told by its silhouette and its texture; its hue usually helps but is random in some of the objects.
The same parameters give the same bytes in the same environment.
"""

import json
import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from tasks.shared.data.sample_folder import keep_sample
from tasks.shared.files.writing import encode_image
from tasks.shared.samples.drawing import background, photograph, rgb
from tasks.shared.terminal.progress import counted

VERSION = 3  # raise it whenever the drawing changes: existing sets are then redrawn
FORMAT = "drawn detection sample"
SPLITS = ("train", "val")

IMAGE_SIDE = (260, 360)  # pixels, both ends included
SMALL_SIDE = (32.5, 47.5)  # pixels: longer side of the box of a small object
LARGE_SIDE = (48.5, 179.5)
SMALL_SHARE = 0.21
EMPTY_SHARE, CROWDED_SHARE = 0.07, 0.15  # of the images; crowded ones hold 6 to 9 objects, the rest 1 to 5
OVERLAP_SHARE = 0.04  # of the tries to place an object are close to an earlier one
MAX_COVERED = 0.35  # share of a box that all later boxes together may cover
RANDOM_HUE_SHARE = 0.12
HUE_SPREAD = 25  # degrees on either side of the hue of the kind
FINE = 3  # silhouettes are drawn this many times larger, then averaged down, for smooth edges


def _polar(radii: list[float]) -> np.ndarray:
    """Corners [n, 2] (x, y) at equal angles around the origin, the first one on top, one per radius."""
    angles = np.arange(len(radii)) * 2 * np.pi / len(radii) - np.pi / 2
    return np.stack([np.cos(angles), np.sin(angles)], 1) * np.array(radii)[:, None]


def _rounded_square(corners: int = 48) -> np.ndarray:
    circle = _polar([1.0] * corners)
    return np.sign(circle) * np.abs(circle) ** 0.35 * 0.85


def _plus(arm: float = 0.34) -> np.ndarray:
    right = [(arm, -1), (arm, -arm), (1, -arm), (1, arm), (arm, arm), (arm, 1)]
    return np.array(right + [(-x, -y) for x, y in right])


# COCO id (with gaps, as in COCO), name, hue in degrees, loops of the silhouette within [-1, 1] (the second is a hole),
# texture: a wave over that same square whose sign chooses between the two tones of the object, or None for a plain
# object with a bold edge.
KINDS = (
    (1, "ball", 0, [_polar([1.0] * 48)], lambda x, y: np.sin(9 * x)),
    (2, "tile", 45, [_rounded_square()], lambda x, y: np.sin(6.5 * x) * np.sin(6.5 * y) * 1.5),
    (4, "sign", 110, [_polar([1.0] * 3)], None),
    (7, "star", 170, [_polar([1.0, 0.48] * 5)], lambda x, y: np.sin(15 * np.hypot(x, y) + 1.5)),
    (8, "ring", 225, [_polar([1.0] * 48), _polar([0.46] * 48)], lambda x, y: np.sin(6 * np.arctan2(y, x)) * 1.5),
    (11, "cross", 295, [_plus()], lambda x, y: np.cos(9.2 * x) + np.cos(9.2 * y) - 0.7),
)


def _place(
    rng: np.random.Generator, image: tuple[int, int], unit: np.ndarray, boxes: list[np.ndarray], spare: list[float]
) -> np.ndarray | None:
    """Add a box (left, top, right, bottom) in pixels with the proportions `unit` to `boxes`, return it; None: no room.

    `spare` holds how many pixels of each box later ones may still cover; it is brought up to date.
    """
    smallest, largest = SMALL_SIDE if rng.random() < SMALL_SHARE else LARGE_SIDE
    longer = smallest * (largest / smallest) ** rng.random()
    for _ in range(1000):
        sides = unit * longer
        room = np.array(image) - sides
        corner = rng.uniform(0, 1, 2) * room
        if boxes and rng.random() < OVERLAP_SHARE:
            other = boxes[rng.integers(len(boxes))]
            corner = (other[:2] + other[2:] - sides) / 2 + rng.uniform(-0.4, 0.4, 2) * (other[2:] - other[:2] + sides)
        box = np.concatenate([corner, corner + sides])
        shared = [float(np.prod((np.minimum(box[2:], b[2:]) - np.maximum(box[:2], b[:2])).clip(0))) for b in boxes]
        left = [pixels - taken for pixels, taken in zip(spare, shared, strict=True)]
        if min(left, default=0) >= 0 and (corner >= 0).all() and (corner <= room).all():
            spare[:] = [*left, MAX_COVERED * float(np.prod(sides))]
            boxes.append(box)
            return box
        longer = max(longer * 0.99, smallest)  # a crowded image takes smaller objects
    return None


def _draw_object(
    rng: np.random.Generator, image: Image.Image, boxes: list[np.ndarray], spare: list[float]
) -> dict | None:
    """Draw one object over `image`; return its COCO annotation without the two ids, None without room."""
    number, _, middle, loops, texture = KINDS[rng.integers(len(KINDS))]
    turn, aspect = rng.uniform(0, 2 * np.pi), rng.uniform(0.7, 1.4) ** 0.5
    to_image = np.array([(math.cos(turn), -math.sin(turn)), (math.sin(turn), math.cos(turn))]) * (aspect, 1 / aspect)
    loops = [loop @ to_image.T for loop in loops]
    low, high = loops[0].min(0), loops[0].max(0)
    box = _place(rng, image.size, (high - low) / (high - low).max(), boxes, spare)
    if box is None:
        return None
    scale = (box[2:] - box[:2]).max() / (high - low).max()
    loops = [(loop - low) * scale + box[:2] for loop in loops]

    # Silhouette and edge, on the whole pixels around the box.
    left, top = (int(side) for side in box[:2])
    width, height = (math.ceil(side) - start for side, start in zip(box[2:], (left, top), strict=True))
    mask, edge = (Image.new("L", (width * FINE, height * FINE)) for _ in range(2))
    bold = texture is None
    edged = bold or rng.random() < 0.4
    thickness = 2 * (scale * 0.16 if bold else rng.uniform(0.8, 2.5))  # the outer half falls outside the silhouette
    for loop, fill in zip(loops, (255, 0), strict=False):
        points = [tuple(p) for p in ((loop - (left, top)) * FINE - 0.5).tolist()]  # PIL counts from pixel centres
        ImageDraw.Draw(mask).polygon(points, fill)
        if edged:
            ImageDraw.Draw(edge).line([*points, *points[:2]], 255, round(thickness * FINE), joint="curve")
    mask, edge = mask.reduce(FINE), edge.reduce(FINE)

    # Texture in the axes of the shape, so that it turns with it.
    centre = box[:2] - low * scale
    y, x = np.mgrid[top : top + height, left : left + width].reshape(2, -1) + 0.5
    x, y = (np.linalg.inv(to_image * scale) @ (x - centre[0], y - centre[1])).astype(np.float32)
    wave = np.ones_like(x) if texture is None else texture(x, y)
    tone = (0.5 + wave * np.float32(scale / 9)).clip(0, 1)[:, None]  # about one pixel from tone to tone
    spread = 180 if rng.random() < RANDOM_HUE_SHARE else HUE_SPREAD
    hue = middle + rng.uniform(-spread, spread)
    saturation, value = rng.uniform(0.6, 0.95), rng.uniform(0.6, 1)
    light, dark = rgb(hue, 0.2, min(1, value + 0.2)), rgb(hue, saturation, value * 0.35)
    other, rim = (light, dark) if rng.random() < 0.5 else (dark, light)
    first, second = (np.array(c, np.float32) for c in (other, rgb(hue, saturation, value)))
    slope = rng.uniform(-0.18, 0.18, 2).astype(np.float32)  # light falls from one side
    colours = (first + (second - first) * tone) * (1 + slope[0] * x + slope[1] * y)[:, None]
    patch = Image.fromarray(colours.clip(0, 255).astype(np.uint8).reshape(height, width, 3))
    if edged:
        patch.paste(rim, mask=edge)
    image.paste(patch, (left, top), mask)

    # One polygon per object: round the silhouette and then backwards round the hole, joined by a cut of no width.
    outline = loops[0]
    for hole in loops[1:]:
        outline = np.concatenate([outline, outline[:1], hole[::-1], hole[-1:]])
    return {
        "category_id": number,
        "bbox": [round(float(v), 2) for v in (*box[:2], *(box[2:] - box[:2]))],
        "area": round(float(np.asarray(mask, np.float64).sum() / 255), 2),
        "iscrowd": 0,
        "segmentation": [[round(v, 2) for v in outline.ravel().tolist()]],
    }


def _draw_image(seed: int, split: int, index: int) -> tuple[Image.Image, list[dict]]:
    """Image `index` of a split, the same however many images are drawn, with its annotations (no ids yet)."""
    rng = np.random.default_rng((seed, split, index))
    width, height = rng.integers(*IMAGE_SIDE, 2, endpoint=True).tolist()
    image = background(rng, width, height)
    # Steps of the golden ratio spread evenly over 0..1, so that the shares hold closely in any run of images.
    even = (index * 0.6180339887498949 + seed * 0.7548776662466927 % 1 + split * 0.5698402909980532) % 1
    crowded = EMPTY_SHARE <= even < EMPTY_SHARE + CROWDED_SHARE
    count = 0 if even < EMPTY_SHARE else rng.integers(6, 10) if crowded else rng.integers(1, 6)
    boxes: list[np.ndarray] = []
    spare: list[float] = []
    drawn = (_draw_object(rng, image, boxes, spare) for _ in range(count))
    annotations = [annotation for annotation in drawn if annotation]
    return photograph(rng, image), annotations


def _draw_into(root: Path, counts: dict[str, int], seed: int) -> None:
    (root / "annotations").mkdir(parents=True)
    with counted("drawing the detection sample", sum(counts.values())) as drawn:
        for split, (name, count) in enumerate(counts.items()):
            (root / name).mkdir()
            images: list[dict] = []
            annotations: list[dict] = []
            for index in range(count):
                image, objects = _draw_image(seed, split, index)
                file_name, size = f"{index + 1:06d}.jpg", {"width": image.width, "height": image.height}
                (root / name / file_name).write_bytes(encode_image(image, "JPEG", quality=90))
                images.append({"id": index + 1, "file_name": file_name} | size)
                for item in objects:
                    annotations.append({"id": len(annotations) + 1, "image_id": index + 1} | item)
                drawn()
            instances = {
                "info": {"description": FORMAT, "version": str(VERSION)},
                "licenses": [],
                "images": images,
                "annotations": annotations,
                "categories": [
                    {"id": category[0], "name": category[1], "supercategory": "shape"} for category in KINDS
                ],
            }
            (root / "annotations" / f"instances_{name}.json").write_text(json.dumps(instances), "utf-8")


def draw_detection_sample(root: Path, train: int = 400, val: int = 100, seed: int = 0) -> None:
    """Draw the sample into `root`: train/*.jpg, val/*.jpg and annotations/instances_{train,val}.json as in COCO.

    Returns at once where `root` already holds the complete set of the same parameters, and replaces an incomplete or
    different one. The set appears in `root` only when it is whole.

    Args:
        root: Folder of the set; its parents are created.
        train, val: Number of images of either split.
        seed: Non-negative; another seed gives other images.

    Raises:
        UserError: `root` holds something that is not part of a drawn sample; nothing is deleted.
    """
    counts = dict(zip(SPLITS, (train, val), strict=True))
    wanted = {"format": FORMAT, "version": VERSION, **counts, "seed": seed}
    files = {f"{split}/*.jpg": count for split, count in counts.items()}
    files |= {f"annotations/instances_{split}.json": 1 for split in SPLITS}
    keep_sample(root, wanted, files, lambda folder: _draw_into(folder, counts, seed))
