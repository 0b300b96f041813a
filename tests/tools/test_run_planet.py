"""PlaNet from train to predict: on the drawn sample, on anybody's table, and on shards with cells of a file."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tasks.planet.cells import Cells
from tasks.planet.metrics import distance_metrics
from tasks.planet.sphere import great_circle_km
from tests.tasks.planet.conftest import SHOTS, shard_sample, write_photos, write_shard
from tests.tools.conftest import TOOLS, Tool

TINY = (
    "task=planet", "backbone.alpha=0.25", "resolution=32", "data.batch_size=8", "data.workers=0", "trainer=cpu",
    "trainer.max_epochs=1", "trainer.val_every_epochs=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished tiny run, its sample beside it."""
    folder = tmp_path_factory.mktemp("planet")
    arguments = [*TINY, "data.train=40", "data.val=5", f"data.root={folder}/sample", f"output={folder}/run"]
    done = subprocess.run([sys.executable, TOOLS / "train.py", *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    for told in (
        "drawn sample images",
        "cells: ",
        "lie in none of the",
        "| Continent (2500 km) | ",
        "best_place_median_km",
    ):
        assert told in done.stdout
    return folder / "run"


def answers(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "predictions.csv").read_text().splitlines()))


def test_what_it_leaves(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    truth, answer = (np.array([[row[k] for k in keys] for row in answers(run)], float)
                     for keys in (("lat", "lon"), ("answer_lat", "answer_lon")))  # fmt: skip
    figures = distance_metrics(great_circle_km(*truth.T, *answer.T))
    assert metrics.keys() == {*figures, "best_place_median_km"}
    assert {key: metrics[key] for key in figures} == pytest.approx(figures, rel=1e-4)
    cells = Cells.load(run / "cells.json")
    assert {row["cell"] for row in answers(run)} <= set(cells.tokens)
    assert (run / "table11.md").read_text().startswith("| scale") and len(list((run / "pictures").iterdir())) == 5


def test_eval_repeats_the_score_without_the_cells(run: Path, tool: Tool, tmp_path: Path) -> None:
    answer = tool("eval", f"checkpoint={run}", f"output={tmp_path}/eval")
    assert answer.status == 0, answer.message
    assert (tmp_path / "eval/metrics.json").read_text() == (run / "metrics.json").read_text()


def test_any_table_is_evaluated_as_im2gps_was(run: Path, tool: Tool, tmp_path: Path) -> None:
    root = write_photos(tmp_path / "im2gps, v=1", SHOTS[:4])
    chosen = ["data=geotagged", f"data.root={root}", "data.val.table=photos.csv"]
    answer = tool("eval", f"checkpoint={run}", *chosen, "task.answer=weighted", f"output={tmp_path}/eval")
    assert answer.status == 0, answer.message
    assert "ours (4 photos) | Im2GPS | PlaNet | PlaNet MobileNet |" in answer.out
    assert [row["file"].split("/")[-1] for row in answers(tmp_path / "eval")] == [
        s.path.split("/")[-1] for s in SHOTS[:4]
    ]
    made = Cells.load(run / "cells.json")
    others = Cells(made.ids[1:], made.counts[1:], made.means[1:], made.centres[1:], made.photos, made.parameters)
    others.save(tmp_path / "others, v=2.json")
    refused = tool(
        "eval", f"checkpoint={run}", *chosen, f"data.cells={tmp_path}/others, v=2.json", f"output={tmp_path}/no"
    )
    assert refused.status == 1 and f"the checkpoint's {made.key}" in refused.message and others.key in refused.message
    bare = tool("eval", f"checkpoint={run}", "data=geotagged", f"data.root={root}", f"output={tmp_path}/no")
    assert bare.status == 1 and "data.val.table is not set" in bare.message, bare


def test_predictions_are_those_of_the_evaluation(run: Path, tool: Tool, tmp_path: Path) -> None:
    answer = tool("predict", f"checkpoint={run}", f"input={run.parent}/sample/val", f"output={tmp_path}/out")
    assert answer.status == 0, answer.message
    found = {a["file"]: a["answer"] for a in json.loads((tmp_path / "out/predictions.json").read_text())}
    assert len(found) == 5
    for row in answers(run):
        told = found[row["file"]]
        assert (told["lat"], told["lon"]) == pytest.approx(
            (float(row["answer_lat"]), float(row["answer_lon"])), abs=1e-6
        )
        assert told["cells"][0]["cell"] == row["cell"] and len(told["cells"]) == 5
    assert len(list((tmp_path / "out").glob("*.jpg"))) == 5


def test_shards_with_the_cells_of_a_file(tool: Tool, tmp_path: Path) -> None:
    """With Adagrad and smoothed labels; stopped, and gone on with."""
    for number in (0, 1):
        write_shard(tmp_path / f"s-{number}.tar", [shard_sample(k) for k in range(number, len(SHOTS), 2)])
    root = write_photos(tmp_path / "photos")
    limits = ["max_photos=10", "min_photos=2", "min_level=2", "max_level=8", "picture=false"]
    made = tool("prepare_planet", f"source={root}/photos.csv", f"output={tmp_path}/cells.json", *limits)
    assert made.status == 0, made.message
    places = [
        "data=geotagged_shards", f"data.root={tmp_path}", "data.train.shards=s-*.tar", "data.split.share=0.3",
        f"data.cache={tmp_path}/cache", f"data.cells={tmp_path}/cells.json",
    ]  # fmt: skip
    settings = ["optim=adagrad", "task.label_smoothing=0.1", "task.place=mean", f"output={tmp_path}/run"]
    answer = tool("train", *TINY, *places, *settings)
    assert answer.status == 0, answer.message
    assert "data.split.by=user: " in answer.out and "1 of " in answer.out
    (tmp_path / "cells.json").rename(tmp_path / "moved.json")
    again = tool("eval", f"checkpoint={tmp_path}/run", f"output={tmp_path}/eval")
    assert again.status == 0 and "the checkpoint's own cells are taken" in again.out, again
    (tmp_path / "moved.json").rename(tmp_path / "cells.json")
    resumed = tool("train", f"resume={tmp_path}/run", "trainer.max_epochs=2")
    assert resumed.status == 0 and "epoch 2/2" in resumed.out, resumed
