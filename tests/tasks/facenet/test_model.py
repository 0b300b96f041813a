"""The embedding network: its losses by hand, what it refuses, two images compared."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from backbone import MobileNetV1, count_cost
from tasks.facenet.compare import compare_two
from tasks.facenet.embeddings import Embedding
from tasks.facenet.margin import MarginLoss
from tasks.facenet.model import FaceNet
from tasks.shared.errors import UserError
from tasks.shared.network.isometric import isometric_init
from tests.tasks.facenet.people import People, list_pairs, write_image


def floats(values: list) -> np.ndarray:
    return np.array(values, np.float32)


class FakeTeacher:
    name, num_outputs = "onnx face.onnx", 128


def make_task(people: int = 0, **options: Any) -> FaceNet:
    return FaceNet(MobileNetV1(0.25), people, 64, **{"width": 4, **options})


def taught(*rows: list[float]) -> list[Any]:
    return [{"index": k, "file": f"{k}.jpg", "teacher": torch.tensor(row)} for k, row in enumerate(rows)]


def test_the_loss_is_the_squared_difference() -> None:
    """Summed over the numbers of an embedding, a mean over the images (Sec. 4.7)."""
    ours = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.6, 0.8, 0.0, 0.0]])
    targets = taught([0.0, 2.0, 0.0, 0.0], [3.0, 4.0, 0.0, 0.0])
    loss = make_task().loss(ours, targets)
    assert loss.keys() == {"squared_difference"}
    assert loss["squared_difference"].item() == pytest.approx((2 + 0) / 2), "the teacher's are brought to length 1"
    raw = make_task(normalise=False).loss(ours, targets)["squared_difference"]
    assert raw.item() == pytest.approx(((1 + 4) + (2.4**2 + 3.2**2)) / 2, rel=1e-6)


def test_embeddings_have_length_one_unless_told_otherwise() -> None:
    images = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    task = make_task().eval()
    isometric_init(task)  # as published it would answer in the last digits alone
    outputs = task(images)
    assert outputs.norm(dim=1).tolist() == pytest.approx([1.0] * 3, abs=1e-5)
    raw = make_task(normalise=False).eval()
    raw.load_state_dict(task.state_dict())
    lengths = raw(images).norm(dim=1, keepdim=True)
    assert torch.allclose(raw(images) / lengths, outputs, atol=1e-6) and (lengths - 1).abs().max() > 0.01


def test_the_margin_loss_by_hand() -> None:
    loss = MarginLoss(3, 2, scale=10.0, margin=0.2)
    with torch.no_grad():
        loss.directions.copy_(torch.tensor([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0]]))
    cosines = [[0.6, 0.8, -0.6], [1.0, 0.0, -1.0]]
    labels, total = [1, 0], 0.0
    for row, label in zip(cosines, labels, strict=True):
        scaled = [10 * (c - 0.2 * (k == label)) for k, c in enumerate(row)]
        total += math.log(sum(math.exp(x) for x in scaled)) - scaled[label]
    embeddings = torch.tensor([[3.0, 4.0], [7.0, 0.0]])
    assert loss(embeddings, torch.tensor(labels)).item() == pytest.approx(total / 2, rel=1e-5)


def test_identities_are_learnt_without_a_teacher() -> None:
    task = make_task(5)
    outputs = task(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8))
    targets: list[Any] = [{"identity": 4}, {"identity": 0}]
    losses = task.loss(outputs, targets)
    assert losses.keys() == {"margin_cross_entropy"}
    losses["margin_cross_entropy"].backward()
    assert all(p.grad is not None for p in task.parameters())


def test_a_student_has_nothing_for_identities() -> None:
    """And what a teacher of our own has for them takes no part in its answers."""
    student, teacher = make_task(0).eval(), make_task(7).eval()
    isometric_init(teacher)
    assert set(teacher.state_dict()) - set(student.state_dict()) == {"identities.directions"}
    student.load_state_dict({k: v for k, v in teacher.state_dict().items() if k != "identities.directions"})
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    before = teacher(images)
    with torch.no_grad():
        teacher.identities.directions.normal_()  # type: ignore[union-attr]
    assert torch.equal(teacher(images), before) and torch.equal(student(images), before)


def test_what_a_network_learns_from() -> None:
    people = People(np.array([0, 3, 1, 2, 3]))
    assert FaceNet.count_outputs(people, None) == 4
    assert FaceNet.count_outputs(people, 128) == 0, "with a teacher no identity is looked at"
    assert FaceNet.count_outputs(People(None), 128) == 0
    with pytest.raises(UserError, match=r"learns from a teacher or from identities.*teacher=\.\.\."):
        FaceNet.count_outputs(People(None), None)


def test_a_teacher_of_another_width() -> None:
    make_task(width=128).check_teacher(FakeTeacher(), {})  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"onnx face\.onnx: its embeddings have 128 numbers, the student's 4; expected "
                                        r"task\.width=128"):  # fmt: skip
        make_task().check_teacher(FakeTeacher(), {})  # type: ignore[arg-type]


def test_a_far_is_refused_before_training() -> None:
    identities = np.repeat(np.arange(30), 3)  # 3,915 pairs of two persons
    with pytest.raises(UserError, match=r"task\.far=0\.0001: .* 3915 pairs of two persons.* at least 10000 such"):
        make_task(far=1e-4).evaluator(People(identities), {})
    make_task(far=1e-3).evaluator(People(identities), {})
    pairs, folds = list_pairs(identities, 80)
    with pytest.raises(UserError, match="80 pairs of two persons"):
        make_task(far=1e-3).evaluator(People(identities, pairs, folds), {})
    make_task(far=1e-3, pairs="all").evaluator(People(identities, pairs, folds), {})
    make_task(far=1e-6).evaluator(People(None), {})  # unlabelled: no FAR is told
    with pytest.raises(UserError, match=r"none of the 3 pairs .* shows one person"):
        make_task(far=0.5).evaluator(People(np.arange(3)), {})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"far": 0.0}, r"task\.far=0\.0; expected above 0 and below 1"),
        ({"far": 1.0}, r"task\.far=1\.0"),
        ({"width": 0}, r"task\.width=0"),
        ({"width": 12.5}, r"task\.width=12\.5"),
        ({"pairs": "official"}, r"task\.pairs='official'; expected one of listed, all"),
        ({"embeddings": "csv"}, r"task\.embeddings='csv'; expected one of npz, parquet"),
        ({"threshold": "high"}, r"task\.threshold='high'"),
        ({"dropout": 1.0}, r"task\.dropout=1\.0"),
        ({"crop": "all"}, r"task\.crop='all'"),
        ({"identities": {"scale": 0.0}}, r"task\.identities\.scale=0\.0"),
        ({"identities": {"margin": 2.0}}, r"task\.identities\.margin=2\.0"),
    ],
)
def test_what_it_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_task(5, **options)


def test_costs_of_table_14() -> None:
    """Its bodies: no head of one linear layer gives the printed figures (docs/facenet.md)."""
    bodies = ((1.0, 160, 289.65), (1.0, 128, 185.38), (0.75, 160, 165.63), (0.75, 128, 106.00))
    for alpha, resolution, millions in bodies:
        with torch.device("meta"):
            cost = count_cost(FaceNet(MobileNetV1(alpha), 0, resolution), resolution)
        head = 128 * int(1024 * alpha)
        assert cost.layers[-1].weights == head and round((cost.mult_adds - head) / 1e6, 2) == millions


def test_two_images(tmp_path: Path) -> None:
    files = write_image(tmp_path / "a é.png", 20), write_image(tmp_path / "b.jpg", 200)
    vectors = floats([[1.0, 0.0], [0.6, 0.8]])  # squared distance 0.8
    for threshold, verdict in ((0.81, True), (0.79, False), (None, None)):
        compare_two(files, vectors, threshold, tmp_path)
        told = json.loads((tmp_path / "comparison.json").read_text())
        assert told["distance"] == pytest.approx(0.8) and told["one_person"] is verdict
        assert told["threshold"] == threshold and told["first"] == str(files[0])
        with Image.open(tmp_path / "comparison.jpg") as image:
            assert image.width > 200


def test_a_folder_is_summarised(tmp_path: Path) -> None:
    task = make_task(threshold=0.5)
    vectors = np.eye(4, dtype=np.float32)[:3]
    results = [task.describe(Embedding(row), {}) for row in torch.from_numpy(vectors)]
    names = ["b/é.jpg", "a.jpg", "c.jpg"]
    answers = [{"file": name, "answer": result} for name, result in zip(names, results, strict=True)]
    task.summarise(names, answers, {"threshold": 0.1}, tmp_path)
    with np.load(tmp_path / "embeddings.npz") as saved:
        assert saved["files"].tolist() == names and np.array_equal(saved["embedding"], vectors)
    assert not (tmp_path / "comparison.json").exists(), "of two images alone"


def test_the_threshold_is_the_users_or_the_runs(tmp_path: Path) -> None:
    files = [write_image(tmp_path / f"{k}.png", 90 * k) for k in range(2)]
    vectors = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    for own, figures, wanted in ((None, {"threshold": 0.9}, True), (0.7, {"threshold": 0.9}, False), (None, {}, None)):
        task = make_task(threshold=own)
        told = [task.describe(Embedding(vector), {}) for vector in vectors]
        answers = [{"file": str(f), "answer": answer} for f, answer in zip(files, told, strict=True)]
        task.summarise(files, answers, figures, tmp_path)
        assert json.loads((tmp_path / "comparison.json").read_text())["one_person"] is wanted


def test_the_drawing_shows_both_embeddings() -> None:
    task, photo = make_task(), Image.new("RGB", (100, 120), (9, 200, 9))
    result = Embedding(torch.tensor([1.0, -1.0, 0.0, 0.5]))
    alone = task.draw(photo, result, {})
    target: Any = {"teacher": torch.tensor([-1.0, 1.0, 0.0, -0.5])}
    beside = task.draw(photo, result, {}, target)
    assert beside.height > alone.height > photo.height
    y = round(256 * 1.2) + 3
    assert alone.getpixel((5, y)) == (255, 0, 0) and alone.getpixel((70, y)) == (0, 0, 255)
    assert alone.getpixel((140, y)) == (255, 255, 255) and beside.getpixel((5, y + 14)) == (0, 0, 255)
