"""A run that is taught: what it learns from, what it leaves, and what its teacher stays out of."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.shared.config import targets
from tasks.shared.config.carried import completed
from tasks.shared.distillation import report
from tasks.shared.errors import UserError
from tasks.shared.records.checkpoint import KEY, Checkpoint, load_checkpoint
from tasks.shared.training import train as engine
from tasks.shared.training.module import TrainingModule
from tasks.shared.training.score import score_checkpoint
from tasks.shared.training.settings import run_of
from tasks.shared.training.train import train
from tests.tasks.classification.conftest import COLORS, write_folders
from tests.tasks.shared.distillation.pupils import (
    CALLS,
    HOME,
    LOSSES,
    OWN_TARGETS,
    make_teacher,
    taught_config,
)

pytestmark = pytest.mark.usefixtures("own_targets")
TRAIN, VAL, BATCH = 12, 6, 4


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "TIMED", 3)
    monkeypatch.setattr(report, "WARM_UP", 0)


def run(
    config: dict[str, Any], output: Path, monkeypatch: pytest.MonkeyPatch, resume: Checkpoint | None = None
) -> tuple[dict[str, float], list[int], list[float]]:
    """Metrics, the images of each call of the teacher until training ended, and the loss of each step."""
    calls: list[int] = []
    score = engine.score_checkpoint

    def scored(*arguments: Any) -> dict[str, float]:
        calls.extend(CALLS)
        return score(*arguments)

    CALLS.clear()
    LOSSES.clear()
    monkeypatch.setattr(engine, "score_checkpoint", scored)
    metrics = train(run_of(config), output, resume)
    monkeypatch.setattr(engine, "score_checkpoint", score)
    return metrics, calls, list(LOSSES)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_losses_are_the_same_with_and_without_a_cache(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    places = (tmp_path / "cache", f"data.workers={workers}")
    kept, calls, losses = run(taught_config(folders, *places), tmp_path / "kept", monkeypatch)
    assert calls == [BATCH, BATCH, BATCH, VAL], "in the second epoch none"
    assert len(losses) == 2 * TRAIN // BATCH and len(set(losses)) == len(losses)
    asked, without, same = run(taught_config(folders, *places, cache=False), tmp_path / "asked", monkeypatch)
    assert without == 2 * [BATCH, BATCH, BATCH, VAL]
    assert same == losses and asked == kept
    again, none, same = run(taught_config(folders, *places), tmp_path / "again", monkeypatch)
    assert none == [] and same == losses and again == kept, "a later run asks the teacher nothing at all"


def test_labels_do_not_reach_the_loss(folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same images in the same order, under other labels."""
    classes = sorted(COLORS)
    other = tmp_path / "other"
    for index, name in enumerate(classes):
        renamed = {"train": classes[-1 - index], "val": name}
        for split, new in renamed.items():
            (other / split / new).mkdir(parents=True)
            for file in (folders / split / name).iterdir():
                (other / split / new / f"{index}{file.name}").write_bytes(file.read_bytes())
    config = taught_config(folders, tmp_path / "cache", "trainer.max_epochs=1")
    first = run(config, tmp_path / "a", monkeypatch)[2]
    order = {"root": str(other)}

    def in_the_same_order(data: Any) -> None:
        names = sorted(data.images["train"].names, key=lambda name: name.split(b"/")[1])
        data.images["train"].names[:] = names

    build = engine.build_data

    def reordered(*config: Any) -> Any:
        data = build(*config)
        in_the_same_order(data)
        return data

    monkeypatch.setattr(engine, "build_data", reordered)
    second = run(config | {"data": config["data"] | order}, tmp_path / "b", monkeypatch)[2]
    assert first == second


