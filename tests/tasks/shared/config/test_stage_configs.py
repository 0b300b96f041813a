"""The configs of stages: what reaches them, which are left out, and where those that are kept lie."""

import logging
from pathlib import Path
from typing import Any

import pytest

from tasks.shared.config.compose import compose_config, plain, quote_paths
from tasks.shared.config.stage_configs import stage_folder, with_stages
from tasks.shared.errors import UserError

KEPT = """stages={teacher: ["teacher=none", "backbone.alpha=0.5", "output=kept"]}"""
TAUGHT = ("task=classification", "teacher=run", "teacher.stage=teacher", KEPT)
RUN = Path("runs/one")


def job_of(*arguments: str) -> dict[str, Any]:
    overrides = quote_paths(list(arguments))
    job = plain(compose_config("train", overrides))
    del job["output"], job["resume"]
    return with_stages(job, overrides, RUN)


def kept(*arguments: str) -> dict[str, Any]:
    return job_of(*TAUGHT, *arguments)["stages"]["teacher"]


@pytest.fixture(scope="module")
def usual() -> dict[str, Any]:
    """The stage as it is where the command says nothing."""
    return kept()


def test_a_kept_stage_lies_in_its_output_by_its_config(usual: dict[str, Any]) -> None:
    stage = usual
    place = Path(stage["output"])
    assert place.parent == Path("kept") and len(place.name) == 8 and int(place.name, 16) >= 0
    assert stage["backbone"]["alpha"] == 0.5 and stage["task"]["name"] == "classification"
    assert stage["teacher"]["choice"] == "none" and not stage["stages"] and "resume" not in stage
    assert stage_folder("teacher", stage["output"], RUN) == place
    assert kept() == stage


def test_what_is_said_of_the_student_does_not_reach_it(usual: dict[str, Any]) -> None:
    student = [
        "trainer.max_epochs=3", "backbone.alpha=0.25", "optim=sgd", "optim.lr=0.1", "seed=5", "resolution=64",
        "task.dropout=0.5", "init.method=null", "output=elsewhere", "teacher.cache=false", "freeze.batch_norm=true",
    ]  # fmt: skip
    assert kept(*student) == usual
    assert kept("data=imagenet_sample", "experiment=modern_imagenet") == usual


@pytest.mark.parametrize("device", ["trainer=cpu", "trainer.devices=2", "trainer.precision=32-true", "data.workers=3"])
def test_where_it_is_trained_reaches_it_and_does_not_move_it(device: str, usual: dict[str, Any]) -> None:
    stage = kept(device)
    assert stage != usual and stage["output"] == usual["output"]


@pytest.mark.parametrize("data", ["data.train=7", "data.batch_size=9", "data.root=/else/where, far [1]"])
def test_what_is_said_of_the_data_makes_another(data: str, usual: dict[str, Any]) -> None:
    stage = kept(data)
    key, value = data.split("=")
    assert str(stage["data"][key.removeprefix("data.")]) == value
    assert stage["output"] != usual["output"]


def test_its_data_are_the_runs() -> None:
    stage = kept("data=image_folder", "data.root=/x", "trainer=ddp")
    assert stage["data"]["choice"] == "image_folder" and stage["data"]["root"] == "/x"
    assert stage["trainer"]["strategy"] == "ddp" and stage["trainer"]["devices"] == -1


def test_its_task_is_the_runs_even_if_an_experiment_chose_that() -> None:
    stage = job_of("experiment=table10_1.0_224", """stages={web: ["output=kept"]}""")["stages"]["web"]
    assert stage["task"]["name"] == "dogs" and stage["data"]["choice"] == "dogs_sample"
    assert stage["resolution"] == 96, "its recipe's, not the experiment's"


def test_its_own_settings_win() -> None:
    own = """stages={teacher: ["teacher=none", "output=kept", "trainer.accelerator=cpu", "data.train=5"]}"""
    stage = job_of(*TAUGHT[:-1], own, "trainer.accelerator=gpu", "data.train=7")["stages"]["teacher"]
    assert stage["trainer"]["accelerator"] == "cpu" and stage["data"]["train"] == 5


def test_a_place_with_any_name() -> None:
    own = """stages={teacher: ["teacher=none", "output=a b/(c), d=é"]}"""
    assert Path(job_of(*TAUGHT[:-1], own)["stages"]["teacher"]["output"]).parent == Path("a b/(c), d=é")


