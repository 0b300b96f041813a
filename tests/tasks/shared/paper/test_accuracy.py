"""Accuracies of runs beside the rows that they belong to, and beside no others."""

import json
import logging
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.shared.config.compose import compose_config, plain
from tasks.shared.errors import UserError
from tasks.shared.paper.accuracy import Accuracies
from tasks.shared.paper.counting import Counter
from tasks.shared.paper.results import fill_tables
from tasks.shared.paper.rows import Preset, Printed, Row, Table
from tasks.shared.paper.sheets import Found


@cache
def composed(*overrides: str) -> dict[str, Any]:
    return plain(compose_config("train", list(overrides)))


def write_run(folder: Path, *overrides: str, **metrics: float) -> None:
    """What tools/train.py leaves, as far as it is read."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(composed(*overrides)))
    (folder / "metrics.json").write_text(json.dumps(metrics))


def found(folder: Path, counter: Counter, *numbers: int) -> dict[tuple[int, str], tuple[Found, ...]]:
    """The cells that are filled."""
    sheets = fill_tables(numbers, counter, Accuracies(folder, counter))
    return {(sheet.number, line.name): line.found for sheet in sheets for line in sheet.lines if line.found}


IMAGENET = ("data=imagenet", "data.root=x")


def test_a_run_stands_beside_every_row_of_its_network(tmp_path: Path, counter: Counter) -> None:
    own = ("task=classification", *IMAGENET, "resolution=160", "backbone.alpha=0.5", "backbone.activation=relu")
    write_run(tmp_path / "a", *own, top1=0.6, top5=0.8)
    write_run(tmp_path / "b/c", "experiment=table7_224", *IMAGENET, top1=0.7)
    full = (Found(70.0, "imagenet", "b/c"),)
    assert found(tmp_path, counter, *range(2, 10)) == {
        (4, "MobileNet"): full,
        (6, "1.0 MobileNet-224"): full,
        (7, "1.0 MobileNet-224"): full,
        (8, "1.0 MobileNet-224"): full,
        (9, "0.50 MobileNet-160"): (Found(60.0, "imagenet", "a"),),
    }


def test_other_networks_tasks_and_data_stay_out(
    tmp_path: Path, counter: Counter, caplog: pytest.LogCaptureFixture
) -> None:
    write_run(tmp_path / "other task", "task=dogs", "data=stanford_dogs", "data.root=x", top1=0.6)
    write_run(tmp_path / "drawn", "experiment=table6_0.5", top1=0.99)
    write_run(tmp_path / "run/stages/first", "experiment=table6_0.5", *IMAGENET, top1=0.5)
    write_run(tmp_path / "width", "experiment=table6_0.5", *IMAGENET, "backbone.alpha=0.35", top1=0.5)
    write_run(tmp_path / "shallow", "experiment=table6_0.5", *IMAGENET, "backbone.shallow=true", top1=0.5)
    write_run(tmp_path / "deep", "experiment=table6_0.5", *IMAGENET, "backbone.depth_multiplier=2", top1=0.5)
    write_run(tmp_path / "timm", "task=classification", *IMAGENET, "backbone=timm", top1=0.5)
    write_run(tmp_path / "no figure", "experiment=table6_0.5", *IMAGENET, loss=0.5)
    with caplog.at_level(logging.INFO):
        assert found(tmp_path, counter, 5, 6) == {}
    assert f"8 runs below {tmp_path}; 2 left out" in caplog.text
    assert found(tmp_path, counter, 10) == {(10, "1.0 MobileNet-224"): (Found(60.0, "stanford_dogs", "other task"),)}


def test_each_task_has_its_metric_and_several_runs_are_all_told(tmp_path: Path, counter: Counter) -> None:
    coco = ("data=coco", "data.root=x")
    for name, ap in (("0", 0.193), ("1", 0.2)):
        write_run(tmp_path / name, "experiment=table13_ssd_300", *coco, AP=ap, top1=0.9)
    write_run(tmp_path / "2", "task=faster_rcnn", *coco, "resolution=600", AP=0.198)
    write_run(tmp_path / "3", "task=faster_rcnn", *coco, "task.proposals=100", AP=0.1)  # another cost
    places = ("data=geotagged", "data.root=x", "data.train.table=y")
    write_run(tmp_path / "4", "task=planet", *places, within_25km=0.3, within_750km=0.6)
    assert found(tmp_path, counter, 11, 13) == {
        (11, "Country (750 km)"): (Found(60.0, "geotagged", "4"),),
        (11, "City (25 km)"): (Found(30.0, "geotagged", "4"),),
        (13, "SSD 300, MobileNet"): (Found(19.3, "coco", "0"), Found(20.0, "coco", "1")),
        (13, "Faster-RCNN 600, MobileNet"): (Found(19.8, "coco", "2"),),
    }


def test_a_metric_counts_under_its_condition_alone(tmp_path: Path, counter: Counter) -> None:
    row = Row("0.5", Preset("table6_0.5", 1000), Printed("149"), Printed("1.3"), "79.4")
    table = Table(14, "", (row,), metric="val_at_far", condition=("far", 1e-4))
    for name, metrics in (("0", {"far": 1e-4}), ("1", {"far": 1e-3}), ("2", {})):
        write_run(tmp_path / name, "experiment=table6_0.5", *IMAGENET, val_at_far=0.75, **metrics)
    assert Accuracies(tmp_path, counter).of(row, table) == (Found(75.0, "imagenet", "0"),)


@pytest.mark.parametrize("value", [70.6, -0.1])
def test_a_metric_that_is_no_share_is_refused(value: float, tmp_path: Path, counter: Counter) -> None:
    write_run(tmp_path / "run", "experiment=table6_0.5", *IMAGENET, top1=value)
    with pytest.raises(UserError, match=rf"run/metrics\.json: top1={value}; expected a share of 0 to 1"):
        found(tmp_path, counter, 6)


def test_a_network_that_cannot_be_built_is_told_with_its_run(tmp_path: Path, counter: Counter) -> None:
    write_run(tmp_path / "run", "experiment=table6_0.5", *IMAGENET, "backbone.alpha=-1", top1=0.5)
    with pytest.raises(UserError, match=r"run/config\.yaml: backbone\.alpha=-1; expected"):
        found(tmp_path, counter, 6)


def test_a_folder_without_runs_is_refused(tmp_path: Path, counter: Counter) -> None:
    with pytest.raises(UserError, match="no finished run in it or below it"):
        Accuracies(tmp_path, counter)
