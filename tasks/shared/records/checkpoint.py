"""Checkpoints that carry their config, and never run code."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from backbone.sources.torch_archive import load_archive
from tasks.shared.config.carried import check_config, check_contents_types, check_info, data_name_of
from tasks.shared.config.nodes import NetworkConfig
from tasks.shared.errors import UserError
from tasks.shared.files.writing import whole_file

log = logging.getLogger(__name__)
KEY = "mobilenet_toolkit"  # under which a checkpoint holds what Lightning does not know of


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of ours: the data's `info`, and the `weights` to answer with.

    carried: the run's whole config as plain data, for `commands` alone; network, data_name: what it says of the
    network and of the choice of data. num_classes: of the data it was trained on. resumable: it holds the optimizer's
    state too. more: what a run that goes on with it has to know besides.
    """

    path: Path
    carried: dict[str, Any]
    network: NetworkConfig
    data_name: str | None
    info: dict[str, Any]
    num_classes: int
    weights: dict[str, Tensor]
    resumable: bool
    more: dict[str, Any] = field(default_factory=dict)


def find_checkpoint(source: str | Path, *names: str) -> Path:
    """A checkpoint's path: `source` itself, or of the run folder `source` the first `checkpoints/<name>.ckpt` there is.

    names: `"best"`, and `"last"` for a run that was stopped before it was first validated, unless given.
    """
    path, names = Path(source), names or ("best", "last")
    if path.is_dir():
        files = [path / "checkpoints" / f"{name}.ckpt" for name in names]
        found = [file for file in files if file.is_file()]
        if not found:
            raise UserError(f"{source}: no run folder, it holds no checkpoints/{names[0]}.ckpt")
        if found[0] != files[0]:
            log.info("%s has no %s yet: taking %s", source, files[0].name, found[0].name)
        path = found[0]
    if not path.is_file():
        raise UserError(f"{source}: no such checkpoint")
    return path


def read_archive(path: Path) -> Any:
    """What a checkpoint holds, as plain data and tensors; checked before it is read, see `load_archive`.

    Raises UserError naming the file, in one line.
    """
    try:
        return load_archive(path)
    except ValueError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise UserError(f"{path}: not a checkpoint, or damaged ({reason})") from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint without executing anything in it.

    The weights are the moving average where the run kept one.
    Raises UserError naming the file if it is damaged, not a checkpoint, or not one of ours.
    """
    content = read_archive(path)
    ours = content.get(KEY) if isinstance(content, dict) else None
    if (
        not isinstance(ours, dict)
        or "state_dict" not in content
        or not {"config", "info", "num_classes"} <= ours.keys()
    ):
        raise UserError(f"{path}: not a checkpoint of this toolkit; expected one that tools/train.py has written")
    state = named_tensors(content["state_dict"], path)
    prefix = "ema.network." if any(name.startswith("ema.network.") for name in state) else "task."
    weights = {name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)}
    resumable = "optimizer_states" in content
    config = check_config(ours["config"], str(path))
    check_info(ours["info"], ours["num_classes"], str(path))
    check_contents_types(ours.get("contents"), str(path))
    more = {key: ours.get(key) for key in ("next_epoch", "contents")}
    network, data_name = NetworkConfig.of(config, str(path)), data_name_of(config)
    return Checkpoint(path, config, network, data_name, ours["info"], ours["num_classes"], weights, resumable, more)


def named_tensors(state: Any, path: object) -> dict[str, Tensor]:
    """What stands under `state_dict` in the checkpoint `path`. Raises UserError where it is anything else."""
    if not isinstance(state, dict):
        raise UserError(f"{path}: its state_dict is a {type(state).__name__}; expected tensors by name")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            message = f"{str(name)[:80]!r} of it is a {type(value).__name__}"
            raise UserError(f"{path}: its state_dict: {message}; expected tensors by name")
    return state


def write_weights(
    path: Path, config: dict[str, Any], info: dict[str, Any], num_classes: int, weights: dict[str, Tensor]
) -> None:
    """Write a checkpoint of weights alone, such as weights from elsewhere. num_classes 0: a backbone without a head."""
    carried = {"config": config, "info": info, "num_classes": num_classes}
    write_checkpoint(path, {"state_dict": {f"task.{name}": t for name, t in weights.items()}, KEY: carried})


def write_checkpoint(path: Path, content: Any, key: str = "output") -> None:
    """As a whole file, see `whole_file`: never through a temporary folder, or a second time in memory.

    Given a path, torch says nothing of a full disk but where its own count went wrong; of a file, the cause is told.
    """
    with whole_file(path, key) as part, part.open("wb") as file:
        torch.save(content, file)
