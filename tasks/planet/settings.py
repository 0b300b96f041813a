"""The keys of tools/prepare_planet.py. Imports nothing heavy."""

from dataclasses import dataclass

from tasks.shared.config.typed import Count


@dataclass(frozen=True)
class ColumnsConfig:
    lat: str | None
    lon: str | None


@dataclass(frozen=True)
class PreparePlanetConfig:
    """configs/prepare_planet.yaml. Levels are checked by `partition.check_limits`, beside each other."""

    source: str
    output: str
    columns: ColumnsConfig
    max_photos: Count
    min_photos: Count
    min_level: int
    max_level: int
    picture: bool
