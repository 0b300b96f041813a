"""Finding image files, and their names as text."""

import glob
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tasks.shared.errors import UserError
from tasks.shared.terminal.escaped import printable

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")


def files_below(folder: Path) -> tuple[list[str], Counter[str]]:
    """The image files below `folder`, relative to it and sorted, and how many others there are of each suffix.

    Hidden files and folders are passed over, and links to a folder that they lie in.
    """
    found: list[str] = []
    others: Counter[str] = Counter()

    def enter(path: str, prefix: str, above: tuple[str, ...]) -> None:
        real = os.path.realpath(path)
        if real in above:
            return
        with os.scandir(path) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith("."):
                    continue
                # Asked in this order, no file of a million needs a system call of its own.
                if entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and Path(entry).is_dir()):
                    enter(entry.path, f"{prefix}{name}/", (*above, real))
                elif name.lower().endswith(SUFFIXES):
                    found.append(prefix + name)
                else:
                    others[printable(Path(name).suffix.lower()) or "without a suffix"] += 1

    enter(str(folder), "", ())
    return sorted(found), others


def files_by_folder(root: Path, folders: Iterable[str]) -> tuple[dict[str, list[bytes]], Counter[str]]:
    """The image files below each of `folders` in `root`, relative to `root`, and the others by suffix."""
    found: dict[str, list[bytes]] = {}
    others: Counter[str] = Counter()
    for folder in folders:
        names, beside = files_below(root / folder)
        found[folder] = [os.fsencode(f"{folder}/{name}") for name in names]
        others += beside
    return found, others


def describe(others: Counter[str]) -> str:
    """`12 .heic, 1 .txt`: the most frequent first."""
    return ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(5))


def find_images(source: str, key: str = "input") -> list[Path]:
    """The image files that `source` means: itself, those below a folder, or those that a glob matches.

    key: the config key that it comes from.
    """
    path = Path(source)
    if path.is_file():
        return [path]
    if path.is_dir():
        names, others = files_below(path)
        if not names:
            instead = f", but {describe(others)}" if others else ""
            raise UserError(f"{key}={printable(source)}: the folder holds no images ({', '.join(SUFFIXES)}){instead}")
        return sorted(path / name for name in names)
    found = sorted(Path(f) for f in glob.glob(source, recursive=True) if Path(f).is_file())
    if not found:
        raise UserError(f"{key}={printable(source)}: no such file or folder, and no file matches it")
    return found
