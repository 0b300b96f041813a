"""Labeled Faces in the Wild: Name/Name_0001.jpg, and pairs.txt of whom to compare."""

import logging
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.shared.data.image_set import FolderImages
from tasks.shared.errors import UserError
from tasks.shared.files.inside import check_inside
from tasks.shared.files.reading import read_names, whole_number
from tasks.shared.images.files import SUFFIXES
from tasks.shared.terminal.escaped import printable

log = logging.getLogger(__name__)
Shot = tuple[str, int]  # a person's name, and the number of an image, from 1


class Pairs(NamedTuple):
    """shots: (first, second) for each of P pairs. folds: (P,) int64. lines: (P,), their numbers in the file."""

    shots: list[tuple[Shot, Shot]]
    folds: NDArray[np.int64]
    lines: list[int]


def read_pairs(file: Path) -> Pairs:
    """LFW's pairs.txt: a line with the numbers of folds and of pairs; then for each fold as many pairs of one person
    (name, number, number), and of two (name, number, name, number). A first line of one number means one fold.

    Raises UserError naming file and line.
    """
    try:
        rows = [(number, line) for number, line in enumerate(read_names(file), 1) if line]
    except UserError as error:
        raise UserError(f"data.pairs={error}") from error
    header = rows[0][1].split() if rows else []
    if len(header) not in (1, 2) or not all(map(whole_number, header)):
        raise UserError(
            f"data.pairs={printable(file)}: begins with {' '.join(header)[:80]!r}; expected the number of folds and "
            "that of pairs of each kind in a fold, such as 10 and 300"
        )
    folds, each = (1, int(header[0])) if len(header) == 1 else map(int, header)
    if len(rows) - 1 != 2 * folds * each:
        raise UserError(
            f"data.pairs={printable(file)}: its first line says {folds} folds of {each} + {each} pairs, "
            f"{2 * folds * each:,} lines, but {len(rows) - 1:,} follow"
        )
    shots = [
        _pair(f"data.pairs={printable(file)}: line {number}", line, position % (2 * each) < each)
        for position, (number, line) in enumerate(rows[1:])
    ]
    people = sorted({name for pair in shots for name, _ in pair})
    check_inside(people, f"data.pairs={printable(file)}", "expected names of people")
    return Pairs(shots, np.arange(2 * folds * each) // (2 * each), [number for number, _ in rows[1:]])


def _pair(where: str, line: str, same: bool) -> tuple[Shot, Shot]:
    """The two images that a line names; same: of one person, as its place in the file says."""
    parts = line.split("\t") if "\t" in line else line.split()
    names, numbers = ((parts[0], parts[0]), parts[1:]) if same else ((parts[0], parts[2 % len(parts)]), parts[1::2])
    if len(parts) != (3 if same else 4) or not all(map(whole_number, numbers)):
        kinds = ("of two people: name, number, name, number", "of one person: name, number, number")
        raise UserError(f"{where} is {line[:200]!r}; expected a pair {kinds[same]}")
    first, second = (names[0], int(numbers[0])), (names[1], int(numbers[1]))
    if first == second or (names[0] == names[1]) != same:
        wrong = "an image with itself" if first == second else "two images of one person"
        raise UserError(
            f"{where} is {line[:200]!r}, {wrong}; expected a pair of {'two images' if same else 'two people'}"
        )
    return first, second


def find_pairs(
    root: Path, pairs: Pairs, file: Path, on_corrupt: str
) -> tuple[FolderImages, NDArray[np.int64], NDArray[np.int64]]:
    """The images that pairs name; the pairs (P, 3), two places among the images and 1 for one person; folds (P,).

    on_corrupt: "error", or "skip" to leave out pairs without their images, which are counted and told.
    """
    named = sorted({shot for pair in pairs.shots for shot in pair})
    found = _files(root, named)
    kept = [k for k, pair in enumerate(pairs.shots) if all(shot in found for shot in pair)]
    if len(kept) < len(pairs.shots):
        lacking = next(k for k, pair in enumerate(pairs.shots) if not all(shot in found for shot in pair))
        name, number = next(shot for shot in pairs.shots[lacking] if shot not in found)
        message = (
            f"data.pairs={printable(file)}: {len(pairs.shots) - len(kept):,} of {len(pairs.shots):,} pairs name "
            f"images that are not in {printable(root)}, such as line {pairs.lines[lacking]}: "
            f"{name}/{name}_{number:04d}.jpg"
        )
        if on_corrupt != "skip" or not kept:
            raise UserError(f"{message}; data.on_corrupt=skip leaves such pairs out")
        log.warning("left out: %s", message)
    shots = sorted({shot for k in kept for shot in pairs.shots[k]})
    positions = {shot: position for position, shot in enumerate(shots)}
    rows = [(positions[a], positions[b], int(a[0] == b[0])) for a, b in (pairs.shots[k] for k in kept)]
    people = np.unique([name for name, _ in shots], return_inverse=True)[1]
    images = FolderImages(root, np.array([os.fsencode(found[shot]) for shot in shots]), people)
    return images, np.array(rows, np.int64), pairs.folds[kept]


def _files(root: Path, shots: list[Shot]) -> dict[Shot, str]:
    """Where in `root` each image is, of those that are there: Name/Name_0001, of any kind of image."""
    there: dict[str, str] = {}
    for person in dict.fromkeys(name for name, _ in shots):
        if (root / person).is_dir():
            names = (entry.name for entry in os.scandir(root / person))
            there |= {f"{person}/{Path(n).stem}": f"{person}/{n}" for n in names if n.lower().endswith(SUFFIXES)}
    wanted = {shot: f"{shot[0]}/{shot[0]}_{shot[1]:04d}" for shot in shots}
    return {shot: there[stem] for shot, stem in wanted.items() if stem in there}
