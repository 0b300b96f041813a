"""The runs that a command line asks for, and the folder of a run, of all processes that train it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.shared.commands import jobs
from tasks.shared.commands.jobs import RUN_FOLDER, Job, jobs_of, run_folder, run_jobs, split_flags
from tasks.shared.config.compose import parse_overrides
from tasks.shared.errors import UserError
from tasks.shared.training.settings import RunConfig
from tests.runs import composed_run

ONE = Job(["task=ssd"], [], None)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], (False, None, False, [])),
        (["task=ssd", "-m", "seed=1,2"], (True, None, False, ["task=ssd", "seed=1,2"])),
        (["--multirun", "data.root=a b"], (True, None, False, ["data.root=a b"])),
        (["--cfg", "job", "task=ssd", "--resolve", "seed=1"], (False, "job", True, ["task=ssd", "seed=1"])),
        (["~data", "-c", "job"], (False, "job", False, ["~data"])),
    ],
)
def test_flags_and_overrides_in_any_order(
    arguments: list[str], expected: tuple[bool, str | None, bool, list[str]]
) -> None:
    flags = split_flags(arguments)
    assert (flags.multirun, flags.cfg, flags.resolve, flags.overrides) == expected


@pytest.mark.parametrize("arguments", [["--cgf", "job"], ["--cfg"], ["--cfg", "hydra"], ["--multi"], ["-x"]])
def test_flags_that_there_are_not_are_told(arguments: list[str]) -> None:
    with pytest.raises(UserError, match="expected key=value, -m for a sweep, --cfg job"):
        split_flags([*arguments, "task=ssd"])


def test_a_sweep_is_every_combination_the_last_varying_first() -> None:
    lines = ["task=ssd", "backbone.alpha=1,0.5", "++optim.options.eps=1e-3", "seed=range(3)", "output='a,b'"]
    runs = jobs_of(parse_overrides(lines), sweep=True)
    assert [run.swept for run in runs] == [[f"backbone.alpha={a}", f"seed={s}"] for a in (1, 0.5) for s in range(3)]
    assert [run.number for run in runs] == list(range(6))
    assert runs[4].overrides == ["task=ssd", "backbone.alpha=0.5", "++optim.options.eps=1e-3", "seed=1", "output='a,b'"]
    assert jobs_of(parse_overrides(lines), sweep=False) == [Job(lines, [], None)]
    assert jobs_of(parse_overrides(["seed=1"]), sweep=True) == [Job(["seed=1"], [], 0)]
    with pytest.raises(UserError, match=r"seed=interval\(0,1\): a sweep goes through single values"):
        jobs_of(parse_overrides(["seed=interval(0,1)"]), sweep=True)


def test_a_run_of_a_sweep_that_fails_is_named_at_the_end_and_a_single_one_at_once() -> None:
    done = []

    def run(job: Job) -> None:
        if job.number != 2:
            raise UserError(f"wrong {job.number}")
        done.append(job)

    sweep = jobs_of(parse_overrides(["seed=1,2,3"]), sweep=True)
    with pytest.raises(UserError, match=r"^2 of the sweep's 3 runs failed\n0: seed=1: wrong 0\n1: seed=2: wrong 1$"):
        run_jobs(run, sweep)
    assert done == sweep[2:]
    with pytest.raises(UserError, match=r"^wrong None$"):
        run_jobs(run, [ONE])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(RUN_FOLDER, raising=False)
    yield
    assert RUN_FOLDER not in jobs.os.environ, "a later run of this process has a folder of its own"


def settle(folder: Path) -> RunConfig:
    return composed_run()


def test_the_processes_of_a_run_share_the_folder_that_the_first_has_chosen(
    here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They start later, from the same command line."""
    with run_folder(None, ONE, settle, "ssd", None) as (_, folder):
        assert (folder / "config.yaml").is_file()
        with monkeypatch.context() as other:
            other.setenv("LOCAL_RANK", "1")
            other.setattr(jobs, "stamp", lambda: "later")
            with run_folder(None, ONE, settle, "ssd", None) as (_, theirs):
                assert theirs == folder


def test_runs_of_a_sweep_lie_in_its_folder_under_names_without_commas(here: None) -> None:
    job = Job(["data=coco", "backbone.taps=[16,32]"], ["backbone.taps=[16,32]"], 3)
    with run_folder(None, job, settle, "ssd", "today") as (_, folder):
        assert folder == Path("runs/ssd/today/3_backbone.taps-_16_32_")
    with run_folder("mine", job, settle, "ssd", None) as (_, folder):
        assert folder == Path("mine/3_backbone.taps-_16_32_")


def test_a_run_that_is_wrong_leaves_no_folder_and_no_word(here: None, tmp_path: Path) -> None:
    with pytest.raises(UserError), run_folder(None, ONE, settle, "ssd", None) as (_, folder):
        raise UserError("wrong")
    assert not folder.exists()
