"""Any timm model as a backbone: the paper's comparisons (VGG, Inception ...) under the heads of this toolkit."""

import difflib
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from backbone.features import Backbone, FeatureInfo, select_taps
from tasks.shared.config.consent import asks_for
from tasks.shared.errors import UserError


class TimmBackbone(Backbone):
    """A timm model without its classifier, cut off behind the deepest tap where timm can cut it.

    Args:
        name: of the model, with or without timm's tag of its weights (`"mobilenetv1_100.ra4_e3600_r224_in1k"`).
        taps: which maps to return: names of timm's feature layers (`"blocks.3"`) or strides (`16`).
        pretrained: fetch timm's published weights.
        checkpoint: a local file of the whole model's weights (.safetensors or .pth, read without executing
            anything in it), instead of a download. What it does not hold is an error; its classifier is left out.
        options: more arguments of `timm.create_model`, such as `{"img_size": 300}`.

    Attributes:
        feature_info: a FeatureInfo (name, channels, stride) for each tap, in the order of the network.
        input_mean, input_std: the normalisation that the weights expect of pixels scaled to [0, 1].

    Raises ValueError naming the config key for what timm does not have or cannot load.
    """

    def __init__(
        self,
        name: str,
        taps: Sequence[str | int],
        *,
        pretrained: bool = False,
        checkpoint: str | None = None,
        options: dict[str, Any] | None = None,
    ):
        super().__init__()
        import timm  # seconds, and only this backbone needs it

        check_timm_name("backbone.name", name)
        if checkpoint and not Path(checkpoint).is_file():
            raise ValueError(f"backbone.checkpoint={checkpoint}: no such file")

        if pretrained and not asks_for("backbone.pretrained"):
            raise ValueError(
                "backbone.pretrained=true: nothing is downloaded where a checkpoint alone says so; give "
                "backbone.pretrained=true on this command line too"
            )

        arguments = {**(options or {}), "features_only": True}
        try:
            with torch.device("meta"):  # only timm's list of layers is wanted of this one
                layers = _feature_layers(timm.create_model(name, **arguments))
        except UserError:
            raise
        except Exception as error:
            given = f", backbone.options={options}" if options else ""
            raise ValueError(f"backbone.name={name!r}{given}: timm builds no feature extractor ({error})") from error
        self.feature_info = select_taps(layers, taps)
        arguments["out_indices"] = tuple(layers.index(info) for info in self.feature_info)

        try:
            if checkpoint:
                timm.models.load_state_dict(checkpoint, weights_only=True)  # timm < 1.0.26 reads unsafely below
                overlay = arguments.get("pretrained_cfg_overlay") or {}
                arguments["pretrained_cfg_overlay"] = {**overlay, "file": str(checkpoint)}
            with _keys_missing_in_weights() as missing:
                net: Any = timm.create_model(name, pretrained=pretrained or bool(checkpoint), **arguments)
        except Exception as error:
            if checkpoint:
                raise ValueError(f"backbone.checkpoint={checkpoint}: no weights of {name!r} ({error})") from error
            if pretrained:
                raise ValueError(
                    f"backbone.pretrained=true: timm's weights of {name!r} could not be fetched; download them "
                    f"elsewhere and give backbone.checkpoint=FILE ({error})"
                ) from error
            raise
        _cut_behind(net, arguments["out_indices"][-1])
        built = {_plain(key) for key in net.state_dict()}
        if checkpoint and (lacking := [key for key in missing if _plain(key) in built]):
            raise ValueError(
                f"backbone.checkpoint={checkpoint} lacks {len(lacking)} weights of {name!r}: {lacking[:3]}"
            )
        self.net = net
        self.input_mean, self.input_std = tuple(net.pretrained_cfg["mean"]), tuple(net.pretrained_cfg["std"])
        self.name = name
        self.channels_last = getattr(net, "output_fmt", "NCHW") == "NHWC"  # timm's own word on its maps

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Maps of normalised images: (B, 3, H, W) float to a dict from tap name to (B, channels, h, w).

        h and w are about H / stride; some models round down where MobileNet rounds up.
        """
        maps = [m.permute(0, 3, 1, 2) if self.channels_last else m for m in self.net(images)]
        return {info.name: m for info, m in zip(self.feature_info, maps, strict=True)}

    def layers(self) -> dict[str, nn.Module]:
        row = {} if self.channels_last else _row(self.net)
        names = {info.name.replace(".", "_"): info.name for info in self.feature_info}
        if not names.keys() <= row.keys():
            raise ValueError(
                f"backbone.name={self.name}: timm does not run its layers one after another; expected a network that "
                "it does, such as resnet18 or mobilenetv2_100"
            )
        return {names.get(name, name): layer for name, layer in row.items()}


def check_timm_name(key: str, name: object) -> None:
    """Raise ValueError, with the nearest ones, for the name of a model that timm does not have. key: of the config."""
    import timm

    known = [*timm.list_models(), *timm.list_pretrained()]
    if name not in known:
        near = ", ".join(difflib.get_close_matches(str(name), known, n=5)) or "see timm.list_models()"
        raise ValueError(f"{key}={name!r}: timm {timm.__version__} has no such model; nearest: {near}")


def _feature_layers(net: Any) -> list[FeatureInfo]:
    infos: list[dict[str, Any]] = net.feature_info.info
    names = [info["module"] for info in infos]
    if len(set(names)) < len(names):  # coat and crossvit give several maps one name
        names = [f"{name}.{i}" for i, name in enumerate(names)]
    return [FeatureInfo(n, info["num_chs"], info["reduction"]) for n, info in zip(names, infos, strict=True)]


def _cut_behind(net: Any, index: int) -> None:
    """Drop the blocks that timm's extractor for EfficientNet and MobileNet V1 to V4 runs without need."""
    if hasattr(net, "_stage_out_idx") and net.feature_hooks is None:
        net.blocks = net.blocks[: net.feature_info[index]["stage"]]


def _row(net: Any) -> dict[str, nn.Module]:
    """The layers that timm's extractor runs one after another, dots in names replaced; {} where it does otherwise."""
    from timm.models import FeatureDictNet

    if isinstance(net, FeatureDictNet):
        return dict(net.named_children())
    if hasattr(net, "_stage_out_idx") and net.feature_hooks is None:  # EfficientNet, MobileNet V1 to V4
        children = dict(net.named_children())
        blocks = children.pop("blocks")
        return children | {f"blocks_{index}": block for index, block in blocks.named_children()}
    return {}


def _plain(key: str) -> str:
    """A weight's name in the whole model, whatever timm's extractor prefixes or joins."""
    return re.sub(r"^(model|body)\.", "", key).replace("_", ".")


@contextmanager
def _keys_missing_in_weights() -> Iterator[list[str]]:
    """The keys that timm says it left at their random values: it loads features loosely and only logs them."""
    keys: list[str] = []
    logger = logging.getLogger("timm.models._builder")

    def note(record: logging.LogRecord) -> bool:
        if found := re.match(r"Missing keys \((.*)\) discovered", record.getMessage()):
            keys.extend(found[1].split(", "))
        return record.levelno >= level

    level = logger.getEffectiveLevel()
    before = logger.level
    logger.setLevel(min(level, logging.INFO))
    logger.addFilter(note)
    try:
        yield keys
    finally:
        logger.removeFilter(note)
        logger.setLevel(before)
