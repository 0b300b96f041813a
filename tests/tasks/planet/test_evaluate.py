"""Figures of answers, the best single place, and Table 11."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tasks.planet.evaluate import PlaceEvaluator
from tasks.planet.locate import locate
from tasks.planet.metrics import best_single_place
from tasks.planet.model import Belief
from tasks.planet.sphere import great_circle_km
from tasks.planet.table11 import TABLE11, table11
from tests.tasks.planet.places import draw_places
from tests.tasks.planet.test_neighbours import cells_at

CELLS = cells_at((0, 0), (0, 90), (50, 10))


def make_evaluator() -> PlaceEvaluator:
    return PlaceEvaluator(CELLS, lambda cells, results: locate([r.probabilities.numpy() for r in results], cells))


def test_figures_worked_by_hand(tmp_path: Path) -> None:
    """A degree of the equator is 111.195 km."""
    evaluator = make_evaluator()
    assert evaluator.compute() == {}
    truths = [(0, 0.005), (0, 0.2), (0, 91), (0, 84), (50, 40), (-50, -170)]
    kilometres = [0.556, 22.239, 111.195, 667.170, great_circle_km(50, 10, 50, 40), 20015.114]
    best = [0, 0, 1, 1, 2, 2]
    beliefs = [Belief(torch.eye(3)[k] * 0.5 + 1 / 6) for k in best]
    targets: list[Any] = [
        {"index": k, "file": f"photo, {k}.jpg", "lat": float(a), "lon": float(o)} for k, (a, o) in enumerate(truths)
    ]
    evaluator.update(beliefs[:2], targets[:2])
    evaluator.update(beliefs[2:], targets[2:])
    figures = evaluator.compute()
    assert [figures[f"within_{km}km"] for km in (1, 25, 200, 750, 2500)] == pytest.approx(
        [1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6]
    )
    assert figures["median_km"] == pytest.approx((111.195 + 667.170) / 2, abs=1e-3)
    evaluator.save(tmp_path)
    rows = list(csv.DictReader((tmp_path / "predictions.csv").read_text().splitlines()))
    assert [row["file"] for row in rows] == [target["file"] for target in targets]
    assert [float(row["km"]) for row in rows] == pytest.approx(kilometres, abs=2e-3)
    assert rows[4]["cell"] == CELLS.tokens[2] and float(rows[4]["probability"]) == pytest.approx(2 / 3, abs=1e-6)
    assert (float(rows[2]["lat"]), float(rows[2]["answer_lon"])) == (0, 90)
    text = (tmp_path / "table11.md").read_text()
    assert "| Street (1 km)       | 16.7 %          | 2.5 %  | 11.0 % | 11.4 %           |" in text
    evaluator.reset()
    assert evaluator.compute() == {}


def test_table11_is_the_papers() -> None:
    """Digits of the paper's Table 11."""
    assert [row[2:] for row in TABLE11] == [
        (51.9, 77.6, 79.3), (35.4, 64.0, 60.3), (32.1, 51.1, 45.2), (21.9, 31.7, 31.7), (2.5, 11.0, 11.4),
    ]  # fmt: skip
    printed = {f"within_{km}km": ours / 100 for _, km, *_, ours in TABLE11}
    for line in table11(printed, 237).splitlines()[2:7]:
        _, _, ours, *_, paper, _ = (cell.strip() for cell in line.split("|"))
        assert ours == paper


def test_the_best_single_place_is_the_best_of_many() -> None:
    """Against trying two thousand places and the photos' own, by distances, one after another."""
    lat, lon = draw_places(300, seed=5).T
    rng = np.random.default_rng(0)
    tried = np.stack([np.degrees(np.arcsin(rng.uniform(-1, 1, 2000))), rng.uniform(-180, 180, 2000)], 1)
    tried = np.concatenate([tried, np.stack([lat, lon], 1)])
    least = min(float(np.median(great_circle_km(lat, lon, *place))) for place in tried)
    found = float(np.median(great_circle_km(lat, lon, *best_single_place(lat, lon))))
    assert least * 0.98 < found < least * 1.01 + 150, "the grid is 290 km wide"


def test_most_photos_in_one_town_have_it_for_best_place() -> None:
    lat = np.array([48.85, 48.86, 48.84, 10, -20])
    lon = np.array([2.35, 2.35, 2.35, 100, 60])
    assert np.median(great_circle_km(lat, lon, *best_single_place(lat, lon))) < 1.2


def test_thousands_of_photos_are_looked_at_evenly() -> None:
    places = draw_places(5000, seed=2)
    many, few = (np.median(great_circle_km(*places.T, *best_single_place(*p.T))) for p in (places, places[::5]))
    assert many == pytest.approx(few, rel=0.05)
