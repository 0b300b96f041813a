"""Partition the earth into PlaNet's cells, the classes of task=planet, by where the photos of a table were taken.

python tools/prepare_planet.py source=photos.csv output=cells.json            also .parquet; columns lat, lon in degrees
python tools/prepare_planet.py source=photos.csv output=cells.json columns.lat=y columns.lon=x
python tools/prepare_planet.py source=photos.csv output=cells.json max_photos=1000 min_photos=20

A cell of S2's quadtree is split while it holds more than max_photos, and dropped where it holds fewer than min_photos.
Writes the cells, and a map of them beside (.png).
"""

from tasks.shared.commands.cli import run_tool
from tasks.shared.config.compose import check_keys, compose_config, parse_overrides, plain, quote_paths
from tasks.shared.config.paths import check_exists


def prepare_planet(arguments: list[str]) -> None:
    values = quote_paths(arguments)
    check_keys(parse_overrides(values), compose_config("prepare_planet", []))
    keys = plain(compose_config("prepare_planet", values))
    check_exists("source", keys["source"], "file")
    from tasks.planet.prepare import prepare

    prepare(**keys)


if __name__ == "__main__":
    run_tool("prepare_planet", __doc__, prepare_planet)
