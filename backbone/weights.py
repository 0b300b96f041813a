"""Published weights into a MobileNetV1, strictly: every tensor of a file is used, or named where it is not."""

import json
import logging
import math
import os
import re
import secrets
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from backbone.mobilenet import TABLE_1, MobileNetV1, scale_channels
from backbone.sources.keras import read_keras
from backbone.sources.published import LAYER, Published, listed, optional_library
from backbone.sources.tflite import read_tflite
from backbone.sources.timm import read_timm
from backbone.sources.torch_files import METADATA, read_safetensors, read_torch
from backbone.unfold import folded_norms

__all__ = ["Published", "conflicts", "load_weights", "read_weights", "save_weights"]
log = logging.getLogger(__name__)
HUB = "timm:"
FORMATS = (
    "a Keras Applications .h5, a TensorFlow Lite .tflite, a state dict of PyTorch (.pth, .pt, .ckpt) or .safetensors, "
    "or timm:NAME"
)


def read_weights(source: str | Path) -> Published:
    """Read weights from a file, whose format is told by its first bytes, or from timm's hub (`"timm:mobilenetv1_100"`).

    Nothing in a file is executed. Raises ValueError naming the file if it does not exist, is damaged or holds another
    network, and the library to install where one is missing.
    """
    if str(source).startswith(HUB):
        return read_timm(str(source).removeprefix(HUB))
    path = Path(source)
    if not path.is_file():
        raise ValueError(f"{path}: no such file; expected {FORMATS}")
    with path.open("rb") as file:
        start = file.read(9)
    if start[:8] == b"\x89HDF\r\n\x1a\n":
        return read_keras(path)
    if start[4:8] == b"TFL3":
        return read_tflite(path)
    if start[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):  # zip, or a bare pickle of old
        return read_torch(path)
    if start[8:] == b"{" or path.suffix == ".safetensors":
        return read_safetensors(path)
    raise ValueError(f"{path}: begins with {start!r}, as no known format does; expected {FORMATS}")


def load_weights(net: MobileNetV1, source: str | Path | Published) -> Published:
    """Load published weights into `net`, and return what was read.

    The network must be built as the weights need it: `MobileNetV1(**read_weights(source).implied, taps=...)`. Layers
    beyond its deepest tap are left out, as are the classifier and what else the source holds; each is logged.

    Raises ValueError, and leaves `net` as it was, naming every argument of the network that conflicts with the source
    with both values, or the tensors that do not fit.
    """
    published = source if isinstance(source, Published) else read_weights(source)
    if different := conflicts(net, published):
        raise ValueError(f"{published.source}: does not fit the network: {'; '.join(different)}")
    wanted = net.state_dict()
    lacking = [name for name in wanted if name not in published.backbone]
    if lacking:
        raise ValueError(f"{published.source}: lacks {listed(lacking)}; the network has these layers")
    deepest = max(_number(name) for name in wanted)
    beyond = [name for name in published.backbone if name not in wanted]
    foreign = [name for name in beyond if _number(name) <= deepest]
    if foreign:
        raise ValueError(f"{published.source}: holds {listed(foreign)}, which the network does not have")
    for name, tensor in wanted.items():
        if not published.backbone[name].isfinite().all():
            raise ValueError(f"{published.source}: {name} holds numbers that are not finite")
        if published.backbone[name].shape != tensor.shape:
            raise ValueError(
                f"{published.source}: {name} has the shape {tuple(published.backbone[name].shape)}; the network's is "
                f"{tuple(tensor.shape)}"
            )
    net.load_state_dict({name: published.backbone[name] for name in wanted})
    _report(published, beyond)
    return published


def conflicts(net: MobileNetV1, published: Published) -> list[str]:
    """The arguments in which `net` differs from what the weights imply, each with both values; none if they fit."""
    mine, implied = net.arguments, published.implied
    keys = [key for key in implied if not _equal(mine[key], implied[key])]
    if _widths(mine) == _widths(mine | implied):  # other arguments, the same network
        keys = [key for key in keys if key not in ("alpha", "rounding")]
    return [f"backbone.{key} is {_short(mine[key])}, but the weights need {_short(implied[key])}" for key in keys]


def save_weights(
    net: MobileNetV1,
    path: str | Path,
    *,
    classifier: Mapping[str, Tensor] | None = None,
    background: bool = False,
    resolution: int | None = None,
) -> None:
    """Write `net` to a safetensors file that says itself how the network must be built.

    classifier, background, resolution: as in `Published`, for `read_weights` to find again.
    The file appears when it is whole. Raises ValueError if its folder does not exist, OSError if it cannot be written.
    """
    path = Path(path)
    with optional_library(path, "safetensors"):
        from safetensors.torch import save
    if not path.parent.is_dir():
        raise ValueError(f"{path}: its folder does not exist")
    tensors = dict(net.state_dict()) | {f"classifier.{key}": tensor for key, tensor in (classifier or {}).items()}
    said = {
        "arguments": net.arguments,
        "background": background,
        "resolution": resolution,
        "folded": bool(folded_norms(net)),
    }
    data = save(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
        {"format": "pt", METADATA: json.dumps(said)},
    )
    beside = path.with_name(f".part-{secrets.token_hex(6)}")
    try:
        with beside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(_equal, a, b))
    return math.isclose(a, b, rel_tol=1e-6) if isinstance(a, float) else a == b


def _short(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_short, value))}]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _widths(arguments: dict[str, Any]) -> list[int]:
    return [scale_channels(channels, arguments["alpha"], arguments["rounding"]) for channels, _ in TABLE_1]


def _number(name: str) -> int:
    found = LAYER.match(name)
    return int(found[1]) if found else -1


def _report(published: Published, beyond: list[str]) -> None:
    layers = [f"conv_{number}" for number in sorted({_number(name) for name in beyond})]
    left = [f"{' '.join(layers)} (beyond the deepest tap)"] if layers else []
    if published.classifier:
        left.append(f"the classifier of {len(published.classifier['bias'])} classes")
    prefixes = Counter(re.split(r"[/.:]", name)[0] for name in published.left_over)
    left += [f"{prefix} ({count} tensors)" for prefix, count in prefixes.items()]
    log.info("%s (%s): backbone loaded; left out: %s", published.source, published.format, ", ".join(left) or "nothing")
