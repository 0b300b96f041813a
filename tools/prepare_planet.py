"""Partition the earth into PlaNet's cells, the classes of task=planet, by where the photos of a table were taken.

python tools/prepare_planet.py source=photos.csv output=cells.json            also .parquet; columns lat, lon in degrees
python tools/prepare_planet.py source=photos.csv output=cells.json columns.lat=y columns.lon=x
python tools/prepare_planet.py source=photos.csv output=cells.json max_photos=1000 min_photos=20

A cell of S2's quadtree is split while it holds more than max_photos, and dropped where it holds fewer than min_photos.
Writes the cells, and a map of them beside (.png).
"""

from tasks.planet.settings import PreparePlanetConfig
from tasks.shared.commands.cli import run_tool
from tasks.shared.config.compose import own_config
from tasks.shared.config.paths import check_exists
from tasks.shared.config.typed import typed


def prepare_planet(arguments: list[str]) -> None:
    config = typed(PreparePlanetConfig, own_config("prepare_planet", arguments))
    check_exists("source", config.source, "file")
    from tasks.planet.prepare import prepare

    prepare(config)


if __name__ == "__main__":
    run_tool("prepare_planet", __doc__, prepare_planet)