def test_the_teacher_is_in_no_checkpoint_and_no_optimizer(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules: list[TrainingModule] = []
    fit = engine.pl.Trainer.fit

    def watched(trainer: Any, module: TrainingModule, **options: Any) -> None:
        modules.append(module)
        fit(trainer, module, **options)

    monkeypatch.setattr(engine.pl.Trainer, "fit", watched)
    config = taught_config(folders, tmp_path / "cache", "trainer.ema_decay=0.9", order=[5, 4, 3, 2, 1, 0])
    metrics = train(run_of(config), tmp_path / "run")
    (module,) = modules
    assert module.teacher_targets.keys() == {"train", "val"}
    students = {id(p) for p in module.task.parameters()}
    assert {id(p) for g in module.optimizers().param_groups for p in g["params"]} == students  # type: ignore[union-attr]
    for name in ("last", "best"):
        content = torch.load(tmp_path / f"run/checkpoints/{name}.ckpt", weights_only=True)
        assert all(key.startswith(("task.", "ema.")) for key in content["state_dict"])
        assert content["state_dict"].keys() == module.state_dict().keys()
        assert content[KEY]["config"]["teacher"] == config["teacher"] | {"stage": None}, "as plain data"
    assert load_checkpoint(tmp_path / "run/checkpoints/last.ckpt").info["class_ids"] == sorted(COLORS)
    assert metrics.keys() == {"level", "teacher_level", "closeness"} and metrics["closeness"] < 0
    assert json.loads((tmp_path / "run/metrics.json").read_text()) == metrics


def test_a_student_starts_like_any_other(folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a teacher draws from torch's generator while it is built."""
    config = taught_config(folders, tmp_path / "cache")
    starts: list[dict[str, torch.Tensor]] = []

    def keep(task: torch.nn.Module, *_: Any) -> None:
        starts.append(task.state_dict())
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "freeze", keep)
    for draws in (7, 100):
        monkeypatch.setattr(
            "tests.tasks.shared.distillation.pupils.torch.rand", lambda *_, n=draws: torch.empty(n).uniform_()
        )
        with pytest.raises(KeyboardInterrupt):
            train(run_of(config), tmp_path / "run")
    assert all(torch.equal(a, b) for a, b in zip(starts[0].values(), starts[1].values(), strict=True))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run's folder and its config; its teacher is a file beside it."""
    place = tmp_path_factory.mktemp("taught")
    for seed, (split, count) in enumerate((("train", 4), ("val", 2))):
        write_folders(place / "set", split, dict.fromkeys(COLORS, count), seed=seed)
    (place / "teacher.txt").touch()
    config = taught_config(place / "set", place / "cache", path=str(place / "teacher.txt"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(targets, "declared_targets", lambda node: OWN_TARGETS)
        patch.setattr(report, "TIMED", 3)
        train(run_of(config), place / "run")
    return place / "run", config


@pytest.mark.parametrize("cache", [True, False])
def test_a_later_score_is_the_final_one_to_the_last_digit(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path, cache: bool
) -> None:
    run, _ = finished
    config = load_checkpoint(run / "checkpoints/best.ckpt").carried
    config["teacher"] |= {"cache": cache, "cache_folder": str(tmp_path)}
    score_checkpoint(run / "checkpoints/best.ckpt", run_of(config), tmp_path / "eval")
    assert (tmp_path / "eval/metrics.json").read_text() == (run / "metrics.json").read_text()


def test_a_score_without_the_teacher_leaves_its_figures_out(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, config = finished
    gone = config | {"teacher": config["teacher"] | {"path": str(tmp_path / "gone")}}
    metrics = score_checkpoint(run / "checkpoints/best.ckpt", run_of(gone), tmp_path / "eval")
    assert metrics == {"level": json.loads((run / "metrics.json").read_text())["level"]}
    assert "gone: no such file or run" in caplog.text
    before_teachers = run_of(completed({key: value for key, value in config.items() if key != "teacher"}))
    assert score_checkpoint(run / "checkpoints/best.ckpt", before_teachers, tmp_path / "old") == metrics


def test_the_best_checkpoint_is_the_closest(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """By a metric that is negative, and not the first of the task's curves: that one is never given."""
    run, config = finished
    best = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
    last = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    scores = {
        name: score_checkpoint(run / f"checkpoints/{name}.ckpt", run_of(config), tmp_path / name)["closeness"]
        for name in ("best", "last")
    }
    assert scores["best"] >= scores["last"]
    (state,) = [state for name, state in last["callbacks"].items() if "Checkpoints" in name]
    assert state["best"] == pytest.approx(scores["best"], rel=1e-4)
    assert best["epoch"] <= last["epoch"]


def test_a_run_that_goes_on_equals_one_that_was_never_stopped(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(taught_config(folders, tmp_path / "cache"), tmp_path / "whole", monkeypatch)
    config = taught_config(folders, tmp_path / "other")
    end = TrainingModule.on_train_epoch_start

    def stopped(module: TrainingModule) -> None:
        if module.current_epoch == 1:
            raise RuntimeError("stopped")
        end(module)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingModule, "on_train_epoch_start", stopped)
        with pytest.raises(RuntimeError, match="stopped"):
            train(run_of(config), tmp_path / "cut")
    last = load_checkpoint(tmp_path / "cut/checkpoints/last.ckpt")
    metrics, calls, losses = run(config, tmp_path / "cut", monkeypatch, last)
    assert calls == [], "what was cached stays so"
    assert losses == whole[2][TRAIN // BATCH :] and metrics == whole[0]


@pytest.mark.parametrize(
    ("settings", "teacher", "told"),
    [
        ([], {"order": [0, 1]}, "the teacher has 2 outputs, the student 6"),
        (
            ["task._target_=tasks.shared.classification.Classifier"],
            {},
            r"teacher colours: this task learns from labels alone",
        ),
        ([], {"_target_": f"{HOME}.missing"}, r"teacher\._target_='.*missing' does not exist"),
        ([], {"cache_folder": "FILE/cache"}, r"teacher\.cache_folder=.*is a file"),
    ],
)
def test_what_is_wrong_is_found_before_anything_is_written(
    folders: Path, tmp_path: Path, settings: list[str], teacher: dict[str, Any], told: str
) -> None:
    (tmp_path / "file").touch()
    if "cache_folder" in teacher:
        teacher = {"cache_folder": str(tmp_path / "file/cache")}
    config = taught_config(folders, tmp_path / "cache", *settings, **teacher)
    with pytest.raises(UserError, match=told):
        train(run_of(config), tmp_path / "run")
    assert not (tmp_path / "run").exists() and not (tmp_path / "cache").exists()


def test_the_report_puts_both_side_by_side(finished: tuple[Path, dict[str, Any]]) -> None:
    run, _ = finished
    metrics = json.loads((run / "metrics.json").read_text())
    lines = (run / report.FILE).read_text().splitlines()
    assert "Teacher: colours" in lines
    rows = {
        cells[1]: cells[2:5] for cells in ([cell.strip() for cell in line.split("|")] for line in lines if "|" in line)
    }
    level, theirs = metrics["level"], metrics["teacher_level"]
    assert rows["level"] == [f"{theirs:.4f}", f"{level:.4f}", f"{level / theirs:.4f}"]
    assert rows["closeness"] == ["", f"{metrics['closeness']:.4f}", ""]
    assert rows["million mult-adds"][0] == "4.0000" and rows["million parameters"][0] == "0.0020"
    # 0.25 MobileNet-224 takes 41.03 million, 0.256 of them in its 1000 outputs; at 32 pixels a 49th, and six outputs.
    assert float(rows["million mult-adds"][1]) == pytest.approx((41.03 - 0.256) / 49 + 6 * 256e-6, abs=3e-4)
    assert all(float(cell.replace(",", "")) > 0 for cell in rows["images per second"])
    assert not any("second" in name for name in metrics), "a timing is no figure of the run"


def test_figures_of_both_come_first_and_those_of_classes_last() -> None:
    metrics = {"AP/a": 1.0, "own": 2.0, "both": 3.0, "teacher_both": 6.0, "teacher_AP/a": 0.5}
    metrics |= {"threshold": 0.5, "teacher_threshold": 0.8}
    rows = report.figures(metrics, ("own", "both"))
    assert [row[:3] for row in rows] == [
        ("both", 6.0, 3.0), ("threshold", 0.8, 0.5), ("own", None, 2.0), ("AP/a", 0.5, 1.0)
    ]  # fmt: skip
    table = report.markdown("t", [*rows, report.Row("zero", 0.0, 1.0), report.Row("big", None, 12345.678)], "note")
    assert "| both | 6.0000 | 3.0000 | 0.5000 |" in table
    assert "| threshold | 0.8000 | 0.5000 |  |" in table, "twice a threshold is neither better nor worse"
    assert "| zero | 0.0000 | 1.0000 |  |" in table and "| big |  | 12,345.7 |  |" in table


def test_speed_counts_images_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that takes 1, 2, 4 and 8 s for its batches of five: the median of three, and no fourth."""
    now, shapes, durations = [0.0], [], iter([1.0, 4.0, 2.0, 8.0])
    monkeypatch.setattr(report.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(report, "WARM_UP", 0)

    def answer(images: torch.Tensor) -> None:
        shapes.append((tuple(images.shape), images.dtype))
        now[0] += next(durations)

    assert report.images_per_second(answer, (6, 4), 5, torch.device("cpu")) == 5 / 2
    assert shapes == [((5, 3, 6, 4), torch.uint8)] * 3
    assert make_teacher().size == (20, 24)
