"""A run whose teacher was a run of its own, and what two runs learned."""

from pathlib import Path

import torch

from tasks.shared.records.checkpoint import load_checkpoint


def teacher_of(place: Path) -> Path:
    """The run folder of the one teacher in `place`/sample_teachers."""
    (folder,) = (path for path in (place / "sample_teachers").iterdir() if path.is_dir())
    return folder


def trained(run: Path) -> dict[str, torch.Tensor]:
    """All weights after the last step: equal ones had equal losses in every step."""
    return load_checkpoint(run / "checkpoints/last.ckpt").weights


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """To the last bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
