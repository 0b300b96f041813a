"""The keys of tools/benchmark.py. Imports nothing heavy."""

from dataclasses import dataclass

from tasks.shared.config.typed import Count, Megapixels


@dataclass(frozen=True)
class BenchmarkConfig:
    """configs/benchmark.yaml"""

    suite: str
    rounds: Count
    threads: Count
    output: str | None
    images: str | None
    max_megapixels: Megapixels
    coco_pictures: Count
