"""MobileNet V1 of timm (mobilenetv1_100, mobilenetv1_125), from its hub or its files, and back to its names."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from backbone.mobilenet import TABLE_1
from backbone.sources.published import Published, implied_structure, listed, optional_library

# timm 1.0: torch's default eps, kernel // 2 on all sides, IMAGENET_INCEPTION_MEAN and _STD.
BN_EPS = 1e-5
IMPLIED = {
    "padding": "symmetric",
    "activation": "relu6",
    "bn_eps": BN_EPS,
    "input_mean": (0.5,) * 3,
    "input_std": (0.5,) * 3,
}
CLASSIFIER = ("weight", "bias")
STEM = "conv_stem.weight"  # how files of timm's MobileNets are told


def read_timm(name: str) -> Published:
    """Fetch timm's published weights of a MobileNet V1, with or without timm's tag of the weights.

    Raises ValueError for what timm does not have, or has but cannot fetch, and for a network with more layers.
    """
    source = f"timm:{name}"
    with optional_library(source, "timm"):
        import timm
    known = [*timm.list_models("mobilenetv1*"), *timm.list_pretrained("mobilenetv1*")]
    if name not in known:
        raise ValueError(f"{source}: no MobileNet V1 of timm {timm.__version__}; expected one of {', '.join(known)}")
    with torch.device("meta"):
        planned = timm.create_model(name)
    from_timm(source, planned.state_dict())  # what does not fit is found before anything is fetched
    try:
        net: Any = timm.create_model(name, pretrained=True)
    except Exception as error:  # of the hub, the network or the disk
        raise ValueError(f"{source}: could not be fetched; give the file instead of the name ({error})") from error
    config = net.pretrained_cfg
    scaling = {"input_mean": tuple(config["mean"]), "input_std": tuple(config["std"])}
    return from_timm(source, net.state_dict(), scaling, config["input_size"][-1])


def from_timm(
    source: str,
    state: Mapping[str, Tensor],
    scaling: dict[str, tuple[float, ...]] | None = None,
    resolution: int | None = None,
) -> Published:
    """Weights under timm's names. scaling: input_mean and input_std, where timm's own config tells them.

    Raises ValueError naming tensors that are missing, or that this MobileNet does not have (mobilenetv1_100h's).
    """
    ours = {theirs: mine for mine, theirs in _names().items()}
    backbone: dict[str, Tensor] = {}
    classifier: dict[str, Tensor] = {}
    foreign = []
    for name, tensor in state.items():
        numbers = tensor.float() if tensor.is_floating_point() else tensor
        if name in ours:
            backbone[ours[name]] = numbers
        elif name.removeprefix("classifier.") in CLASSIFIER:
            classifier[name.removeprefix("classifier.")] = numbers
        else:
            foreign.append(name)
    if foreign:
        raise ValueError(
            f"{source}: holds {listed(foreign)}, which MobileNet V1 does not have; expected the plain network of timm "
            "(mobilenetv1_100 or _125, not those with a head convolution)"
        )
    for mine in ours.values():
        if mine.endswith("num_batches_tracked"):
            backbone.setdefault(mine, torch.zeros((), dtype=torch.int64))
    lacking = [theirs for theirs, mine in ours.items() if mine not in backbone]
    if lacking or set(classifier) not in (set(), set(CLASSIFIER)):
        raise ValueError(f"{source}: lacks {listed(lacking) or 'a part of the classifier'} of timm's MobileNet V1")
    return Published(
        source=source,
        format="timm",
        backbone=backbone,
        classifier=classifier,
        implied=implied_structure(source, backbone) | IMPLIED | (scaling or {}),
        resolution=resolution,
        background=False,
        folded=False,
        left_over={},
    )


def to_timm(
    state: Mapping[str, Tensor], classifier: Mapping[str, Tensor] | None = None, bn_eps: float = BN_EPS
) -> dict[str, Tensor]:
    """A MobileNetV1.state_dict() of conv_0 to conv_13, and a classifier, under timm's names.

    bn_eps: of the network that they come from; timm's is 1e-5, so running variances are moved by the difference.
    timm pads symmetrically: only a network with padding="symmetric" gives the same answers there.

    Raises ValueError naming the tensors that timm's MobileNet V1 lacks or has beyond these.
    """
    names = _names()
    lacking = [name for name in names if name not in state]
    foreign = [name for name in state if name not in names]
    if lacking or foreign:
        raise ValueError(
            f"timm's MobileNet V1 is conv_0 to conv_13 in separable blocks; "
            f"missing for it: {listed(lacking) or 'nothing'}, unknown to it: {listed(foreign) or 'nothing'}"
        )
    moved = {name: t + (bn_eps - BN_EPS) if name.endswith("running_var") else t for name, t in state.items()}
    return {theirs: moved[mine] for mine, theirs in names.items()} | {
        f"classifier.{key}": (classifier or {})[key] for key in (CLASSIFIER if classifier else ())
    }


def _names() -> dict[str, str]:
    """Our tensor -> timm's: blocks.S.B are the layers of one stage, and a new stage starts at each stride 2."""
    parts = [("conv_0", "conv_stem", "bn1")]
    stage, block = 0, 0
    for number, (_, stride) in enumerate(TABLE_1[1:], 1):
        if number > 1:
            stage, block = (stage + 1, 0) if stride == 2 else (stage, block + 1)
        prefix = f"blocks.{stage}.{block}"
        parts.append((f"conv_{number}.depthwise", f"{prefix}.conv_dw", f"{prefix}.bn1"))
        parts.append((f"conv_{number}.pointwise", f"{prefix}.conv_pw", f"{prefix}.bn2"))
    names = {}
    for mine, conv, norm in parts:
        names[f"{mine}.conv.weight"] = f"{conv}.weight"
        for tensor in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            names[f"{mine}.norm.{tensor}"] = f"{norm}.{tensor}"
    return names
