"""Batch norms that were folded into their convolutions, made into batch norms again, so that they can be trained."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn


def folded_norms(network: nn.Module) -> list[str]:
    """The batch norms that add a bias and do nothing else in evaluation, as weights with batch norm folded in leave
    them (see `identity_norm`). In training they would normalise what was normalised already: they must stay frozen,
    or go through `unfold_batch_norm` first."""
    return [name for name, norm in _norms(network) if _is_folded(norm)]


@torch.no_grad()
def unfold_batch_norm(network: nn.Module, batches: Iterable[Tensor]) -> list[str]:
    """Give folded batch norms the statistics of images; returns their names, none if there are none.

    In evaluation the network stays the same function, to float precision; in training it starts from about that
    function, as each batch is normalised by statistics like these.

    batches: what `network` takes, at least one image; a few hundred images like those of the training are enough.
    Raises ValueError without any, or if they hold a number that is not finite.
    """
    norms = [(name, norm) for name, norm in _norms(network) if _is_folded(norm)]
    if not norms:
        return []
    sums = {name: torch.zeros(3, norm.num_features, dtype=torch.float64) for name, norm in norms}

    def note(name: str) -> Callable[[nn.Module, Any], None]:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            # One layer is enough to fill a GPU with float64, so it is summed an image at a time.
            for x in inputs[0].flatten(2):
                x = x.double()
                count = torch.full_like(x[:, 0], x.shape[1])
                sums[name] += torch.stack([count, x.sum(1), x.square().sum(1)]).cpu()

        return hook

    hooks = [norm.register_forward_pre_hook(note(name)) for name, norm in norms]
    modes = [(module, module.training) for module in network.modules()]
    try:
        network.eval()
        for batch in batches:
            network(batch)
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes:
            module.training = training
    for name, (count, _, squares) in sums.items():
        if not (count.all() and squares.isfinite().all()):
            raise ValueError(f"{name}: saw {int(count[0])} values, or some that are not finite; expected images")
    for name, norm in norms:
        _express(norm, *sums[name])
    return [name for name, _ in norms]


def _express(norm: nn.BatchNorm2d, count: Tensor, total: Tensor, squares: Tensor) -> None:
    """The same function of its input, written with the mean and variance of `count` values a channel."""
    assert norm.running_mean is not None and norm.running_var is not None
    mean = total / count
    variance = (squares / count - mean.square()).clamp(min=0)  # a channel without any stays safe by eps
    old_mean, old_variance, weight, bias = (
        t.detach().double().cpu() for t in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    scale = weight / (old_variance + norm.eps).sqrt()
    # What rounding to fp32 takes from mean and variance, weight and bias make up for.
    mean, variance = mean.float().double(), variance.float().double()
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    norm.weight.copy_(scale * (variance + norm.eps).sqrt())
    norm.bias.copy_(bias + scale * (mean - old_mean))


def _norms(network: nn.Module) -> list[tuple[str, nn.BatchNorm2d]]:
    return [(name, module) for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)]


def _is_folded(norm: nn.BatchNorm2d) -> bool:
    if norm.running_mean is None or norm.running_var is None or norm.weight is None:
        return False
    identity = norm.running_var == torch.full_like(norm.running_var, 1 - norm.eps)
    return bool(identity.all() and (norm.running_mean == 0).all() and (norm.weight == 1).all())
