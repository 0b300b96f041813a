"""What a run's config says of where its network starts, and of what is not trained. Imports nothing heavy."""

from dataclasses import dataclass
from typing import Annotated

from tasks.shared.config.typed import OneOf

METHODS = ("isometric",)
HEADS = ("keep", "new")


@dataclass(frozen=True, kw_only=True)
class InitConfig:
    method: Annotated[str | None, OneOf(METHODS)]
    run: str | None
    stage: str | int | None = None
    head: Annotated[str, OneOf(HEADS)]


@dataclass(frozen=True)
class FreezeConfig:
    up_to: str | None
    batch_norm: bool