def test_other_stages_take_the_commands_settings_as_ever() -> None:
    stages = """stages={first: ["optim.lr=0.5"]}"""
    stage = job_of("task=classification", stages, "trainer.max_epochs=3", "backbone.alpha=0.25")["stages"]["first"]
    assert stage["trainer"]["max_epochs"] == 3 and stage["backbone"]["alpha"] == 0.25 and stage["optim"]["lr"] == 0.5
    assert "output" not in stage and stage_folder("first", None, RUN) == RUN / "stages/first"


def test_the_run_and_other_stages_learn_from_the_teachers_folder() -> None:
    stages = """stages={teacher: ["teacher=none", "output=kept"], taught: ["seed=1"], plain: ["teacher=none"]}"""
    job = job_of(*TAUGHT[:-1], stages)
    place = job["stages"]["teacher"]["output"]
    assert job["teacher"]["path"] == job["stages"]["taught"]["teacher"]["path"] == place
    assert job["teacher"]["stage"] == "teacher"
    assert job["stages"]["plain"]["teacher"] == {"choice": "none"}
    not_kept = job_of(*TAUGHT[:-1], """stages={teacher: ["teacher=none"]}""")
    assert not_kept["teacher"]["path"] == str(RUN / "stages/teacher")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (["teacher=none"], "teacher=none"),
        (["teacher.path=elsewhere"], "teacher.path"),
        (["teacher=onnx", "teacher.path=x.onnx"], "teacher=onnx"),
    ],
)
def test_another_teacher_leaves_the_stage_out(given: list[str], why: str, caplog: pytest.LogCaptureFixture) -> None:
    base = [argument for argument in TAUGHT if argument != "teacher=run"]
    if why != "teacher.path":  # as a recipe has it: whatever was chosen before, it names the stage
        base.remove("teacher.stage=teacher")
    with caplog.at_level(logging.INFO):
        overrides = quote_paths([*base, *given] if why != "teacher.path" else [*TAUGHT, *given])
        job = plain(compose_config("train", overrides))
        job["teacher"]["stage"] = "teacher"
        job = with_stages(job, overrides, RUN)
    assert job["stages"] == {} and job["teacher"]["stage"] is None
    assert f"stages teacher: left out, as {why} is given" in caplog.text
    assert (
        job["teacher"].get("path") == {"teacher=none": None, "teacher.path": "elsewhere", "teacher=onnx": "x.onnx"}[why]
    )


def test_a_run_to_start_from_leaves_out_all_but_the_teacher(caplog: pytest.LogCaptureFixture) -> None:
    stages = """stages={teacher: ["teacher=none", "output=kept"], first: ["seed=1"]}"""
    with caplog.at_level(logging.INFO):
        job = job_of(*TAUGHT[:-1], stages, "init.stage=first", "init.run=RUN")
        none = job_of(*TAUGHT[:-1], stages, "init.stage=first", "init.run=RUN", "teacher.path=OTHER")
    assert list(job["stages"]) == ["teacher"] and job["init"]["stage"] is None
    assert none["stages"] == {} and none["teacher"]["path"] == "OTHER"
    assert "stages first: left out, as init.run is given" in caplog.text


def test_a_stage_that_the_run_starts_from_stays() -> None:
    job = job_of(*TAUGHT, "init.stage=teacher", "teacher.path=OTHER")
    assert list(job["stages"]) == ["teacher"] and job["init"]["stage"] == "teacher"


def test_a_stage_of_null_is_none() -> None:
    assert job_of("task=classification", """stages={a: null, b: ["seed=1"]}""")["stages"].keys() == {"b"}


@pytest.mark.parametrize(
    ("stages", "told"),
    [
        ("stages=null", "teacher.stage=teacher: no such stage before this run; there are none"),
        ("""stages={other: ["teacher=none"]}""", "no such stage before this run; there are other"),
        ("""stages={teacher: ["seed=1"]}""", "no such stage before teacher; there are none. A stage that learns"),
        ("""stages={teacher: ["optim.rl=1", "output=kept"]}""", r"stages\.teacher: unknown key 'optim\.rl'"),
        ("""stages={teacher: ["data=nothing", "output=kept"]}""", r"stages\.teacher: "),
    ],
)
def test_a_bad_teachers_stage_is_named(stages: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        job_of(*TAUGHT[:-1], stages)
