"""Where a run that goes on may write besides its own folder, and the command that it prints."""

import ast
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.shared.commands.stage_paths import check_outputs, resume_command
from tasks.shared.config.compose import compose_config, parse_overrides, plain, quote_paths
from tasks.shared.config.consent import hear
from tasks.shared.config.nodes import Node
from tasks.shared.config.paths import absolute
from tasks.shared.config.stage_configs import check_names, with_stages
from tasks.shared.distillation.exported import exported_teacher
from tasks.shared.distillation.settings import TeacherConfig, TeacherKeys
from tasks.shared.errors import UserError
from tasks.shared.files.folders import claimed
from tasks.shared.processes.failures import resume_hint
from tasks.shared.training.settings import RunConfig, run_of
from tasks.shared.training.stages import _alone
from tests.runs import composed_run


def run_in(folder: Path, *arguments: str) -> RunConfig:
    """The config that a run in `folder` has."""
    overrides = quote_paths(list(arguments))
    job = plain(compose_config("train", overrides))
    del job["output"], job["resume"]
    return run_of(absolute(with_stages(job, overrides, folder)))


def kept_in(config: RunConfig, name: str, output: str) -> RunConfig:
    """With a stage of this name that is kept there."""
    return replace(config, stages={name: replace(config, output=output)})


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["../../x", "a/b", "", ".", "..", "a b", "é", "a\n", "stages.x", "/etc"])
def test_names_that_are_no_folders_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="letters, digits, - and _"):
        check_names({"good-One_2": {}, name: {}})


def test_a_bad_name_is_refused_on_the_command_line_too(place: Path) -> None:
    with pytest.raises(UserError, match="letters, digits"):
        run_in(place / "run", """stages={../up: ["seed=1"]}""")


@pytest.mark.parametrize("task", ["facenet", "face_attributes"])
def test_what_the_recipe_keeps_needs_no_word(task: str, place: Path) -> None:
    config = run_in(place / "run", f"task={task}")
    kept = Path(str(config.stages["teacher"].output))
    assert kept.is_absolute() and kept.parent == Path(config.root + "_teachers")
    check_outputs(config, place / "run", {})
    moved = kept_in(config, "teacher", f"{kept.parent}/../up/01234567")
    with pytest.raises(UserError, match="outside of the run"):
        check_outputs(moved, place / "run", {})


def test_a_root_of_the_file_allows_nothing_and_one_of_the_command_line_does(place: Path) -> None:
    config = run_in(place / "run", "task=facenet", "data.root=else where/faces")
    with pytest.raises(UserError) as caught:
        check_outputs(config, place / "run", {})
    assert f"'data.root={place}/else where/faces'" in str(caught.value)
    assert resume_command(place / "run", config).endswith(f" 'data.root={place}/else where/faces'")
    check_outputs(config, place / "run", {"data.root": "else where/faces"})
    with pytest.raises(UserError):
        check_outputs(config, place / "run", {"data.root": "other"})


def test_a_place_of_the_command_line_has_to_be_given_again(place: Path) -> None:
    own = """stages={first: ["teacher=none", "output=kept"]}"""
    config = run_in(place / "run", "task=classification", "data=image_folder", "data.root=set", own)
    with pytest.raises(UserError, match=rf"go on with: python .* stages\.first\.output={place}/kept$"):
        check_outputs(config, place / "run", {})
    check_outputs(config, place / "run", {"stages.first.output": "kept"})
    with pytest.raises(UserError):
        check_outputs(config, place / "run", {"stages.other.output": "kept"})
    command = resume_command(place / "run", config)
    assert command == f"python tools/train.py resume={place}/run stages.first.output={place}/kept"
    kept = Path(str(config.stages["first"].output))
    kept.mkdir(parents=True)
    (kept / "metrics.json").touch()
    check_outputs(config, place / "run", {})  # made: nothing is written there any more
    assert resume_command(place / "run", config) == f"python tools/train.py resume={place}/run"


def test_below_the_run_is_its_own(place: Path) -> None:
    config = composed_run("task=ssd", "data=coco", "data.root=x")
    check_outputs(kept_in(config, "x", f"{place}/run/stages/x"), place / "run", {})
    for output in (f"{place}/run/../y", f"{place}/runs", str(place)):
        with pytest.raises(UserError):
            check_outputs(kept_in(config, "x", output), place / "run", {})


