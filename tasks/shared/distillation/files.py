"""Files that teachers are read from."""

import hashlib
import logging
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from backbone.sources.torch_files import safetensors_state, torch_state
from tasks.shared.errors import UserError

log = logging.getLogger(__name__)
WRAPPER = "module."  # before every name in state dicts of torch's DataParallel


def check_file(path: str, expected: str) -> Path:
    """`teacher.path`. Raises UserError if it is missing or a folder; expected: what it should be."""
    file = Path(path)
    if not file.is_file():
        found = "is a folder" if file.is_dir() else "no such file"
        raise UserError(f"teacher.path={path}: {found}; expected {expected}")
    return file


def digest_of(files: Iterable[Path], *settings: object) -> str:
    """A hex digest of what is in the files, in this order, and of settings; a file is read piece by piece."""
    digest = hashlib.sha256(repr(settings).encode())
    for file in files:
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()


def read_state(path: str) -> tuple[Path, dict[str, Tensor]]:
    """The file, and the tensors by name in it: a state dict that torch.save has written, or safetensors.

    Nothing in it is executed. Raises ValueError naming the file if it is missing, damaged, or something else.
    """
    file = check_file(path, "a state dict of PyTorch (.pth, .pt) or .safetensors")
    with file.open("rb") as content:
        start = content.read(9)
    state = safetensors_state(file)[0] if start[8:] == b"{" else torch_state(file)
    if all(name.startswith(WRAPPER) for name in state):
        state = {name.removeprefix(WRAPPER): tensor for name, tensor in state.items()}
    return file, state


def leave_out(file: Path, state: dict[str, Tensor], prefixes: Iterable[str]) -> dict[str, Tensor]:
    """The state without the tensors of some layers, which are logged."""
    kept = {name: t for name, t in state.items() if not name.startswith(tuple(f"{prefix}." for prefix in prefixes))}
    if left := [name for name in state if name not in kept]:
        log.info("%s: left out %s, which an embedding does not need", file, ", ".join(left))
    return kept
