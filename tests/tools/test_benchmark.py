"""The benchmark tool: what it prints, writes and refuses. How fast anything is, is asserted nowhere."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tasks
from tasks.shared.benchmark import suite as benchmark
from tasks.shared.benchmark.postprocess import PAIRS, same_detections
from tasks.shared.benchmark.settings import BenchmarkConfig
from tasks.shared.benchmark.suite import Options, Result, Suite, print_results, run_suites
from tasks.shared.benchmark.timing import Comparison
from tasks.shared.detection.postprocess import Detections

ROOT = Path(tasks.__file__).parents[1]


def run_benchmark(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "tools" / "benchmark.py"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=cwd)


def test_postprocess_prints_a_table_and_writes_json(tmp_path):
    run = run_benchmark("suite=postprocess", "rounds=2", "threads=1", "output=new folder/speed.json", cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    machine, *table = run.stdout.splitlines()
    assert f"threads 1 · torch {torch.__version__}" in machine
    assert all(
        any(f" {case} " in line and f" {pairs:,} " in line and " yes " in line for line in table)
        for case, pairs in PAIRS.items()
    )
    written = json.loads((tmp_path / "new folder" / "speed.json").read_text())
    assert written["machine"].keys() == {"cpu", "threads", "torch", "torchvision", "date"}
    assert written["rounds"] == 2
    assert {row["case"]: row["pairs"] for row in written["results"]} == PAIRS
    for row in written["results"]:
        names = {"suite", "case", "pairs", "ours_ms", "peer_ms", "ratio", "ratio_min", "ratio_max", "same_detections"}
        assert row.keys() == names
        assert row["suite"] == "postprocess"
        assert row["same_detections"] is True
        assert 0 < row["ratio_min"] <= row["ratio"] <= row["ratio_max"]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (
            "suite=postproces",
            "error: suite=postproces: no such suite; there are startup, coco, postprocess, rcnn_postprocess, input, "
            "train, run, inference and all",
        ),
        ("round=3", "error: unknown key 'round'; the nearest keys: rounds"),
        ("rounds=0", "error: rounds=0; expected a whole number from 1"),
        ("coco_pictures=0", "error: coco_pictures=0; expected a whole number from 1"),
        ("images=no, such=folder", "error: images=no, such=folder: no such folder"),
    ],
)
def test_a_mistake_is_told_without_a_traceback(argument, message, tmp_path):
    run = run_benchmark(argument, cwd=tmp_path)
    assert run.returncode == 1
    assert run.stderr.strip() == message
    assert run.stdout == ""


def fake_suite(options: Options) -> Suite:
    times = Comparison(1.0, 2.0, 2.0, 1.5, float(options.rounds))
    results = [Result("first", {}, times, {"same": True}), Result("last", {}, times, {"same": False})]
    return Suite("a against b", results, "and c is left out")


def test_all_runs_every_suite_and_names_the_cases_that_differ(monkeypatch, capsys):
    monkeypatch.setattr(benchmark.importlib, "import_module", lambda name: sys.modules[__name__])
    monkeypatch.setattr(benchmark, "SUITES", {"one": "here.fake_suite", "two": "here.fake_suite"})
    config = BenchmarkConfig("all", 4, torch.get_num_threads(), None, None, 180.0, 100)
    assert run_suites(config) == ["one, last: same", "two, last: same"]
    printed = capsys.readouterr().out
    assert "one: a against b" in printed
    assert " ratio [min..max] " in printed
    assert "two: a against b" in printed
    assert printed.count("2.00 [1.50..4.00]") == 4
    assert printed.count(" NO ") == 2
    assert printed.count("and c is left out") == 2


def test_cases_may_be_described_by_different_facts(capsys):
    times = Comparison(1.0, 2.0, 2.0, 1.5, 3.0)
    results = [Result("one", {"a": 1234}, times, {"x": True}), Result("two", {"b": "many"}, times, {})]
    print_results("a title", results)
    header, first, second = (line.split("┃" if "┃" in line else "│") for line in capsys.readouterr().out.splitlines()
                             if "ratio" in line or "2.00" in line)  # fmt: skip
    cells = [[cell.strip() for cell in line[1:-1]] for line in (header, first, second)]
    assert cells[0] == ["case", "a", "b", "ours ms", "peer ms", "ratio [min..max]", "x"]
    assert cells[1] == ["one", "1,234", "", "1.00", "2.00", "2.00 [1.50..3.00]", "yes"]
    assert cells[2] == ["two", "", "many", "1.00", "2.00", "2.00 [1.50..3.00]", ""]


def detections(count: int = 100) -> Detections:
    corner = 10.0 * torch.arange(count)[:, None].expand(count, 2)
    return Detections(torch.cat([corner, corner + 5], dim=1), torch.linspace(1, 0.5, count), torch.arange(count) % 7)


def test_same_detections_sees_every_difference():
    found = detections()
    assert same_detections(found, found)
    assert same_detections(detections(0), detections(0))
    assert not same_detections(found, detections(99))
    assert not same_detections(found, found._replace(labels=found.labels + 1))
    assert not same_detections(found, found._replace(boxes=found.boxes.flip(0)))
    assert not same_detections(found, found._replace(boxes=found.boxes + torch.tensor([0.0, 0, 0, 0.1])))
    assert not same_detections(found, found._replace(scores=found.scores - 1e-3))


def test_same_detections_lets_ties_stand_in_either_order():
    found = detections()
    scores = found.scores.clone()
    scores[4] = scores[3] = scores[3] - 1e-6
    swap = torch.arange(100)
    swap[[3, 4]] = torch.tensor([4, 3])
    tied = found._replace(scores=scores)
    assert same_detections(tied, Detections(*(value[swap] for value in tied)))


def test_same_detections_lets_either_of_a_tie_have_the_last_of_all_places():
    found, few = detections(), detections(50)
    elsewhere = torch.tensor([0.0, 500, 10, 520])
    assert same_detections(found, found._replace(boxes=torch.cat([found.boxes[:-1], elsewhere[None]])))
    assert not same_detections(few, few._replace(boxes=torch.cat([few.boxes[:-1], elsewhere[None]])))
