"""The evaluator: all pairs and listed ones, the teacher beside, and what is written down."""

import csv
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch.distributed as dist
import torch.nn.functional as F
from PIL import Image

from tasks.facenet.evaluate import FaceEvaluator
from tests.tasks.facenet.people import People, list_pairs, results_of, targets_of
from tests.tasks.facenet.slow_metrics import slow_accuracy, slow_pairs, slow_val
from tests.tasks.facenet.test_pairs import draw_faces

FAR = 0.05


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def make(far: float = FAR, **options: object) -> FaceEvaluator:
    return FaceEvaluator(far, lambda x: F.normalize(x, dim=1), **options)  # type: ignore[arg-type]


def feed(evaluator: FaceEvaluator, vectors: np.ndarray, targets: list, order: np.ndarray | None = None) -> None:
    places = np.arange(len(vectors)) if order is None else order
    for part in np.array_split(places, 4):
        evaluator.update(results_of(vectors[part]), [targets[k] for k in part])


def test_all_pairs_against_a_slow_loop() -> None:
    vectors, identities = draw_faces(70, 9)
    vectors, teacher = unit(vectors), draw_faces(70, 9, seed=5)[0]
    evaluator = make()
    assert evaluator.compute() == {}
    feed(evaluator, vectors, targets_of(identities, teacher), np.random.default_rng(0).permutation(70))
    figures = evaluator.compute()
    for name, rows in (("", vectors), ("teacher_", unit(teacher))):
        same, different = slow_pairs(rows.tolist(), identities.tolist())
        assert figures[f"{name}val_at_far"] == pytest.approx(slow_val(same, different, FAR), abs=1e-6)
        threshold = figures[f"{name}threshold"]
        assert sum(d < threshold - 1e-6 for d in different) / len(different) <= FAR
        wins = sum((s < d) + 0.5 * (s == d) for s in same for d in different)
        assert figures[f"{name}auc"] == pytest.approx(wins / len(same) / len(different), abs=1e-4)
    assert figures["share_of_teacher"] == figures["val_at_far"] / figures["teacher_val_at_far"]
    cosines = [float(a @ b) for a, b in zip(vectors, unit(teacher), strict=True)]
    assert figures["cosine"] == pytest.approx(np.mean(cosines), abs=1e-6)
    assert figures["squared_difference"] == pytest.approx(np.mean([2 - 2 * c for c in cosines]), abs=1e-5)
    assert figures["far"] == FAR and "accuracy" not in figures


def test_listed_pairs_against_a_slow_loop() -> None:
    vectors, identities = draw_faces(60, 8)
    pairs, folds = list_pairs(identities, 45)
    evaluator = make(pairs=pairs, folds=folds)
    feed(evaluator, vectors, targets_of(identities))
    figures = evaluator.compute()
    distances = [float(np.square(vectors[a] - vectors[b]).sum()) for a, b, _ in pairs]
    one = [bool(s) for *_, s in pairs]
    same = [d for d, s in zip(distances, one, strict=True) if s]
    different = [d for d, s in zip(distances, one, strict=True) if not s]
    assert figures["val_at_far"] == pytest.approx(slow_val(same, different, FAR))
    assert figures["accuracy"] == pytest.approx(np.mean(slow_accuracy(distances, one, folds.tolist())))
    of_all = make(pairs=pairs, folds=folds, all_pairs=True)
    feed(of_all, vectors, targets_of(identities))
    more = of_all.compute()
    assert more["val_at_far"] == pytest.approx(slow_val(*slow_pairs(vectors.tolist(), identities.tolist()), FAR))
    assert more["accuracy"] == figures["accuracy"], "of the listed pairs, whatever VAL is of"


def test_without_identities_there_is_the_teacher_alone(tmp_path: Path) -> None:
    """Unlabelled images: nothing can be said of persons."""
    vectors, teacher = (draw_faces(20, 4, seed=k)[0] for k in (1, 2))
    evaluator = make()
    feed(evaluator, vectors, targets_of(None, teacher))
    assert evaluator.compute().keys() == {"cosine", "squared_difference"}
    evaluator.save(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"embeddings.npz"}


def test_too_few_images_leave_the_figures_out(caplog: pytest.LogCaptureFixture) -> None:
    """As of a validation on a few batches alone: a run is not stopped for it."""
    vectors, identities = draw_faces(60, 8)
    evaluator = make(0.001)
    feed(evaluator, vectors[:20], targets_of(identities[:20]))
    assert evaluator.compute() == {} and "val_at_far is left out" in caplog.text
    evaluator.reset()
    feed(evaluator, vectors, targets_of(identities))
    assert "val_at_far" in evaluator.compute()


