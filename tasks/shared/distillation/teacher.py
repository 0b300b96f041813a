"""A frozen network that answers for images, for a student to imitate."""

import hashlib
import json
import logging
import math
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from tasks.shared.contract import Normalize
from tasks.shared.errors import UserError

CHANNELS = ("rgb", "bgr")
OUTPUTS = ("logits", "probabilities", "as_is")
MOST = 15.0  # a logit that stands for certainty: float16 holds it to 1/128
CERTAIN = 1e-4  # how far above 1 or below 0 rounding may leave a probability
log = logging.getLogger(__name__)


class Network(Protocol):
    """What each source of teachers makes: a network that nothing trains, whatever it runs on."""

    def to(self, device: torch.device) -> Any: ...

    def __call__(self, images: Tensor) -> Tensor:
        """(B, 3, h, w) float32 with B of 1 and more, on the device of `to` -> (B, K), of any float type."""

    def cost(self) -> tuple[int, int] | None:
        """As `Teacher.cost`."""


class Teacher:
    """A network in evaluation mode with its own normalisation and size. It is no nn.Module, so that it can get into no
    checkpoint and no optimizer.

    Args:
        network: what answers.
        name: for messages and tables.
        size: height and width of the images that it takes, in pixels.
        content: a digest of the files that it was read from.
        mean, std: three numbers each, of pixels scaled to [0, 1], in the order of `channels`; None hands the network
            pixels of 0 to 255.
        channels: "rgb" or "bgr", the order that the network takes.
        output: "probabilities" become logits of at most 15 either way; "logits" and "as_is" (or None) stay as they are.
        class_names: what the outputs mean, where that is known.
        crop: how images were cut for it in training, as `images.crops.center_crop` calls it; None where that
            is not known.

    Attributes: those, and
        num_outputs: K, learnt from its answer to two grey images.
        fingerprint: a hex digest of all that its answers depend on.

    Raises UserError naming the config key for values outside their range, and for a network that does not answer
    images of that size with K numbers each.
    """

    def __init__(
        self,
        network: Network,
        *,
        name: str,
        size: tuple[int, int],
        content: str,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        channels: str = "rgb",
        output: str | None = "as_is",
        class_names: list[str] | None = None,
        crop: tuple[str, float] | None = None,
    ):
        check_choice("channels", channels, CHANNELS)
        check_choice("output", output or "as_is", OUTPUTS)
        self.network, self.name, self.size, self.crop = network, name, size, crop
        self.channels, self.output = channels, output or "as_is"
        if (mean is None) != (std is None):
            raise UserError(
                f"teacher.mean={mean}, teacher.std={std}; expected both, or null for both: pixels of 0 to 255"
            )
        self.normalize: Normalize | None = None
        if mean is not None and std is not None:
            self.normalize = Normalize(_three("mean", mean, 0.0, 1.0), _three("std", std, 1e-6, 1.0))
        self._device, self._asked = torch.device("cpu"), False
        self.num_outputs = self._try()
        self.class_names = class_names if class_names and len(class_names) == self.num_outputs else None
        self.fingerprint = hashlib.sha256(
            json.dumps([content, self.size, mean and [*mean], std and [*std], self.channels, self.output]).encode()
        ).hexdigest()

    def __call__(self, images: Tensor) -> Tensor:
        """images (B, 3, h, w) uint8 RGB on any device -> (B, K) float32 on the same one, without a gradient.

        Runs in float32 whatever autocast says, and moves itself to the device of the images.
        Raises UserError for answers that are not finite, or no probabilities where those were promised.
        """
        if images.shape[1:] != (3, *self.size):
            raise ValueError(f"teacher {self.name}: got {tuple(images.shape)}; expected (B, 3, {_by(self.size, ', ')})")
        if images.device != self._device:
            self._move(images.device)
        if not len(images):
            return torch.empty(0, self.num_outputs, device=self._device)
        return self._checked(self._ask(images))

    def cost(self) -> tuple[int, int] | None:
        """Mult-adds for one image, and learnable parameters, as `backbone.count_cost` counts them.

        None where they cannot be counted.
        """
        return self.network.cost()

    def _ask(self, images: Tensor) -> Tensor:
        # Not in inference mode, which would make answers, and weights that were moved there, unfit for training.
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            pixels = images.flip(1) if self.channels == "bgr" else images
            return self.network(pixels.float() if self.normalize is None else self.normalize(pixels))

    def _move(self, device: torch.device) -> None:
        with torch.inference_mode(False):
            self.network.to(device)
            if self.normalize is not None:
                self.normalize.to(device)
        self._device = device

    def _try(self) -> int:
        grey = torch.full((2, 3, *self.size), 127, dtype=torch.uint8)
        try:
            predictions = self._ask(grey)
        except UserError:
            raise
        except (RuntimeError, ValueError, TypeError, AssertionError, LookupError) as error:
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise UserError(
                f"teacher {self.name}: cannot answer images of {_by(self.size)} pixels ({reason}); teacher.size is "
                "what it takes"
            ) from error
        if not isinstance(predictions, Tensor):
            raise UserError(
                f"teacher {self.name}: answers with {type(predictions).__name__}; expected K numbers an image"
            )
        if (
            predictions.ndim != 2
            or len(predictions) != 2
            or not predictions.is_floating_point()
            or not predictions.shape[1]
        ):
            raise UserError(
                f"teacher {self.name}: answers 2 images with {tuple(predictions.shape)} numbers of "
                f"{predictions.dtype}; expected floating-point (2, K)"
            )
        return predictions.shape[1]

    def _checked(self, predictions: Tensor) -> Tensor:
        predictions = predictions.float()
        if not bool(predictions.isfinite().all()):
            bad = int((~predictions.isfinite()).any(1).sum())
            raise UserError(
                f"teacher {self.name}: {bad} of {len(predictions)} answers hold numbers that are not finite"
            )
        if self.output == "as_is" or (self.output == "logits" and self._asked):
            return predictions
        low, high = float(predictions.min()), float(predictions.max())
        if self.output == "logits":
            self._asked = True
            if low >= 0 and high <= 1:
                log.warning(
                    "teacher %s: its first %d answers lie in 0 to 1; if they are probabilities, give "
                    "teacher.output=probabilities", self.name, len(predictions),
                )  # fmt: skip
            return predictions
        if low < -CERTAIN or high > 1 + CERTAIN:
            raise UserError(
                f"teacher.output=probabilities: teacher {self.name} answers {low:.4g} to {high:.4g}; expected 0 to 1, "
                "or teacher.output=logits"
            )
        return predictions.clamp(0, 1).logit().clamp(-MOST, MOST)


