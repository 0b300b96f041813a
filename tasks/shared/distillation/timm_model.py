"""Any model of timm as a teacher."""

from collections.abc import Sequence
from typing import Any

import timm
from torch import Tensor

from tasks.shared.distillation.files import digest_of, leave_out, read_state
from tasks.shared.distillation.module_network import ModuleNetwork
from tasks.shared.distillation.teacher import Teacher, read_size
from tasks.shared.errors import UserError
from tasks.shared.network.build import check_weights
from tasks.shared.network.planned import planned
from tasks.shared.network.timm_backbone import check_timm_name


def timm_teacher(
    name: str,
    path: str,
    *,
    features: bool = False,
    options: dict[str, Any] | None = None,
    size: int | Sequence[int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    channels: str = "rgb",
    output: str | None = "logits",
) -> Teacher:
    """A timm model with weights from a local file, every one of which must fit.

    Args:
        name: of the model, with or without timm's tag of its weights ("resnet50.a1_in1k").
        path: a state dict of the whole model under timm's names, as `torch.save` or safetensors writes it, bare or as
            one entry of a checkpoint. Nothing in it is executed. How many outputs the classifier has, it tells.
        features: answer with what timm pools before the classifier, which is left out.
        options: more arguments of `timm.create_model`, such as {"img_size": 160}.
        size, mean, std: None takes what timm says of `name`.
        channels, output: see `Teacher`.

    Raises ValueError naming the key or file.
    """
    check_timm_name("teacher.name", name)
    file, state = read_state(path)
    config = timm.get_pretrained_cfg(name)
    layers = _names(config.classifier if config else None)
    if features:
        state, count = leave_out(file, state, layers), 0
    else:
        count = _classes(str(file), state, layers)
    try:
        with planned("teacher.options"):
            plan = timm.create_model(name, num_classes=count, **(options or {}))
        check_weights(plan, state, str(file))
        net = timm.create_model(name, num_classes=count, **(options or {}))
    except UserError:
        raise
    except (RuntimeError, TypeError, ValueError, AssertionError, LookupError) as error:
        raise UserError(f"teacher.name={name!r}, teacher.options={options}: timm builds no model ({error})") from error
    net.load_state_dict(state)
    pretrained: Any = net.pretrained_cfg
    own = read_size(size, tuple(pretrained["input_size"][1:]))
    return Teacher(
        ModuleNetwork(net, own),
        name=f"timm {name}",
        size=own,
        content=digest_of([file], name, features, options),
        mean=mean or pretrained["mean"],
        std=std or pretrained["std"],
        channels=channels,
        output=output,
    )


def _names(classifier: str | Sequence[str] | None) -> tuple[str, ...]:
    """Layers that timm calls a model's classifier; distilled transformers have two."""
    return (classifier,) if isinstance(classifier, str) else tuple(classifier or ())


def _classes(source: str, state: dict[str, Tensor], layers: Sequence[str]) -> int:
    """How many outputs the classifier in the file has."""
    found = [state[f"{layer}.weight"] for layer in layers if f"{layer}.weight" in state]
    if not found:
        wanted = " or ".join(f"{layer}.weight" for layer in layers) or "a classifier"
        raise UserError(f"{source}: lacks {wanted}; teacher.features=true takes the features before it")
    return len(found[0])
