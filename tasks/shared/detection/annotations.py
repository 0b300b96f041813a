"""COCO's instances json, checked and packed into arrays."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tasks.shared.errors import UserError
from tasks.shared.files.packing import packed
from tasks.shared.files.reading import is_utf8, shown

SHOWN = 20  # how many offenders a message lists
NUMBERS = {"id", "image_id", "category_id", "height", "width"}


@dataclass
class CocoAnnotations:
    """A COCO instances file as arrays, which worker processes share instead of copying a million dicts.

    image_ids (N,) int64; file_names (N,) bytes, UTF-8; sizes (N, 2) int32 height and width; image i has
    boxes[offsets[i]:offsets[i + 1]], float32 xyxy in its pixels, and labels likewise, int64 from 0: index into
    category_ids and class_names. Crowd boxes are left out. `remarks`: what was clipped or dropped, one line each.
    """

    path: Path
    image_ids: np.ndarray
    file_names: np.ndarray
    sizes: np.ndarray
    offsets: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    category_ids: list[int]
    class_names: list[str]
    remarks: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.image_ids)

    def file_name(self, index: int) -> str:
        return bytes(self.file_names[index]).decode()

    def below(self, folder: str) -> "CocoAnnotations":
        """The same, with `folder` before every file name."""
        names = np.array([f"{folder}/".encode() + bytes(name) for name in self.file_names])
        return replace(self, file_names=names)

    def select(self, keep: np.ndarray) -> "CocoAnnotations":
        """Only the images where `keep` (N,) is true."""
        counts = np.diff(self.offsets)
        boxes_kept = np.repeat(keep, counts)
        return replace(
            self,
            image_ids=self.image_ids[keep],
            file_names=self.file_names[keep],
            sizes=self.sizes[keep],
            offsets=np.concatenate([[0], counts[keep].cumsum()]),
            boxes=self.boxes[boxes_kept],
            labels=self.labels[boxes_kept],
        )


def concatenate(first: CocoAnnotations, second: CocoAnnotations) -> CocoAnnotations:
    """The images of two files of the same categories, one after the other."""
    check_same_categories(first, second)
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(first, name), getattr(second, name)])
        for name in ("image_ids", "file_names", "sizes", "boxes", "labels")
    }
    offsets = np.concatenate([first.offsets, second.offsets[1:] + first.offsets[-1]])
    return replace(first, **joined, offsets=offsets, remarks=first.remarks + second.remarks)


def check_same_categories(first: CocoAnnotations, second: CocoAnnotations) -> None:
    """Raise UserError unless two files have the same categories by id and name."""
    a, b = (set(zip(t.category_ids, t.class_names, strict=True)) for t in (first, second))
    if a != b:
        differing = ", ".join(f"{i} {name}" for i, name in sorted(a ^ b)[:SHOWN])
        counts = f"{len(a)} and {len(b)} of them"
        raise UserError(
            f"{first.path} and {second.path} have different categories ({counts}); not in both: {differing}"
        )


def load_coco_json(path: Path) -> dict[str, Any]:
    """The file as COCO's dict, with missing `iscrowd` as 0 and missing `area` from the box.

    Raises UserError naming the file (and the index or id) if it is missing, no json or no COCO instances file.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such annotation file")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError, MemoryError) as error:  # of text, of depth, of numbers of 5,000 digits
        raise UserError(f"{path}: not a json file ({shown(str(error) or type(error).__name__)})") from error
    keys = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in keys):
        found = ", ".join(content)[:200] if isinstance(content, dict) else f"a {type(content).__name__}"
        raise UserError(f"{path}: not a COCO instances file: expected lists {', '.join(keys)}; found {found}")
    required = {
        "images": ("id", "file_name", "height", "width"),
        "annotations": ("id", "image_id", "category_id", "bbox"),
        "categories": ("id", "name"),
    }
    for key, fields in required.items():
        for index, entry in enumerate(content[key]):
            missing = [f for f in fields if f not in entry] if isinstance(entry, dict) else list(fields)
            if missing:
                raise UserError(f"{path}: {key}[{index}] lacks {', '.join(missing)}")
            for name in fields:
                side = name in ("height", "width")
                if name in NUMBERS and not (
                    _is_whole(entry[name], 31 if side else 62) and (entry[name] > 0 or not side)
                ):
                    expected = "a whole number" + (" of pixels" if side else "")
                    raise UserError(f"{path}: {key}[{index}]: {name}={shown(entry[name])}; expected {expected}")
            if key == "images" and not (isinstance(entry["file_name"], str) and is_utf8(entry["file_name"])):
                raise UserError(f"{path}: {key}[{index}]: file_name={shown(entry['file_name'])}; expected a text")
    for annotation in content["annotations"]:
        bbox = annotation["bbox"]
        if not (isinstance(bbox, list) and len(bbox) == 4 and all(map(_is_number, bbox))):
            message = f"{path}: annotation {annotation['id']}: bbox={str(bbox)[:100]}"
            raise UserError(f"{message}; expected [x, y, width, height]")
        annotation.setdefault("iscrowd", 0)
        annotation.setdefault("area", bbox[2] * bbox[3])
        if annotation["iscrowd"] not in (0, 1) or not _is_number(annotation["area"]):
            given = f"iscrowd={shown(annotation['iscrowd'])}, area={shown(annotation['area'])}"
            raise UserError(f"{path}: annotation {annotation['id']}: {given}; expected 0 or 1, and a number")
    return content


