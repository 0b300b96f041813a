"""The keys of tools/predict.py and tools/convert_weights.py. Imports nothing heavy."""

from dataclasses import dataclass
from typing import Annotated

from tasks.shared.config.typed import Count, Megapixels, OneOf

FORMATS = ("run", "safetensors", "timm")


@dataclass(frozen=True)
class PredictConfig:
    """configs/predict.yaml"""

    checkpoint: str
    input: str | int
    pair: str | int | None
    output: str | None
    batch_size: Count
    max_megapixels: Megapixels


@dataclass(frozen=True)
class ConvertConfig:
    """configs/convert_weights.yaml"""

    source: str
    output: str
    format: Annotated[str, OneOf(FORMATS)]
    classes: str | None
    background: bool | None
    max_megapixels: Megapixels
    pictures: str | None
