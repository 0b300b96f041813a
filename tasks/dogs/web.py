"""Dogs from the web: many images, noisy labels, files of all kinds, and never an image of the test set."""

import csv
import hashlib
import io
import logging
import os
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from tasks.dogs.leak_guard import near_duplicates
from tasks.dogs.scan import Scan, scan
from tasks.dogs.stanford import Breed
from tasks.shared.config.consent import cache_path
from tasks.shared.data.image_set import FolderImages, class_folders
from tasks.shared.data.table import read_columns
from tasks.shared.errors import UserError
from tasks.shared.files.inside import check_inside
from tasks.shared.files.packing import packed
from tasks.shared.images.decode import to_pil

log = logging.getLogger(__name__)
PAIRS, SIDE = 8, 192  # of the image that shows what the guard has found


class Guard(NamedTuple):
    """How alike an image must be to one of the test set to be left out.

    distance: bits of 256 in which the hashes differ, at most. Of 600 photos of pets the closest strangers differ in 82,
        and a photo from itself at half the size in 10, brightened in 36, cropped by up to 3 % a side in 62.
    mirrored: whether mirror images count too.
    """

    distance: int = 64
    mirrored: bool = True


class Kept(NamedTuple):
    """What may be trained on, and what was left out: files for the run's folder, by name."""

    images: FolderImages
    reports: dict[str, str | Image.Image]


def list_folders(root: Path, breeds: list[Breed]) -> tuple[np.ndarray, np.ndarray]:
    """Every file below `root`/<class>, whatever it is: names (N,) bytes, relative to `root`, and labels (N,) int64.

    A class folder is called by the folder, the WordNet id or the name of a breed.
    """
    folders = class_folders(root)
    labels = _labels_of(folders, breeds, f"{root}: its folders are the classes")
    names, numbers = [], []
    for folder, label in zip(folders, labels, strict=True):
        for path, _, files in sorted(os.walk(root / folder)):
            inside = [f for f in sorted(files) if not f.startswith(".")]
            names += [os.fsencode(os.path.relpath(Path(path, file), root)) for file in inside]
            numbers += [label] * len(inside)
    return packed(names, root), np.array(numbers, np.int64)


def list_index(root: Path, index: Path, breeds: list[Breed]) -> tuple[np.ndarray, np.ndarray]:
    """The same of a CSV or Parquet file with the columns path (relative to `root`) and label."""
    names: list[bytes] = []
    numbers: list[int] = []
    known: dict[str, int] = {}
    for first, columns in read_columns(index, {"path": ("path", "file"), "label": ("label", "class")}):
        texts = [str(label) for label in columns["label"].to_pylist()]
        unseen = sorted(set(texts) - known.keys())
        known |= dict(zip(unseen, _labels_of(unseen, breeds, f"{index}: from row {first} on"), strict=True))
        numbers += [known[text] for text in texts]
        names += [os.fsencode(str(path)) for path in columns["path"].to_pylist()]
    check_inside(map(os.fsdecode, names), str(index), "expected paths below data.root")
    return packed(names, index), np.array(numbers, np.int64)


def keep_clean(
    root: Path,
    names: np.ndarray,
    labels: np.ndarray,
    test: FolderImages,
    guard: Guard | None,
    min_side: int,
    cache: Path,
) -> Kept:
    """Leave out what is no image, too small, or a near-duplicate of a test image.

    names, labels: of the candidates below `root`. cache: the folder that keeps the hashes of both sets.
    """
    cache = cache_path("data.cache", cache, f"*_{'[0-9a-f]' * 12}.parquet")
    found = scan(root, names, _cache_file(cache, root))
    reason = np.where(found.problem != "", "unreadable", "").astype(object)
    detail = found.problem.astype(object)
    small = (reason == "") & (found.sides.min(1) < min_side)
    reason[small] = "too small"
    detail[small] = [f"{width} x {height}" for width, height in found.sides[small]]
    pairs = []
    if guard is not None:
        leaked, twin, distance = _leaks(found, reason == "", test, guard, cache)
        reason[leaked] = "near-duplicate"
        detail[leaked] = [f"{test.name(t)} ({d} bits of 256)" for t, d in zip(twin, distance, strict=True)]
        pairs = list(zip(leaked, twin, strict=True))
    out, keep = np.flatnonzero(reason), np.flatnonzero(reason == "")
    counts = ", ".join(f"{n} {what}" for what, n in sorted(Counter(reason[out]).items())) or "none"
    log.info("web images: %d found, %d left out (%s), see left_out.csv", len(names), len(out), counts)
    if not len(keep):
        raise UserError(f"data.root={root}: of {len(names)} files none can be trained on ({counts})")
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["file", "reason", "detail"])
    rows.writerows([os.fsdecode(bytes(names[k])), reason[k], detail[k]] for k in out)
    reports: dict[str, str | Image.Image] = {"left_out.csv": text.getvalue()}
    images = FolderImages(root, names, labels)
    if pairs:
        reports["near_duplicates.jpg"] = _draw_pairs(images, test, pairs)
    return Kept(FolderImages(root, names[keep], labels[keep]), reports)


def _leaks(
    found: Scan, fine: np.ndarray, test: FolderImages, guard: Guard, cache: Path
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which of the images are near-duplicates, of which test image, and the bits that differ."""
    theirs = scan(test.root, test.names, _cache_file(cache, test.root))
    if bad := np.flatnonzero(theirs.problem != "").tolist():
        raise UserError(
            f"{len(bad)} test images cannot be read, so nothing can be compared with them: {test.name(bad[0])}: "
            f"{theirs.problem[bad[0]]}"
        )
    hashes = np.concatenate([theirs.hashes, theirs.mirrored]) if guard.mirrored else theirs.hashes
    fine_ones = np.flatnonzero(fine)
    twin, distance = near_duplicates(found.hashes[fine_ones], hashes)
    close = distance <= guard.distance
    return fine_ones[close], twin[close] % len(test.labels), distance[close]


def _labels_of(names: list[str], breeds: list[Breed], where: str) -> list[int]:
    known = {_plain(text): label for label, breed in enumerate(breeds) for text in breed}
    if unknown := [name for name in names if _plain(name) not in known]:
        raise UserError(
            f"{where}: {len(unknown)} of {len(names)} are none of the {len(breeds)} breeds: {', '.join(unknown[:5])}; "
            f"expected such as {', '.join(breeds[0])}"
        )
    return [known[_plain(name)] for name in names]


def _plain(name: str) -> str:
    return name.lower().replace("_", " ").strip()


def _cache_file(folder: Path, root: Path) -> Path:
    """A file of its own for each set of images."""
    path = root.resolve()
    return folder / f"{path.name}_{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}.parquet"


def _draw_pairs(web: FolderImages, test: FolderImages, pairs: list[Any]) -> Image.Image:
    """Some of the images that were left out (above), each with its test image below."""
    shown = [pairs[k] for k in np.linspace(0, len(pairs) - 1, min(PAIRS, len(pairs))).round().astype(int)]
    sheet = Image.new("RGB", (len(shown) * SIDE, 2 * SIDE), "white")
    for column, pair in enumerate(shown):
        for row, (images, index) in enumerate(zip((web, test), pair, strict=True)):
            image = ImageOps.contain(to_pil(images.read(int(index))), (SIDE - 6, SIDE - 6))
            sheet.paste(image, (column * SIDE + 3, row * SIDE + 3))
    return sheet
