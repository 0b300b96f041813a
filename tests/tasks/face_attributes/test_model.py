"""The attribute network: its loss by hand, its figures against a loop, what it writes and refuses."""

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from PIL import Image
from sklearn.metrics import average_precision_score

from backbone import MobileNetV1, count_cost
from tasks.face_attributes.evaluate import AttributeEvaluator
from tasks.face_attributes.model import Attributes, FaceAttributes
from tasks.shared.errors import UserError
from tasks.shared.faces.dataset import FaceData, FaceInfo

NAMES = ["Smiling", "Hat, é", "Bald", "$x$"]


class Teacher:
    name, num_outputs = "run big", 4
    class_names: list[str] | None = NAMES


class Labelled(FaceData):
    """Data of which nothing but the names is known."""

    def __init__(self, names: list[str] | None):
        self.info = {} if names is None else {"attributes": names}


def make_task(count: int = 4, **options: Any) -> FaceAttributes:
    return FaceAttributes(MobileNetV1(0.25), count, 64, **options)


def draw_images(count: int = 50, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits of a student and of a teacher (N, 4), and labels; no image has the third attribute."""
    rng = np.random.default_rng(seed)
    truth = rng.random((count, 4)) < [0.5, 0.2, 0.0, 0.9]
    teacher = (rng.normal(0, 1, (count, 4)) + 2 * truth - 1).astype(np.float32)
    return (teacher + rng.normal(0, 0.7, (count, 4))).astype(np.float32).round(1), teacher, truth


def feed(
    evaluator: AttributeEvaluator,
    ours: np.ndarray,
    teacher: np.ndarray | None,
    truth: np.ndarray | None,
    indices: range = range(1000),
) -> None:
    targets: list[Any] = [{"file": f"{k:03d}.jpg", "index": k} for k in indices[: len(ours)]]
    for k, target in enumerate(targets):
        if teacher is not None:
            target["teacher"] = torch.from_numpy(teacher[k])
        if truth is not None:
            target["attributes"] = torch.from_numpy(truth[k]).float()
    results = [Attributes(row) for row in torch.from_numpy(ours)]
    evaluator.update(results[:7], targets[:7])
    evaluator.update(results[7:], targets[7:])


def test_the_loss_against_a_loop() -> None:
    """Cross-entropy against the teacher's probabilities, or labels, a mean over attributes and images (Sec. 4.5)."""
    ours, teacher, truth = draw_images(5)
    shares_of = {"teacher": 1 / (1 + np.exp(-teacher.astype(np.float64))), "attributes": truth.astype(float)}
    for key, wanted in shares_of.items():
        values = torch.from_numpy(teacher if key == "teacher" else truth.astype(np.float32))
        total = 0.0
        for row, shares in zip(ours.tolist(), wanted.tolist(), strict=True):
            for x, p in zip(row, shares, strict=True):
                total -= p * -math.log1p(math.exp(-x)) + (1 - p) * -math.log1p(math.exp(x))
        targets: list[Any] = [{key: row} for row in values]
        loss = make_task().loss(torch.from_numpy(ours), targets)
        assert loss.keys() == {"cross_entropy"} and loss["cross_entropy"].item() == pytest.approx(total / 20, rel=1e-5)


def test_a_teacher_wins_over_labels() -> None:
    """Should both ever reach the loss; that labels don't is tested with a whole run."""
    ours, teacher, truth = draw_images(5)
    pairs = zip(torch.from_numpy(teacher), torch.from_numpy(truth).float(), strict=True)
    rows: list[Any] = [{"teacher": logits, "attributes": labels} for logits, labels in pairs]
    alone: list[Any] = [{"teacher": row["teacher"]} for row in rows]
    outputs = torch.from_numpy(ours)
    assert torch.equal(*(make_task().loss(outputs, each)["cross_entropy"] for each in (rows, alone)))


def test_figures_against_scikit_learn() -> None:
    ours, teacher, truth = draw_images()
    evaluator = AttributeEvaluator(NAMES)
    assert evaluator.compute() == {}
    feed(evaluator, ours, teacher, truth)
    figures = evaluator.compute()
    for name, scores in (("", ours), ("teacher_", teacher)):
        precisions = [average_precision_score(truth[:, k], scores[:, k]) for k in (0, 1, 3)]
        assert figures[f"{name}mean_ap"] == pytest.approx(np.mean(precisions))
        assert figures[f"{name}accuracy"] == pytest.approx(((scores > 0) == truth).mean())
    assert figures["attributes_left_out"] == 1
    assert figures["share_of_teacher"] == pytest.approx(figures["mean_ap"] / figures["teacher_mean_ap"])
    assert figures["agreement"] == pytest.approx(((ours > 0) == (teacher > 0)).mean())
    assert figures["emulation"] > 0
    evaluator.reset()
    assert evaluator.compute() == {}


def test_a_teacher_is_enough() -> None:
    ours, teacher, _ = draw_images()
    evaluator = AttributeEvaluator(NAMES)
    feed(evaluator, ours, teacher, None)
    assert evaluator.compute().keys() == {"agreement", "emulation"}


def test_nobody_has_any_attribute() -> None:
    ours, _, truth = draw_images()
    evaluator = AttributeEvaluator(NAMES)
    feed(evaluator, ours, None, np.zeros_like(truth))
    assert evaluator.compute().keys() == {"accuracy", "attributes_left_out"}


@pytest.mark.parametrize("taught", [True, False])
@pytest.mark.parametrize("labelled", [True, False])
def test_what_is_written_down(taught: bool, labelled: bool, tmp_path: Path) -> None:
    ours, teacher, truth = draw_images()
    evaluator = AttributeEvaluator(NAMES)
    feed(evaluator, ours, teacher if taught else None, truth if labelled else None)
    evaluator.save(tmp_path)
    rows = list(csv.DictReader((tmp_path / "attributes.csv").read_text().splitlines()))
    assert [row["attribute"] for row in rows] == NAMES
    if labelled:
        assert [int(row["positives"]) for row in rows] == truth.sum(0).tolist()
        assert rows[2]["ap"] == "" and float(rows[0]["ap"]) == pytest.approx(
            average_precision_score(truth[:, 0], ours[:, 0]), abs=1e-4
        )
    assert ("teacher_ap" in rows[0]) == (taught and labelled) and ("agreement" in rows[0]) == taught
    assert (tmp_path / "attributes.png").exists() == labelled
    told = list(csv.DictReader((tmp_path / "predictions.csv").read_text().splitlines()))
    assert len(told) == 50 and float(told[9]["Hat, é"]) == pytest.approx(1 / (1 + math.exp(-ours[9, 1])), abs=1e-4)


def test_processes_bring_their_parts_together(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, teacher, truth = draw_images()
    whole, halves = AttributeEvaluator(NAMES), [AttributeEvaluator(NAMES), AttributeEvaluator(NAMES)]
    feed(whole, ours, teacher, truth)
    for rank, half in enumerate(halves):
        feed(half, ours[rank::2], teacher[rank::2], truth[rank::2], range(rank, 1000, 2))

    def gather(parts: list, _: object) -> None:
        parts[:] = [(h.indices, h.files, h.logits, h.truth, h.teacher) for h in halves]

    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_gather_object", gather)
    halves[1].gather()
    assert halves[1].compute() == whole.compute() and halves[1].files == whole.files


def test_names_come_from_data_or_teacher() -> None:
    task, teacher = make_task(), Teacher()
    assert task.evaluator(Labelled(NAMES), {"attributes": NAMES}).names == NAMES
    assert task.evaluator(Labelled(None), {"attributes": NAMES}).names == NAMES
    assert task.evaluator(Labelled(NAMES), {}).names == NAMES, "of a student whose teacher knew none"
    assert task.evaluator(Labelled(None), {}).names[3] == "attribute 3"
    assert task.info_of_teacher(teacher) == {"attributes": NAMES}  # type: ignore[arg-type]
    teacher.class_names = None
    assert task.info_of_teacher(teacher) == {}  # type: ignore[arg-type]


def test_what_a_network_learns_from() -> None:
    """People are no attributes."""
    labelled, bare = Labelled(NAMES), Labelled(None)
    assert [FaceAttributes.count_outputs(labelled, taught) for taught in (None, 4, 7)] == [4, 4, 4]
    assert [FaceAttributes.count_outputs(bare, taught) for taught in (None, 7)] == [0, 7]


def test_other_attributes_are_refused() -> None:
    task = make_task()
    info: FaceInfo = {"attributes": NAMES}
    with pytest.raises(UserError, match=r"4 of them, not 4, and attribute 2 is Bald, not Hat, é; expected the same"):
        task.evaluator(Labelled([NAMES[0], *NAMES[2:], NAMES[1]]), info)
    with pytest.raises(UserError, match="3 of them, not 4; expected the same in the same order"):
        task.evaluator(Labelled(NAMES[:3]), info)
    with pytest.raises(UserError, match="the data has 3 attributes, but the network tells 4"):
        task.evaluator(Labelled(NAMES[:3]), {})


def test_what_it_refuses() -> None:
    make_task().check_teacher(Teacher(), {"attributes": NAMES})  # type: ignore[arg-type]
    make_task().check_teacher(Teacher(), {})  # type: ignore[arg-type]
    with pytest.raises(UserError, match="teacher run big: tells 4 attributes, the student 5"):
        make_task(5).check_teacher(Teacher(), {})  # type: ignore[arg-type]
    turned = [NAMES[0], NAMES[2], NAMES[1], NAMES[3]]
    with pytest.raises(UserError, match=f"teacher run big: its attribute 2 is {NAMES[1]}, not {NAMES[2]}; expected"):
        make_task().check_teacher(Teacher(), {"attributes": turned})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="there are no attributes: expected data with labels"):
        make_task(0)
    assert make_task(1).head.out_features == 1, "one attribute is enough"
    with pytest.raises(ValueError, match=r"task\.dropout=-1"):
        make_task(dropout=-1)


def test_answers_and_drawings() -> None:
    task, photo = make_task().eval(), Image.new("RGB", (90, 110), (200, 9, 9))
    outputs = torch.tensor([[2.0, -2.0, 0.0, 9.0]])
    (result,) = task.predict(outputs, torch.tensor([[110, 90]]))
    told = task.describe(result, {"attributes": NAMES})
    assert list(told) == NAMES and list(told.values()) == pytest.approx(outputs.sigmoid()[0].tolist())
    plain = task.draw(photo, result, {"attributes": NAMES})
    target: Any = {"attributes": torch.tensor([1.0, 1.0, 0.0, 1.0])}
    truth = task.draw(photo, result, {"attributes": NAMES}, target)
    assert plain.size == truth.size and plain != truth and plain.width > 300
    forty = make_task(40)
    many = forty.draw(photo, Attributes(torch.zeros(40)), {})
    assert many.width > 2 * 230
    for answer in (task.describe, lambda *more: task.draw(photo, *more)):
        with pytest.raises(UserError, match=r"info\.attributes of the checkpoint has 2 names; expected 4"):
            answer(result, {"attributes": NAMES[:2]})


@pytest.mark.parametrize(
    ("alpha", "resolution", "mult_adds", "millions"),
    [(1.0, 224, 567.7, 3.19), (0.5, 224, 149.0, 0.81), (0.25, 224, 40.8, 0.21), (1.0, 128, 185.4, 3.19),
     (0.5, 128, 48.6, 0.81), (0.25, 128, 13.3, 0.21)],
)  # fmt: skip
def test_costs_of_table_12(alpha: float, resolution: int, mult_adds: float, millions: float) -> None:
    """Its bodies; the printed 45 and 15 of width 0.25 fit a first layer of 16 channels (docs/face_attributes.md)."""
    with torch.device("meta"):
        cost = count_cost(FaceAttributes(MobileNetV1(alpha), 40, resolution), resolution)
    head = 40 * int(1024 * alpha)
    assert cost.layers[-1].weights == head
    assert round((cost.mult_adds - head) / 1e6, 1) == mult_adds and round((cost.weights - head) / 1e6, 2) == millions
