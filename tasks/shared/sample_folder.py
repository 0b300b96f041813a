"""The folder of a drawn sample data set: drawn once, whole or not there, and never at the cost of anybody's files."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from tasks.shared.errors import UserError, check_place

MARKER = "sample.json"  # in the root of the set: what it was drawn from


def keep_sample(root: Path, wanted: dict, files: dict[str, int], draw: Callable[[Path], None]) -> None:
    """See to it that `root` holds the whole set that `wanted` describes.

    Returns at once where it does, and replaces an incomplete or different one. The set appears in `root` only when
    it is whole: a drawing that is interrupted leaves nothing, a set that is replaced stays until then.

    Args:
        root: Folder of the set; its parents are created.
        wanted: All that the pictures depend on, and "format", which tells this kind of sample from any other. It is
            the marker's content, so it must survive JSON.
        files: Glob patterns below `root` and how many files of each the set has. Only these files and the marker are
            ever replaced; a later version that names its files otherwise must go on listing the old patterns, with 0.
        draw: Writes the set into the folder that it is given, which it creates.

    Raises:
        UserError: `root` holds something that is not part of such a sample; nothing is deleted.
    """
    check_place("data.root", Path(root))
    root = Path(root).resolve()
    if _is_complete(root, wanted, files):
        return
    _refuse_foreign(root, wanted["format"], files)
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{root.name}-", dir=root.parent) as temporary:
        drawn = Path(temporary) / "drawn"
        draw(drawn)
        (drawn / MARKER).write_text(json.dumps(wanted))
        if _is_complete(root, wanted, files):  # another process was faster
            return
        if root.exists():
            root.rename(Path(temporary) / "replaced")
        drawn.rename(root)


def _marker(root: Path) -> dict | None:
    """Content of the marker in `root`, None where there is none."""
    try:
        marker = json.loads((root / MARKER).read_text())
    except (OSError, ValueError):
        return None
    return marker if isinstance(marker, dict) else None


def _is_complete(root: Path, wanted: dict, files: dict[str, int]) -> bool:
    return _marker(root) == wanted and all(sum(1 for _ in root.glob(p)) == count for p, count in files.items())


def _refuse_foreign(root: Path, kind: str, files: dict[str, int]) -> None:
    if not root.exists():
        return
    found = {p for p in root.rglob("*") if not p.is_dir()} if root.is_dir() else {root}
    foreign = sorted(found - {root / MARKER}.union(*(root.glob(pattern) for pattern in files)))
    if not foreign and found and (_marker(root) or {}).get("format") != kind:
        foreign = sorted(found)
    if foreign:
        raise UserError(
            f"{root} holds files that are not part of a {kind}, such as {foreign[0].name}; name another folder"
        )
