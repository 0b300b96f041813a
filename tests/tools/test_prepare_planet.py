"""tools/prepare_planet.py: from a table to cells and their map, and mistakes told."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tasks.planet.cells import Cells
from tests.tasks.planet.places import draw_places, write_table
from tests.tools.conftest import TOOLS, Tool


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """2,000 photos; the name has all that Hydra parses."""
    file = tmp_path / "phötos, v=1 [a] (b).csv"
    write_table(file, 2_000)
    return file


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_becomes_cells_and_a_map(suffix: str, tool: Tool, tmp_path: Path) -> None:
    write_table(tmp_path / f"photos.{suffix}", 5_000)
    output = tmp_path / "cells, v=2.json"
    answer = tool("prepare_planet", f"source={tmp_path}/photos.{suffix}", f"output={output}", "max_photos=200",
                  "min_photos=20", "min_level=1", "max_level=12")  # fmt: skip
    assert answer.status == 0, answer.message
    cells = Cells.load(output)
    assert cells.parameters == {"max_photos": 200, "min_photos": 20, "min_level": 1, "max_level": 12}
    assert cells.photos == 5_000
    inside = cells.assign(*draw_places(5_000).T) >= 0
    assert (~inside).sum() == cells.left_out > 0
    assert f"{len(cells)} cells, key {cells.key}" in answer.out
    assert f"{cells.left_out} photos ({100 * cells.left_out / 5000:.1f} %) are in none and left out" in answer.out
    assert f"written: {output}" in answer.out
    with Image.open(output.with_suffix(".png")) as image:
        assert image.size == (1800, 885)
    assert not list(tmp_path.glob(".*"))


def test_the_defaults_are_planets(tool: Tool, table: Path, tmp_path: Path) -> None:
    answer = tool("prepare_planet", f"source={table}", f"output={tmp_path}/cells.json", "picture=false")
    assert answer.status == 0, answer.message
    cells = Cells.load(tmp_path / "cells.json")
    assert (cells.parameters["max_photos"], cells.parameters["min_photos"]) == (10_000, 50)  # Weyand et al. 2016
    assert not (tmp_path / "cells.png").exists()
    assert tool("prepare_planet", "--help").out.count("max_photos") >= 2


def test_cells_over_the_limit_are_told(tool: Tool, tmp_path: Path) -> None:
    (tmp_path / "pile.csv").write_text("lat,lon\n" + "48.858,2.294\n" * 500)
    answer = tool("prepare_planet", f"source={tmp_path}/pile.csv", f"output={tmp_path}/cells.json", "max_photos=100")
    assert answer.status == 0 and "1 cells hold more than max_photos, as they are at max_level=16" in answer.out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ["source is not set", "output is not set"]),
        (["source=/no/such.csv"], ["/no/such.csv: no such file"]),
        (["source={table}", "min_photos=3000"], ["2,000 photos", "min_photos=3000"]),
        (["source={table}", "min_photos=900", "max_photos=900"], ["no cell holds min_photos=900"]),
        (["source={table}", "max_photos=10"], ["max_photos=10 is below min_photos=50"]),
        (["source={table}", "max_photos=many"], ["max_photos=", "many"]),
        (["source={table}", "max_level=31"], ["max_level=31"]),
        (["source={table}", "columns.lat=path"], ["row 1: path='photos/", "expected a number"]),
        (["source={table}", "columns.lat=lon", "columns.lon=lat"], ["likely swapped"]),
        (["source={table}", "columns.lat=north"], ["columns.lat", "'north'", "path, lat, lon"]),
        (["source={table}", "columns.lta=north"], ["columns.lta", "columns.lat"]),
        (["source={table}", "max_photo=1"], ["max_photo", "max_photos"]),
        (["source={table}", "picture=1"], ["picture=1"]),
        (["source={table}", "output={here}/cells.csv"], ["cells.csv", ".json"]),
        (["source={table}", "output={here}/none/cells.json"], ["none/cells.json: its folder does not exist"]),
        (["source={table}", "output={here}/there.json"], ["there.json exists already"]),
        (["source={table}", "output={here}/drawn.json"], ["drawn.png exists already"]),
        (["source={here}/there.json"], ["there.json", ".csv or .parquet"]),
    ],
)
def test_mistakes_are_told(arguments: list[str], expected: list[str], table: Path, tool: Tool, tmp_path: Path) -> None:
    for name in ("there.json", "drawn.png"):
        (tmp_path / name).touch()
    before = sorted(tmp_path.iterdir())
    output = (
        [] if not arguments or any(a.startswith("output") for a in arguments) else [f"output={tmp_path}/cells.json"]
    )
    answer = tool("prepare_planet", *(a.format(table=table, here=tmp_path) for a in arguments), *output)
    assert answer.status == 1
    assert all(part in answer.message for part in expected), answer.message
    assert sorted(tmp_path.iterdir()) == before


MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
"""


@pytest.mark.slow
def test_a_million_coordinates_take_seconds_and_little_memory(tmp_path: Path) -> None:
    seconds, peak = {}, {}
    for count in (100_000, 1_000_000):
        write_table(tmp_path / f"{count}.csv", count)
        command = [sys.executable, str(TOOLS / "prepare_planet.py"), f"source={tmp_path}/{count}.csv",
                   f"output={tmp_path}/{count}.json", "picture=false"]  # fmt: skip
        # Through a small process of its own: a child's peak begins with the memory of whoever started it.
        answer = subprocess.run([sys.executable, "-c", MEASURE, *command], capture_output=True, text=True, check=True,
                                env=os.environ | {"PYTHONPATH": str(TOOLS.parent)})  # fmt: skip
        seconds[count], peak[count] = (float(figure) for figure in answer.stdout.split())
    # The libraries alone take more than half a gigabyte, and more with every release: what counts is what photos add.
    added = (peak[1_000_000] - peak[100_000]) * (1 if sys.platform == "darwin" else 1024)
    assert added < 250e6, f"{added / 1e6:.0f} MB"
    assert seconds[1_000_000] < 30
    assert seconds[1_000_000] < 15 * seconds[100_000], "about linear"