def test_listed_pairs_whose_images_are_missing_are_left_out() -> None:
    vectors, identities = draw_faces(60, 8)
    pairs, folds = list_pairs(identities, 45)
    evaluator = make(pairs=pairs, folds=folds)
    targets = targets_of(identities)
    feed(evaluator, vectors[5:], targets[5:])
    kept = (pairs[:, :2] >= 5).all(1)
    again = make(pairs=pairs[kept] - [5, 5, 0], folds=folds[kept])
    feed(again, vectors[5:], targets_of(identities[5:]))
    assert evaluator.compute() == again.compute() and not kept.all()


def test_what_is_written_down(tmp_path: Path) -> None:
    vectors, identities = draw_faces(60, 8)
    teacher = draw_faces(60, 8, seed=3)[0]
    pairs, folds = list_pairs(identities, 45)
    people = People(identities)
    evaluator = make(pairs=pairs, folds=folds, image=people.image)
    feed(evaluator, vectors, targets_of(identities, teacher), np.arange(60)[::-1])
    figures = evaluator.compute()
    evaluator.save(tmp_path)
    with np.load(tmp_path / "embeddings.npz") as saved:
        assert saved["files"].tolist() == [t["file"] for t in targets_of(identities)], "in the order of the images"
        assert np.array_equal(saved["embedding"], vectors)
        assert saved["teacher_embedding"] == pytest.approx(unit(teacher), abs=1e-6)
    rows = list(csv.DictReader((tmp_path / "pairs.csv").read_text().splitlines()))
    assert len(rows) == len(pairs)
    for row, (a, b, one), fold in zip(rows, pairs, folds, strict=True):
        distance = float(np.square(vectors[a] - vectors[b]).sum())
        assert row["first"].startswith(f"people/{a:03d}") and row["second"].startswith(f"people/{b:03d}")
        assert float(row["distance"]) == pytest.approx(distance, abs=1e-5)
        assert (int(row["one_person"]), int(row["fold"])) == (one, fold)
        assert int(row["taken_for_one"]) == (distance < figures["threshold"])
    accepted = [int(row["taken_for_one"]) for row in rows if row["one_person"] == "1"]
    assert np.mean(accepted) == pytest.approx(figures["val_at_far"])
    with Image.open(tmp_path / "roc.png") as image:
        assert image.width > 500
    assert (tmp_path / "mistakes.jpg").exists()


def test_mistakes_are_shown_where_there_are_any(tmp_path: Path) -> None:
    people = np.repeat(np.arange(10), 4)
    perfect = np.eye(10, dtype=np.float32)[people]
    evaluator = make(image=People(people).image)
    feed(evaluator, perfect, targets_of(people))
    assert evaluator.compute()["val_at_far"] == 1.0
    (tmp_path / "mistakes.jpg").write_text("of an earlier evaluation")
    evaluator.save(tmp_path)
    assert not (tmp_path / "mistakes.jpg").exists()
    spoilt = perfect.copy()
    spoilt[0] = spoilt[4] + 0.1
    evaluator.reset()
    feed(evaluator, spoilt, targets_of(people))
    evaluator.save(tmp_path)
    with Image.open(tmp_path / "mistakes.jpg") as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    assert (pixels < 60).any() and pixels.shape[1] > 500


def test_parquet(tmp_path: Path) -> None:
    vectors, identities = draw_faces(40, 6)
    evaluator = make(file_format="parquet")
    feed(evaluator, vectors, targets_of(identities))
    evaluator.save(tmp_path)
    table = pyarrow.parquet.read_table(tmp_path / "embeddings.parquet").to_pydict()
    assert table["file"] == [t["file"] for t in targets_of(identities)]
    assert np.array_equal(np.array(table["embedding"], np.float32), vectors)


def test_processes_bring_their_parts_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under DDP, where each has every other image."""
    vectors, identities = draw_faces(50, 8)
    targets = targets_of(identities, draw_faces(50, 8, seed=3)[0])
    whole, halves = make(), [make(), make()]
    feed(whole, vectors, targets)
    for rank, half in enumerate(halves):
        feed(half, vectors[rank::2], targets[rank::2])

    def gather(parts: list, _: object) -> None:
        parts[:] = [(h.indices, h.files, h.identities, h.vectors, h.teacher) for h in halves]

    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_gather_object", gather)
    halves[0].compute()
    halves[0].gather()
    assert halves[0].compute() == whole.compute()
