"""What an interrupted run must have in common with one that was not: everything but logs and curves."""

from pathlib import Path
from typing import Any

import torch

RESULTS = {".json", ".csv", ".md", ".txt", ".yaml", ".npz", ".parquet"}
LOGS = "logs"
CURVES = "curves.png"
TIMED = "teacher_and_student.md"  # tells how long both take


def differences(whole: Path, cut: Path) -> list[str]:
    """What differs between two run folders, their stages included; nothing if they are equal.

    Checkpoints are compared tensor by tensor, bit for bit, with the optimizer's state; results as bytes, but for the
    names of the folders that the runs lie in. Files that only one has are told.
    """
    told = []
    theirs, ours = _files(whole), _files(cut)
    told += [f"lacks {name}" for name in sorted(theirs - ours)]
    told += [f"has {name} besides" for name in sorted(ours - theirs) if not _leftover(name)]
    for name in sorted(theirs & ours):
        if name.endswith(".ckpt"):
            told += [f"{name}: {part}" for part in _parts(whole / name, cut / name)]
        elif Path(name).suffix in RESULTS and Path(name).name != TIMED:
            first, second = (
                (run / name).read_bytes().replace(str(run.parent).encode(), b"HERE") for run in (whole, cut)
            )
            told += [] if first == second else [f"{name}: other bytes"]
    return told


def _files(run: Path) -> set[str]:
    names = {str(file.relative_to(run)) for file in run.rglob("*") if file.is_file()}
    return {name for name in names if LOGS not in Path(name).parts and Path(name).name != CURVES}


def _leftover(name: str) -> bool:
    """What a kill leaves beside a file that it kept from being written; it has no final name."""
    return any(part.startswith((".part-", ".probe-", ".claim-")) or part.endswith(".part") for part in Path(name).parts)


def _parts(first: Path, second: Path) -> list[str]:
    a, b = (torch.load(file, weights_only=True) for file in (first, second))
    if a.keys() != b.keys():
        return [f"has {sorted(b)} and not {sorted(a)}"]
    return [
        part for part in a if part not in ("callbacks", "loops", "mobilenet_toolkit") and not equal(a[part], b[part])
    ]


def equal(first: Any, second: Any) -> bool:
    """Nested containers of tensors and plain values, bit for bit."""
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(equal(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(map(equal, first, second))
    return bool(first == second)
