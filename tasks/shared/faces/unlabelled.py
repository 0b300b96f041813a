"""Images of which nothing is known: a folder, a list, or WebDataset shards."""

import glob
import logging
import os
from pathlib import Path

import numpy as np

from tasks.shared.data.image_set import FolderImages, Images
from tasks.shared.data.shards import COMPRESSED, Beside, read_shard_index
from tasks.shared.errors import UserError
from tasks.shared.files.packing import packed
from tasks.shared.files.reading import read_lines
from tasks.shared.images.files import SUFFIXES, describe, files_below
from tasks.shared.terminal.escaped import printable

log = logging.getLogger(__name__)
LOOKED_UP = 500  # files of a list that are looked for before training
TARS = (".tar", *COMPRESSED)


def read_unlabelled(source: str, key: str, cache: Path, on_corrupt: str) -> Images:
    """The images that a source means.

    Args:
        source: A folder, with images at any depth or with shards (.tar) in it; a list (.txt) of paths, one a line,
            relative to its own folder; a shard; or a pattern of shards, such as faces-*.tar.
        key: The config key that it comes from.
        cache: Folder that keeps the index of shards.
        on_corrupt: "error", or "skip" to leave out broken samples of shards.

    Raises:
        UserError: There is nothing, or something else; names the key, and the line of a list.
    """
    folder = Path(source)
    if folder.is_dir():
        found, others = files_below(folder)
        if found:
            if others:
                log.warning("%s: left out %d files, %s", printable(source), others.total(), describe(others))
            return FolderImages(
                folder, packed([os.fsencode(name) for name in found], printable(source)), np.full(len(found), -1)
            )
        shards = sorted(path for path in folder.iterdir() if path.suffix in TARS)
        if not shards:
            instead = f", but {describe(others)}" if others else ""
            raise UserError(
                f"{key}={printable(source)}: the folder holds neither images ({', '.join(SUFFIXES)}) nor shards "
                f"(.tar){instead}"
            )
    elif folder.suffix.lower() == ".txt":
        return _read_list(folder, key, on_corrupt)
    else:
        matched = map(Path, glob.glob(source, recursive=True))
        shards = sorted(path for path in matched if path.suffix == ".tar" or path.is_file())
        if not shards or any(path.suffix not in TARS for path in shards):
            met = f"matches {printable(shards[0])} and {len(shards) - 1} more" if shards else "no such file or folder"
            raise UserError(
                f"{key}={printable(source)}: {met}; expected a folder, a list of paths (.txt), or shards, such as "
                "faces-*.tar"
            )
    message = f"{key}={printable(source)}: the {len(shards)} shards"
    return read_shard_index(shards, message, Beside(), cache, on_corrupt)[0]


def short_names(images: Images) -> list[str]:
    """Names that stay the same where the folder is moved: paths below it, or in the shard."""
    if isinstance(images, FolderImages):
        return [os.fsdecode(bytes(name)) for name in images.names]
    return ["/".join(images.name(k).rsplit("/", 2)[-2:]) for k in range(len(images.labels))]


def _read_list(file: Path, key: str, on_corrupt: str) -> FolderImages:
    try:
        rows = [(number, line.strip()) for number, line in read_lines(file) if line.strip()]
    except UserError as error:
        raise UserError(f"{key}={error}") from error
    if not rows:
        raise UserError(f"{key}={printable(file)}: is empty; expected a path a line")
    picked = np.linspace(0, len(rows) - 1, min(len(rows), LOOKED_UP)).round().astype(int).tolist()
    # No names make it raise, as those do that no file can have.
    missing = [rows[k] for k in picked if not os.path.isfile(file.parent / os.fsdecode(rows[k][1]))]  # noqa: PTH113
    if missing and (on_corrupt != "skip" or len(missing) == len(picked)):
        number, path = missing[0]
        raise UserError(
            f"{key}={printable(file)}: of {len(picked)} images that were looked for {len(missing)} are not there, "
            f"such as line {number}, {printable(os.fsdecode(path))[:200]}; expected paths relative to "
            f"{printable(file.parent)}, or whole ones"
        )
    return FolderImages(file.parent, packed([path for _, path in rows], file), np.full(len(rows), -1))
