"""The benchmark tool: what it prints, writes and refuses. How fast anything is, is asserted nowhere."""

import json
import operator
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

import tasks
from tasks.shared import benchmark
from tasks.shared.benchmark import Child, Comparison, Result, Suite, compare, run_suites
from tasks.shared.detection.benchmark import PAIRS, same_detections
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
            "error: suite=postproces: no such suite; there are postprocess, rcnn_postprocess, train, inference and all",
        ),
        ("round=3", "error: unknown key 'round'; the nearest keys: rounds"),
        ("rounds=0", "error: rounds=0; expected a whole number of at least 1"),
    ],
)
def test_a_mistake_is_told_without_a_traceback(argument, message, tmp_path):
    run = run_benchmark(argument, cwd=tmp_path)
    assert run.returncode == 1
    assert run.stderr.strip() == message
    assert run.stdout == ""


def test_compare_takes_turns(monkeypatch):
    clock, turns = [0.0], [""]

    def side(name: str, seconds: float) -> None:
        clock[0] += seconds
        if turns[-1] != name:
            turns.append(name)

    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: clock[0])
    times = compare(lambda: side("ours", 0.001), lambda: side("peer", 0.003), rounds=3)
    # Both warm up; then ours, peer; peer, ours; ours, peer.
    assert turns == ["", "ours", "peer", "ours", "peer", "ours", "peer"]
    assert times == pytest.approx(Comparison(ours_ms=1, peer_ms=3, ratio=3, ratio_min=3, ratio_max=3))


def test_a_child_answers_from_another_process():
    with Child(partial, operator.add, 2, 3) as add, Child(partial, os.getpid) as whose:
        assert add() == add() == 5
        assert whose() == whose() != os.getpid()
    assert not add.process.is_alive()
    assert not whose.process.is_alive()


def test_a_child_that_dies_is_an_error():
    with Child(partial, sys.exit, 3) as side, pytest.raises(RuntimeError, match="ended with status 3"):
        side()


def fake_suite(rounds: int) -> Suite:
    times = Comparison(1.0, 2.0, 2.0, 1.5, float(rounds))
    results = [Result("first", {}, times, {"same": True}), Result("last", {}, times, {"same": False})]
    return Suite("a against b", results, "and c is left out")


def test_all_runs_every_suite_and_names_the_cases_that_differ(monkeypatch, capsys):
    monkeypatch.setattr(benchmark.importlib, "import_module", lambda name: sys.modules[__name__])
    monkeypatch.setattr(benchmark, "SUITES", {"one": "here.fake_suite", "two": "here.fake_suite"})
    assert run_suites("all", 4, torch.get_num_threads(), None) == ["one, last: same", "two, last: same"]
    printed = capsys.readouterr().out
    assert "one: a against b" in printed
    assert " ratio [min..max] " in printed
    assert "two: a against b" in printed
    assert printed.count("2.00 [1.50..4.00]") == 4
    assert printed.count(" NO ") == 2
    assert printed.count("and c is left out") == 2


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