@pytest.mark.parametrize("choice", ["no such", "coco_sample,x", "[a]", None, 3])
def test_choices_of_a_stranger_are_no_settings(choice: Any, place: Path) -> None:
    config = composed_run("task=ssd")
    assert config.data is not None
    task, data = replace(config.task, name=choice), replace(config.data, name=choice)
    config = kept_in(replace(config, task=task, data=data), "x", "/y")
    with pytest.raises(UserError, match=r"stages\.x\.output=/"):
        check_outputs(config, place / "run", {})


def test_drawn_data_are_named_until_there_is_a_checkpoint(place: Path) -> None:
    config = run_in(place / "run", "task=ssd")
    root = f"{place}/data/coco_sample"
    assert resume_command(place / "run", config) == f"python tools/train.py resume={place}/run data.root={root}"
    (place / "run/checkpoints").mkdir(parents=True)
    (place / "run/checkpoints/last.ckpt").touch()
    assert resume_command(place / "run", config) == f"python tools/train.py resume={place}/run"


HOSTILE = "x'; touch pwned; $(touch pwned) `touch pwned` \" \\ \n& touch pwned"


@pytest.mark.parametrize("command", ["resume", "hint", "exported", "taken"])
def test_names_of_strangers_are_words_of_printed_commands(command: str, place: Path) -> None:
    """Folders and files come with names that a shell would run; what is printed is made to be copied."""
    folder = place / HOSTILE
    folder.mkdir()
    (folder / "config.yaml").touch()
    if command == "resume":
        told = resume_command(folder, composed_run("task=ssd", f"data.root={HOSTILE}"))
    elif command == "hint":
        told = resume_hint(folder).partition("go on with: ")[2]
    elif command == "exported":
        with pytest.raises(UserError) as caught:
            exported_teacher(f"{folder}.pt2")
        told = str(caught.value).partition(", by: ")[2]
    else:
        with pytest.raises(UserError) as caught, claimed(folder):
            pass
        told = str(caught.value).partition("the run in it: ")[2]
    (place / "echo").write_text("import sys, ast; print(ascii(sys.argv[1:]))")
    said = subprocess.run(f"{sys.executable} echo {told}", shell=True, cwd=place, capture_output=True, text=True)
    words = ast.literal_eval(said.stdout)
    assert not list(place.rglob("pwned")) and not said.stderr
    if command == "exported":
        words = [node.value for node in ast.walk(ast.parse(words[2])) if isinstance(node, ast.Constant)]
    assert any(str(folder) in str(word) for word in words)


def test_what_a_file_alone_says_is_no_word_of_the_command(place: Path) -> None:
    """Who stops a run that came from a stranger, and copies the command, has not asked for the stranger's code."""
    hear(parse_overrides(["resume=run"]), carried=True)
    try:
        teacher = TeacherConfig(Node("teacher", "subprocess.getoutput", None, {"path": "x"}), TeacherKeys())
        config = composed_run("task=ssd", "data.root=/home")
        config = replace(config, task=replace(config.task, target="os.system"), teacher=teacher)
        assert resume_command(place / "run", config) == f"python tools/train.py resume={place}/run"
        hear(parse_overrides(["resume=run", "task=ssd", "task._target_=my.Own", "data.root=here"]), carried=True)
        config = replace(config, task=replace(config.task, target="my.Own"))
        assert resume_command(place / "run", config).endswith("run data.root=/home task._target_=my.Own")
    finally:
        hear([], carried=False)


def test_links_in_the_folder_that_is_given_lead_nowhere_else(place: Path) -> None:
    """Data that came from a stranger may hold a link, and the stranger's run a stage that is kept below it."""
    (place / "elsewhere").mkdir()
    (place / "set").mkdir()
    (place / "set/kept").symlink_to(place / "elsewhere")
    own = """stages={first: ["teacher=none", "output=set/kept"]}"""
    config = run_in(place / "run", "task=classification", "data=image_folder", "data.root=set", own)
    with pytest.raises(UserError, match=rf"outside of the run.* stages\.first\.output={place}/set/kept"):
        check_outputs(config, place / "run", {"data.root": "set"})
    check_outputs(config, place / "run", {"data.root": "set", "stages.first.output": "set/kept"})
    (place / "linked").symlink_to(place / "set")
    (place / "set/kept").unlink()
    check_outputs(kept_in(config, "first", f"{place}/linked/kept/01234567"), place / "run", {"data.root": "linked"})


def test_a_lock_is_no_link(place: Path) -> None:
    (place / "precious").write_text("words")
    (place / "01234567.lock").symlink_to(place / "precious")
    with (
        pytest.raises(UserError, match=r"stages\.first: .*01234567\.lock is a symbolic link"),
        _alone("first", place / "01234567"),
    ):
        pass
    assert (place / "precious").read_text() == "words"