def read_annotations(path: Path) -> CocoAnnotations:
    """Read and check a COCO instances file for training.

    Boxes that stick out of their image are clipped, boxes without area dropped, both are remarked on; a box
    wholly outside, a non-finite one, an unknown or doubled id is an error that names the id.
    """
    content = load_coco_json(path)
    images, annotations = content["images"], [a for a in content["annotations"] if not a["iscrowd"]]
    categories = sorted(content["categories"], key=lambda c: c["id"])
    category_ids = [int(c["id"]) for c in categories]
    image_ids = np.array([i["id"] for i in images], dtype=np.int64)
    problems = _doubled(image_ids.tolist(), "image id") + _doubled(category_ids, "category id")
    problems += _doubled([a["id"] for a in content["annotations"]], "annotation id")

    row = {image_id: index for index, image_id in enumerate(image_ids.tolist())}
    label = {category_id: index for index, category_id in enumerate(category_ids)}
    ids = np.array([a["id"] for a in annotations], dtype=np.int64)
    rows = np.array([row.get(a["image_id"], -1) for a in annotations], dtype=np.int64)
    labels = np.array([label.get(a["category_id"], -1) for a in annotations], dtype=np.int64)
    boxes = np.array([a["bbox"] for a in annotations], dtype=np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    sizes = np.array([(i["height"], i["width"]) for i in images], dtype=np.int32).reshape(-1, 2)
    limits = np.tile(sizes[rows][:, ::-1], 2) if len(images) and len(rows) else np.zeros((len(rows), 4))

    finite = np.isfinite(boxes).all(1)
    clipped = np.clip(boxes, 0, limits)
    empty = finite & ~((boxes[:, 2:] > boxes[:, :2]).all(1))
    outside = finite & ~empty & ~((clipped[:, 2:] > clipped[:, :2]).all(1))
    problems += _listed("annotation(s) of an unknown image_id", ids[rows < 0])
    problems += _listed("annotation(s) of an unknown category_id", ids[labels < 0])
    problems += _listed("annotation(s) with a non-finite box", ids[~finite])
    problems += _listed("annotation(s) whose box lies wholly outside its image", ids[outside & (rows >= 0)])
    if problems:
        raise UserError(f"{path}: " + "; ".join(problems))

    overhang = ~empty & (np.abs(clipped - boxes) > 0.5).any(1)  # COCO rounds; half a pixel is no overhang
    remarks = [f"{path.name}: {line} clipped" for line in _listed("box(es) sticking out", ids[overhang])]
    remarks += [f"{path.name}: {line} dropped" for line in _listed("box(es) without area", ids[empty])]
    order = np.flatnonzero(~empty)[np.argsort(rows[~empty], kind="stable")]
    if not len(order):
        raise UserError(f"{path}: holds no boxes at all ({len(images)} images); a detector cannot learn from it")
    counts = np.bincount(rows[order], minlength=len(images))
    return CocoAnnotations(
        path, image_ids, packed([i["file_name"].encode() for i in images], path), sizes,
        np.concatenate([[0], counts.cumsum()]), clipped[order].astype(np.float32), labels[order],
        category_ids, [str(c["name"]) for c in categories], remarks,
    )  # fmt: skip


def _is_whole(value: Any, bits: int) -> bool:
    """Whether it is one, and fits into the arrays that hold it."""
    return (isinstance(value, int) or (isinstance(value, float) and value.is_integer())) and abs(value) < 1 << bits


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < 1 << 62)


def _listed(what: str, ids: np.ndarray) -> list[str]:
    """`["3 <what> (ids 1, 2, 3)"]`, or nothing where there are none."""
    if not len(ids):
        return []
    more = ", ..." if len(ids) > SHOWN else ""
    return [f"{len(ids)} {what} (ids {', '.join(map(str, ids[:SHOWN].tolist()))}{more})"]


def _doubled(ids: list[int], what: str) -> list[str]:
    values, counts = np.unique(np.array(ids), return_counts=True)
    return _listed(f"doubled {what}(s)", values[counts > 1])