def check_choice(key: str, value: object, known: Sequence[str]) -> None:
    """Raise UserError for a value of `teacher.<key>` that is none of `known`."""
    if value not in known:
        raise UserError(f"teacher.{key}={value!r}; expected one of {', '.join(known)}")


def read_size(size: int | Sequence[int] | None, own: tuple[int, int] | None) -> tuple[int, int]:
    """Height and width that `teacher.size` asks for: a side, or both; None means the network's own.

    Raises UserError for others, and where neither is known.
    """
    if size is None and own is None:
        raise UserError("teacher.size is not set, and the file takes images of any; give teacher.size=SIDE")
    if size is None:
        assert own is not None
        return own
    both: list[Any] = list(size) if isinstance(size, list | tuple) else [size, size]
    if len(both) != 2 or not all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in both):
        raise UserError(f"teacher.size={size!r}; expected a side in pixels, or [height, width]")
    return both[0], both[1]


def fixed_size(size: int | Sequence[int] | None, own: tuple[int, int] | None) -> tuple[int, int]:
    """As `read_size`, of a network that takes one size where `own` is known. Raises UserError for another."""
    wanted = read_size(size, own)
    if own is not None and wanted != own:
        raise UserError(
            f"teacher.size={size!r}: the file takes {_by(own)} pixels and no others; leave teacher.size out"
        )
    return wanted


def _three(key: str, values: Sequence[float], least: float, most: float) -> tuple[float, ...]:
    numbers: list[Any] = list(values) if isinstance(values, list | tuple) else [values]
    fits = [isinstance(v, int | float) and math.isfinite(v) and least <= v <= most for v in numbers]
    if len(numbers) != 3 or not all(fits):
        raise UserError(
            f"teacher.{key}={values!r}; expected three numbers from {least:g} to {most:g}, of pixels scaled to [0, 1]: "
            "127 of 255 is 0.498"
        )
    return tuple(float(v) for v in numbers)


def _by(size: tuple[int, int], between: str = "x") -> str:
    return f"{size[0]}{between}{size[1]}"
