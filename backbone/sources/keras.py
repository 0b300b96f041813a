"""MobileNet of Keras Applications: .h5 files, with or without the classifier."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from backbone.mobilenet import TABLE_1
from backbone.sources.published import Published, implied_structure, listed, optional_library

# keras.applications.mobilenet: batch norm's eps, and preprocess_input's x / 127.5 - 1.
IMPLIED = {"padding": "same", "activation": "relu6", "bn_eps": 1e-3, "input_mean": (0.5,) * 3, "input_std": (0.5,) * 3}
NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
CLASSIFIER = {("conv_preds", "kernel"): "weight", ("conv_preds", "bias"): "bias"}
DEEPEST, MOST = 16, 10_000  # groups in groups, and objects in a file


def read_keras(path: Path) -> Published:
    """Read a weight file, or a whole model, of Keras Applications' MobileNet in Keras' HDF5 layout.

    Raises ValueError naming the file if it is damaged or holds another network.
    """
    ours = _our_names()
    backbone: dict[str, Tensor] = {}
    classifier: dict[str, Tensor] = {}
    left_over: dict[str, Tensor] = {}
    for name, tensor in _tensors(path).items():
        *groups, variable = name.split("/")
        keys = [(group, variable.partition(":")[0]) for group in groups]  # kernel:0 in files of Keras 2
        prefix, key = next(
            ((names, names[key]) for key in keys for names in (ours, CLASSIFIER) if key in names), ({}, "")
        )
        target = backbone if prefix is ours else classifier if prefix is CLASSIFIER else left_over
        if key in target:
            raise ValueError(f"{path}: holds {key} twice, the second time as {name}; expected one MobileNet")
        target[key or name] = tensor
    missing = sorted({layer for (layer, _), key in ours.items() if key not in backbone})
    if missing:
        raise ValueError(
            f"{path}: no MobileNet of Keras Applications: it lacks the layers {listed(missing)}, and holds "
            f"{listed(list(left_over)) or 'no others'}"
        )
    backbone = {key: _to_torch(path, key, tensor.float()) for key, tensor in backbone.items()}
    for key in [key for key in backbone if key.endswith(".running_var")]:
        backbone[key.replace("running_var", "num_batches_tracked")] = torch.zeros((), dtype=torch.int64)
    return Published(
        source=str(path),
        format="keras",
        backbone=backbone,
        classifier=_check_classifier(path, {key: t.float() for key, t in classifier.items()}, backbone),
        implied=implied_structure(str(path), backbone) | IMPLIED,
        resolution=None,
        background=False,
        folded=False,
        left_over=left_over,
    )


def _our_names() -> dict[tuple[str, str], str]:
    """(Keras' layer, its variable) -> our tensor."""
    layers = {"conv1": "conv_0"}
    for number in range(1, len(TABLE_1)):
        layers[f"conv_dw_{number}"] = f"conv_{number}.depthwise"
        layers[f"conv_pw_{number}"] = f"conv_{number}.pointwise"
    names = {}
    for theirs, mine in layers.items():
        names[theirs, "kernel"] = f"{mine}.conv.weight"
        if "dw" in theirs:
            names[theirs, "depthwise_kernel"] = f"{mine}.conv.weight"  # its name before Keras 3
        for variable, tensor in NORM.items():
            names[f"{theirs}_bn", variable] = f"{mine}.norm.{tensor}"
    return names


def _to_torch(path: Path, key: str, tensor: Tensor) -> Tensor:
    """A filter (height, width, inputs, outputs) as (outputs, inputs, height, width); vectors as they are."""
    if not key.endswith("conv.weight"):
        return tensor
    if tensor.dim() != 4:
        raise ValueError(f"{path}: {key} has the shape {tuple(tensor.shape)}; expected a filter of four dimensions")
    if ".depthwise." in key:  # (height, width, inputs, outputs an input), an input's outputs side by side
        return tensor.permute(2, 3, 0, 1).flatten(0, 1).unsqueeze(1).contiguous()
    return tensor.permute(3, 2, 0, 1).contiguous()


def _check_classifier(path: Path, classifier: dict[str, Tensor], backbone: dict[str, Tensor]) -> dict[str, Tensor]:
    if not classifier:
        return {}
    shapes = {key: tuple(tensor.shape) for key, tensor in classifier.items()}
    channels = len(backbone["conv_13.pointwise.conv.weight"])
    kernel, bias = shapes.get("weight", ()), shapes.get("bias", ())
    if len(kernel) != 4 or kernel[:3] != (1, 1, channels) or bias != kernel[3:]:
        raise ValueError(
            f"{path}: conv_preds has a kernel {kernel} and a bias {bias}; expected (1, 1, {channels}, classes) and "
            "(classes,)"
        )
    return {"weight": classifier["weight"][0, 0].T.contiguous(), "bias": classifier["bias"]}


def _tensors(path: Path) -> dict[str, Tensor]:
    """Every number array of an HDF5 file by its path in it.

    Links out of the file are not followed. Arrays are read only as they lie there: whole, not compressed, not in other
    files, and no longer together than the file.
    """
    with optional_library(path, "h5py"):
        import h5py
        import numpy as np
    tensors: dict[str, Tensor] = {}
    size = path.stat().st_size
    try:
        with h5py.File(path, "r") as file:
            for name, item in _arrays(file):
                _check_stored(name, item, size)
                size -= item.nbytes
                array = np.asarray(item[()])
                tensors[name] = torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))
    except (MemoryError, RecursionError) as error:
        raise ValueError(f"{path}: damaged HDF5 file, or larger than memory ({type(error).__name__})") from error
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError) as error:
        message = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: damaged or truncated HDF5 file ({message})") from error
    return tensors


def _arrays(file: Any) -> Iterator[tuple[str, Any]]:
    """The arrays of numbers in groups of the file, each once, by its path."""
    import h5py

    seen: set[tuple[int, ...]] = set()
    waiting: list[tuple[str, Any, int]] = [("", file, 0)]
    while waiting:
        prefix, group, depth = waiting.pop()
        for key in group:
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                continue
            item, name = group[key], f"{prefix}{key}"
            info = h5py.h5o.get_info(item.id)
            if (address := (info.fileno, info.addr)) in seen:
                continue
            seen.add(address)
            if depth > DEEPEST or len(seen) > MOST:
                raise ValueError(f"more than {DEEPEST} groups in each other, or more than {MOST:,} objects")
            if isinstance(item, h5py.Group):
                waiting.append((f"{name}/", item, depth + 1))
            elif isinstance(item, h5py.Dataset) and item.dtype.kind in "fiu":
                yield name, item


def _check_stored(name: str, item: Any, left: int) -> None:
    """Raise ValueError unless the numbers lie in this file as they are, in `left` bytes at most."""
    made = item.id.get_create_plist()
    if made.get_external_count() or item.is_virtual:
        raise ValueError(f"{name} lies in other files; expected its numbers in this one")
    if made.get_nfilters():
        raise ValueError(f"{name} is compressed or filtered; expected numbers as Keras writes them")
    chunk = math.prod(item.chunks or ()) * item.dtype.itemsize
    if item.nbytes > left or chunk > left or item.id.get_storage_size() < item.nbytes:
        raise ValueError(f"{name} of shape {item.shape} is longer than what the file holds of it")
