"""The folder of a drawn sample data set: drawn once, whole or not there, and never at the cost of anybody's files."""

import json
from collections.abc import Callable
from pathlib import Path

from tasks.shared.config.consent import may_draw_in
from tasks.shared.errors import UserError, check_path
from tasks.shared.files.reading import read_json
from tasks.shared.files.writing import probe_folder, whole_folder

MARKER = "sample.json"  # in the root of the set: what it was drawn from


class NotDrawn(UserError):
    """A sample that is not there, and that this command line does not ask to draw."""


def keep_sample(root: Path, wanted: dict, files: dict[str, int], draw: Callable[[Path], None]) -> None:
    """See to it that `root` holds the whole set that `wanted` describes.

    Returns at once where it does, and replaces an incomplete or different one. The set appears in `root` only when
    it is whole: a drawing that is interrupted leaves nothing, a set that is replaced stays until then.

    Args:
        root: Folder of the set; its parents are created.
        wanted: All that the images depend on, and "format", which tells this kind of sample from any other. It is
            the marker's content, so it must survive JSON.
        files: Glob patterns below `root` and how many files of each the set has. Only these files and the marker are
            ever replaced; a later version that names its files otherwise must go on listing the old patterns, with 0.
        draw: Writes the set into the empty folder that it is given. An OSError is taken as one of writing.

    Raises:
        UserError: `root` holds something that is not part of such a sample, and nothing is deleted; or it cannot be
            written: a full disk, no permission.
    """
    check_path("data.root", Path(root))
    root = Path(root).resolve()
    if _is_complete(root, wanted, files):
        return
    if not may_draw_in(root):
        raise NotDrawn(
            f"data.root={root}: no such sample lies there, and none is drawn where a checkpoint alone says so; give "
            "data.root=FOLDER, or data= to draw it where its YAML file says"
        )
    _refuse_foreign(root, wanted["format"], files)
    probe_folder("data.root", root.parent)
    with whole_folder(root, "data.root", True, unless=lambda: _is_complete(root, wanted, files)) as drawn:
        draw(drawn)
        (drawn / MARKER).write_text(json.dumps(wanted), "utf-8")


def _marker(root: Path) -> dict | None:
    """Content of the marker in `root`, None where there is none."""
    try:
        marker = read_json(root / MARKER)
    except UserError:
        return None
    return marker if isinstance(marker, dict) else None


def _is_complete(root: Path, wanted: dict, files: dict[str, int]) -> bool:
    return _marker(root) == wanted and all(sum(1 for _ in root.glob(p)) == count for p, count in files.items())


def _refuse_foreign(root: Path, sample_format: str, files: dict[str, int]) -> None:
    if not root.exists():
        return
    found = {p for p in root.rglob("*") if p.is_symlink() or not p.is_dir()} if root.is_dir() else {root}
    drawn = {root / MARKER}.union(*(root.glob(pattern) for pattern in files))
    foreign = sorted(found - {p for p in drawn if not p.is_symlink()})
    if not foreign and found and (_marker(root) or {}).get("format") != sample_format:
        foreign = sorted(found)
    if foreign:
        raise UserError(
            f"{root} holds files that are not part of a {sample_format}, such as {foreign[0].name}; name another folder"
        )
