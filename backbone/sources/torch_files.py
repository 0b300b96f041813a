"""State dicts in PyTorch's files and in safetensors: under this toolkit's names, or timm's."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from backbone.mobilenet import MobileNetV1
from backbone.sources.published import (
    LAYER,
    Published,
    check_shapes,
    implied_structure,
    listed,
    optional_library,
)
from backbone.sources.timm import STEM, from_timm
from backbone.sources.torch_archive import load_archive

FIRST = "conv_0.conv.weight"
CLASSIFIERS = ("classifier", "head")  # what a linear layer on top is called, by save_weights and in our tasks
METADATA = "mobilenet_toolkit"  # under which our own safetensors hold what the tensors do not say
HEADER = 16 << 20  # bytes of names and shapes in a safetensors file
METADATA_KEYS = {"arguments", "background", "resolution", "folded"}


def read_torch(path: Path) -> Published:
    """Read a state dict that torch.save has written, see `torch_state`.

    Raises ValueError naming the file if it holds another network too.
    """
    return _published(path, "torch", torch_state(path))


def torch_state(path: Path) -> dict[str, Tensor]:
    """The tensors by name that torch.save has written, bare or as one entry of a checkpoint.

    The file is checked before it is read, see `load_archive`. Raises ValueError naming it if it is damaged, or holds
    more than tensors and plain data, or several state dicts.
    """
    return _state_dict(path, load_archive(path))


def read_safetensors(path: Path) -> Published:
    """Read a .safetensors file: one of `save_weights`, another state dict under our names, or timm's.

    Raises ValueError naming the file if it is damaged or holds another network.
    """
    state, metadata = safetensors_state(path)
    published = _published(path, "safetensors", state)
    return published if METADATA not in metadata else _with_metadata(published, metadata[METADATA])


def safetensors_state(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors by name of a .safetensors file, and its metadata.

    Raises ValueError naming the file if it is damaged.
    """
    with optional_library(path, "safetensors"):
        from safetensors import SafetensorError, safe_open
    with path.open("rb") as start:
        length = int.from_bytes(start.read(8), "little")
    if length > HEADER:
        raise ValueError(f"{path}: damaged safetensors file (its header has {length:,} bytes, more than {HEADER:,})")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = file.keys()
            state = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, RuntimeError, ValueError, LookupError, AttributeError, TypeError) as error:
        message = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: damaged or truncated safetensors file ({message})") from error
    return state, metadata


def _state_dict(path: Path, content: Any) -> dict[str, Tensor]:
    def is_state(value: Any) -> bool:
        if not isinstance(value, dict) or not value:
            return False
        return all(isinstance(name, str) and isinstance(t, Tensor) for name, t in value.items())

    if is_state(content):
        return dict(content)  # without what torch keeps beside it
    entries = {key: value for key, value in content.items() if is_state(value)} if isinstance(content, dict) else {}
    if len(entries) != 1:
        found = f"state dicts under {listed(list(map(str, entries)))}" if entries else "no state dict"
        raise ValueError(f"{path}: holds {found}; expected one, tensors by name")
    return dict(next(iter(entries.values())))


def _published(path: Path, format: str, state: dict[str, Tensor]) -> Published:
    """A state dict whose names are ours or timm's, under any one prefix ("backbone.", "module." ...)."""
    known = re.compile(rf"(.*\.|)({re.escape(FIRST)}|{re.escape(STEM)})")
    found = [match for name in state if (match := known.fullmatch(name))]
    if len(found) != 1:
        several = f"several networks, under {listed([repr(match[1]) for match in found])}"
        raise ValueError(
            f"{path}: holds {several if found else f'neither {FIRST} (this toolkit) nor {STEM} (timm)'}; expected one "
            f"MobileNet V1. Its tensors: {listed(list(map(str, state)))}"
        )
    prefix, first = found[0].groups()
    inside = {name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)}
    outside = {name: t for name, t in state.items() if not name.startswith(prefix)}
    if first == STEM:
        return replace(from_timm(str(path), inside), left_over=outside)
    backbone = {name: _fp32(t) for name, t in inside.items() if LAYER.match(name)}
    for name in [name for name in backbone if name.endswith(".running_var")]:
        backbone.setdefault(name.replace("running_var", "num_batches_tracked"), torch.zeros((), dtype=torch.int64))
    implied = implied_structure(str(path), backbone)
    left_over = outside | {prefix + name: t for name, t in inside.items() if not LAYER.match(name)}
    parent = prefix.removesuffix(".").rpartition(".")
    classifier = _take_classifier(left_over, "".join(parent[:2]), backbone)
    return Published(
        source=str(path),
        format=format,
        backbone=backbone,
        classifier=classifier,
        implied=implied,
        resolution=None,
        background=False,
        folded=False,
        left_over=left_over,
    )


def _take_classifier(tensors: dict[str, Tensor], prefix: str, backbone: dict[str, Tensor]) -> dict[str, Tensor]:
    """A linear layer on conv_13's channels beside the backbone, named as one of CLASSIFIERS, taken out of `tensors`."""
    features = backbone.get("conv_13.pointwise.conv.weight", backbone.get("conv_13.conv.weight"))
    for name in CLASSIFIERS:
        weight, bias = (tensors.get(f"{prefix}{name}.{key}") for key in ("weight", "bias"))
        if features is None or weight is None or bias is None or bias.dim() != 1:
            continue
        if weight.shape[:2] == (len(bias), len(features)) and weight.numel() == len(bias) * len(features):
            del tensors[f"{prefix}{name}.weight"], tensors[f"{prefix}{name}.bias"]
            return {"weight": _fp32(weight).flatten(1), "bias": _fp32(bias)}
    return {}


def _with_metadata(published: Published, text: str) -> Published:
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{published.source}: its metadata are no JSON ({str(error)[:200]})") from error
    expected = set(MobileNetV1(0.25, ("conv_0",)).arguments)
    given = said.get("arguments") if isinstance(said, dict) else None
    if not isinstance(given, dict) or said.keys() != METADATA_KEYS or set(given) != expected:
        raise ValueError(
            f"{published.source}: its metadata are {text[:200]}; expected {', '.join(sorted(METADATA_KEYS))}, with the "
            f"arguments {', '.join(sorted(expected))}"
        )
    arguments = {key: tuple(v) if isinstance(v, list) else v for key, v in said["arguments"].items()}
    try:
        check_shapes(published.source, published.backbone, arguments)
    except (TypeError, OverflowError, RuntimeError, LookupError) as error:
        raise ValueError(f"{published.source}: its metadata describe no network ({type(error).__name__})") from error
    fields = {key: said[key] for key in METADATA_KEYS - {"arguments"}}
    return replace(published, implied=arguments, **fields)


def _fp32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
