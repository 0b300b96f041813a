"""What a lesson adds to targets, and what the teacher is shown."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tasks.shared.config.nodes import Node
from tasks.shared.distillation.cache import PredictionCache, open_cache
from tasks.shared.distillation.settings import TeacherConfig, TeacherKeys
from tasks.shared.distillation.teacher import Teacher
from tasks.shared.distillation.teacher_targets import TeacherTargets, teach, teacher_if_there, teacher_of, view_of
from tasks.shared.errors import UserError
from tasks.shared.images.crops import center_crop
from tasks.shared.network.build import build_data
from tasks.shared.training.settings import run_of
from tests.tasks.shared.distillation.pupils import CALLS, make_teacher, taught_config


def image(seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 255, (3, 40, 50), np.uint8))


@pytest.fixture
def cache(tmp_path: Path) -> PredictionCache:
    return open_cache(tmp_path / "cache", "colours", {}, 4, 6)


def targets_of(teacher_targets: TeacherTargets, *seeds: int) -> list[Any]:
    return [{"index": seed, "file": f"{seed}.jpg"} | teacher_targets(seed, image(seed)) for seed in seeds]


def test_a_square_view_is_cut_as_for_evaluation() -> None:
    for crop in ("short_side", "inception"):
        assert torch.equal(view_of(image(), (24, 24), crop, 0.8), center_crop(image(), 24, crop, 0.8))


@pytest.mark.parametrize(
    ("crop", "share", "first", "step"),
    # Columns of an image 100 high and 200 wide, as 50 x 80: 160 from column 20 on at a scale of 2; half of them; all.
    [("short_side", 1.0, 20.5, 2.0), ("short_side", 0.5, 60, 1.0), ("inception", 1.0, 0.75, 2.5)],
)
def test_a_view_of_another_shape_shows_the_middle(crop: str, share: float, first: float, step: float) -> None:
    columns = torch.arange(200, dtype=torch.uint8).expand(3, 100, 200)
    view = view_of(columns, (50, 80), crop, share)
    assert view.shape == (3, 50, 80) and view.dtype == torch.uint8
    expected = first + step * torch.arange(80)
    assert (view.float()[0, 25, 2:-2] - expected[2:-2]).abs().max() <= 1.0


def test_an_answer_is_asked_for_once(cache: PredictionCache) -> None:
    teacher_targets = TeacherTargets(make_teacher(), "short_side", 1.0, cache)
    first = targets_of(teacher_targets, 0, 1, 2)
    assert all(target["view"].shape == (3, 20, 24) and target["view"].dtype == np.uint8 for target in first)
    assert all(isinstance(target["view"], np.ndarray) for target in first), "no open file for each image"
    teacher_targets.complete(first)
    assert CALLS == [3]
    mixed = targets_of(teacher_targets, 2, 3, 0)
    assert ["teacher" in target for target in mixed] == [True, False, True]
    teacher_targets.complete(mixed)
    assert CALLS == [3, 1], "of those alone that are not known"
    assert all(target.keys() == {"index", "file", "teacher"} for target in first + mixed)
    assert torch.equal(mixed[0]["teacher"], first[2]["teacher"]) and torch.equal(
        mixed[2]["teacher"], first[0]["teacher"]
    )
    teacher_targets.complete(targets_of(teacher_targets, 0, 1, 2, 3))
    assert CALLS == [3, 1]


def test_answers_are_the_teachers_rounded_with_and_without_a_cache(cache: PredictionCache) -> None:
    teacher = make_teacher()
    views = torch.stack([view_of(image(seed), (20, 24), "short_side", 1.0) for seed in (0, 1)])
    expected = teacher(views).half().float()
    assert not torch.equal(expected, teacher(views))
    for kept in (None, cache, cache):
        teacher_targets = TeacherTargets(teacher, "short_side", 1.0, kept)
        targets = targets_of(teacher_targets, 0, 1)
        teacher_targets.complete(targets, "cpu")
        assert torch.equal(torch.stack([target["teacher"] for target in targets]), expected)
        assert targets[0]["teacher"].dtype == torch.float32


def test_a_image_that_has_changed_is_asked_for_again(cache: PredictionCache) -> None:
    teacher_targets = TeacherTargets(make_teacher(), "short_side", 1.0, cache)
    teacher_targets.complete(targets_of(teacher_targets, 0))
    changed: Any = {"index": 0, "file": "0.jpg"} | teacher_targets(0, image(9))
    assert "view" in changed
    teacher_targets.complete([changed])
    assert "teacher" in teacher_targets(0, image(9)) and "view" in teacher_targets(0, image(0))


def test_a_loader_process_gets_no_teacher(cache: PredictionCache) -> None:
    teacher_targets = TeacherTargets(make_teacher(), "short_side", 1.0, cache)
    copy = pickle.loads(pickle.dumps(teacher_targets))
    assert copy.teacher is None and teacher_targets.teacher is not None
    teacher_targets.complete(targets_of(teacher_targets, 0, 1))
    assert "teacher" in copy(0, image(0)), "it sees what the main process has written since"
    assert np.array_equal(copy(2, image(2))["view"], teacher_targets(2, image(2))["view"])


def test_answers_can_be_learnt_from_after_inference_mode(cache: PredictionCache) -> None:
    teacher_targets = TeacherTargets(make_teacher(), "short_side", 1.0, None)
    targets = targets_of(teacher_targets, 0)
    teacher_targets.complete(targets)
    weight = torch.ones(6, requires_grad=True)
    (weight * targets[0]["teacher"]).sum().backward()
    assert weight.grad is not None


@pytest.mark.parametrize("value", [1e5, -7e4])
def test_an_answer_beyond_float16_names_the_image(value: float) -> None:
    class Loud:
        def to(self, device: torch.device) -> None: ...
        def cost(self) -> None: ...
        def __call__(self, images: Tensor) -> Tensor:
            return images.float().mean((1, 2, 3))[:, None].expand(-1, 2) * 0 + value

    teacher_targets = TeacherTargets(Teacher(Loud(), name="loud", size=(4, 4), content=""), "short_side", 1.0, None)
    with pytest.raises(UserError, match=r"teacher loud: its answer to 3\.jpg is not finite in float16"):
        teacher_targets.complete(targets_of(teacher_targets, 3))


def test_no_targets_are_no_question(cache: PredictionCache) -> None:
    teacher_targets = TeacherTargets(make_teacher(), "short_side", 1.0, cache)
    teacher_targets.complete([])
    assert CALLS == []


@pytest.mark.parametrize("workers", [0, 2])
def test_taught_training_images_have_no_label(folders: Path, tmp_path: Path, workers: int) -> None:
    config = taught_config(folders, tmp_path / "cache", f"data.workers={workers}")
    data = data_of(config)
    before = next(iter(data.train_loader(0)))
    teacher_targets = teach(data, make_teacher(), *taught_by(config))
    for known in (False, True):
        batches = list(data.train_loader(0))
        for batch in batches:
            added = {"teacher"} if known else {"view", "checksum"}
            assert all(target.keys() == {"file", "size", "index"} | added for target in batch.targets)
            teacher_targets["train"].complete(batch.targets)
        assert torch.equal(batches[0].images, before.images), "the student sees what it would without a teacher"
    val = next(iter(data.val_loader()))
    assert all({"label", "class_id", "view"} <= target.keys() for target in val.targets)


def data_of(config: dict[str, Any]) -> Any:
    run = run_of(config)
    return build_data(run.data, run.resolution)


def taught_by(config: dict[str, Any]) -> tuple[TeacherConfig, str | None]:
    run = run_of(config)
    return run.teacher, run.data_name


def folder_of(
    root: Path, place: Path, *settings: str, splits: tuple[str, ...] = ("train",), **teacher: Any
) -> list[str]:
    config = taught_config(root, place, *settings)
    teacher_targets = teach(data_of(config), make_teacher(**teacher), *taught_by(config), splits)
    return [
        str(teacher_targets.cache.folder)
        for teacher_targets in teacher_targets.values()
        if teacher_targets.cache is not None
    ]


@pytest.mark.parametrize(
    ("settings", "teacher"),
    [
        (["task.crop=inception"], {}),
        (["task.crop_share=0.5"], {}),
        ([], {"order": (1, 0, 2, 3, 4, 5)}),
        ([], {"order": (0, 1)}),
        ([], {"size": (24, 24)}),
    ],
)
def test_whatever_changes_an_answer_changes_the_folder(
    folders: Path, tmp_path: Path, settings: list[str], teacher: dict[str, Any]
) -> None:
    kept = folder_of(folders, tmp_path)
    assert folder_of(folders, tmp_path, *settings, **teacher) != kept
    assert folder_of(folders, tmp_path, "resolution=64", "data.batch_size=2", "task.dropout=0.1") == kept


def test_other_images_have_another_folder(folders: Path, tmp_path: Path) -> None:
    train, val = folder_of(folders, tmp_path, splits=("train", "val"))
    assert train != val
    assert folder_of(folders, tmp_path, "data.evaluate_on=train", splits=("val",)) == [train]
    (folders / "train/n01440764/0.jpg").rename(folders / "train/n01440764/9.jpg")
    assert folder_of(folders, tmp_path) not in ([train], [val])


def test_data_without_lessons_is_refused(tmp_path: Path) -> None:
    config = taught_config(tmp_path, tmp_path)
    with pytest.raises(
        UserError, match=r"teacher=colours: data=image_folder cannot be taught; expected images such as"
    ):
        teach(object(), make_teacher(), *taught_by(config))  # type: ignore[arg-type]


@pytest.mark.parametrize("node", [None, {}, {"choice": "none"}, {"choice": "none", "stage": "x", "cache": True}])
def test_no_teacher_is_none(node: dict[str, Any] | None) -> None:
    config = TeacherConfig.read("teacher", node)
    assert teacher_of(config) is None and teacher_if_there(config) is None


def test_the_toolkits_keys_are_kept_from_the_teacher(folders: Path, tmp_path: Path, own_targets: None) -> None:
    config = taught_config(folders, tmp_path, order=[0, 1], stage="x")
    teacher = teacher_of(taught_by(config)[0])
    assert teacher is not None and teacher.num_outputs == 2


def test_a_teacher_that_is_gone_is_told(tmp_path: Path, own_targets: None, caplog: pytest.LogCaptureFixture) -> None:
    config = taught_config(tmp_path, tmp_path, path=str(tmp_path / "gone"))
    assert teacher_if_there(taught_by(config)[0]) is None and "gone: no such file or run; figures" in caplog.text
    assert teacher_if_there(taught_by(taught_config(tmp_path, tmp_path, path=str(tmp_path)))[0]) is not None
    assert teacher_if_there(TeacherConfig(Node("teacher", "tasks.none", "run", {"path": None}), TeacherKeys())) is None


def test_another_crop_than_the_teachers_is_told(
    folders: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config, teacher = taught_config(folders, tmp_path), make_teacher()
    teacher.crop = ("short_side", 0.875)
    teach(data_of(config), teacher, *taught_by(config))
    assert "crop" not in caplog.text
    teacher.crop = ("inception", 1.0)
    teach(data_of(config), teacher, *taught_by(config))
    assert "cut by crop inception, crop_share 1; here it is shown short_side, 0.875" in caplog.text
