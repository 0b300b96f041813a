"""Whenever a run is stopped, the command that it prints goes on with it."""

import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tasks.shared.training import stages
from tasks.shared.training import train as engine
from tests.tools.conftest import TINY, TOOLS, Tool
from tests.tools.test_resume import equal, weights

STAGES = """stages={first: ["optim.lr=0.003", "trainer.max_epochs=1"]}"""
SHORT = (*(a for a in TINY if not a.startswith("trainer.max_epochs")), "trainer.max_epochs=1")


def printed(out: str) -> list[str]:
    """The settings of the command that goes on."""
    (line,) = re.findall(r"^stopped; go on with: (.*)$", out, re.MULTILINE)
    command = shlex.split(line)
    assert command[:2] == ["python", "tools/train.py"]
    return command[2:]


def interrupt(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (engine, "build_data"),
        pytest.param(engine, "make_trainer", marks=pytest.mark.slow),
        (engine, "score_checkpoint"),
        pytest.param(engine, "draw_curves", marks=pytest.mark.slow),
    ],
    ids=["data", "trainer", "score", "curves"],
)
def test_a_run_goes_on_from_every_moment(
    module: Any, name: str, tiny_run: Path, tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as stopped:
        stopped.setattr(module, name, interrupt)
        answer = tool("train", *TINY, f"data.root={tiny_run.parent}/sample", f"output={tmp_path}/run")
    assert answer.status == 1 and answer.message == "interrupted"
    assert (tmp_path / "run/config.yaml").is_file()
    again = tool("train", *printed(answer.out))
    assert again.status == 0, again.message
    assert equal(weights(tmp_path / "run")["state_dict"], weights(tiny_run)["state_dict"])
    assert (tmp_path / "run/metrics.json").read_text() == (tiny_run / "metrics.json").read_text()
    assert (tmp_path / "run/curves.png").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("stop", ["check", "first", "between"])
def test_a_run_with_stages_does(
    stop: str, tiny_run: Path, tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [*SHORT, f"data.root={tiny_run.parent}/sample", STAGES, "init.stage=first"]
    with monkeypatch.context() as stopped:
        if stop == "check":
            stopped.setattr(stages, "build_data", interrupt)
        else:
            count = iter(range(9))
            train = engine.train

            def second(*arguments: Any) -> Any:
                return interrupt() if next(count) == (stop == "between") else train(*arguments)

            stopped.setattr(stages, "train", second)
        answer = tool("train", *settings, f"output={tmp_path}/run")
    assert answer.status == 1 and not (tmp_path / "run/checkpoints").exists()
    again = tool("train", *printed(answer.out))
    assert again.status == 0, again.message
    assert ("made before" in again.out) == (stop == "between")
    assert f"init: all weights of {tmp_path}/run/stages/first" in again.out


def test_while_a_sample_is_drawn(tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as stopped:
        stopped.setattr("tasks.shared.detection.data.draw_detection_sample", interrupt)
        answer = tool("train", *SHORT, "data.root=my data/set")
    command = printed(answer.out)
    (run,) = (tmp_path / "runs/ssd").iterdir()
    assert command == [f"resume=runs/ssd/{run.name}", f"data.root={tmp_path}/my data/set"]
    assert not (tmp_path / "my data").exists()
    killed = tool("train", command[0])  # nothing was printed
    assert killed.status == 1 and not (tmp_path / "my data").exists()
    asked = shlex.split(killed.message.partition("to draw it there, go on with: ")[2])
    assert asked == ["python", "tools/train.py", f"resume={run}", command[1]]
    again = tool("train", *command)
    assert again.status == 0, again.message
    assert (run / "metrics.json").is_file() and (tmp_path / "my data/set").is_dir()


@pytest.mark.slow
def test_sigterm_while_torch_is_imported_and_after(tiny_run: Path, tool: Tool, tmp_path: Path) -> None:
    """From the first moment that the run's folder is there."""
    run = tmp_path / "run"
    command = [sys.executable, str(TOOLS / "train.py"), *SHORT, f"data.root={tiny_run.parent}/sample", f"output={run}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        deadline = time.monotonic() + 60
        while not run.exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(signal.SIGTERM)
        out = process.communicate(timeout=60)[0]
    assert process.returncode == 1 and "Traceback" not in out, out
    again = tool("train", *printed(out))
    assert again.status == 0 and (run / "metrics.json").is_file(), again.message


def test_what_is_wrong_is_told_in_a_line(tiny_run: Path, tool: Tool, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    assert "2 epochs are done already" in tool("train", f"resume={run}", "trainer.max_epochs=1").message
    shutil.rmtree(run / "checkpoints")
    for text in ("", "a: [", "3", "task: 3\nresolution: 1", "{}"):
        (run / "config.yaml").write_text(text)
        answer = tool("train", f"resume={run}")
        assert answer.status == 1 and "config.yaml" in answer.message and "Traceback" not in answer.out
    (run / "config.yaml").unlink()
    assert "no run to go on with" in tool("train", f"resume={run}").message
    assert "no run to go on with" in tool("train", f"resume={tmp_path}").message


def test_converted_weights_are_no_run_to_go_on_with(tiny_run: Path, tool: Tool, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    (run / "checkpoints/last.ckpt").unlink()
    answer = tool("train", f"resume={run}")
    assert answer.status == 1 and "no run to go on with" in answer.message


def test_a_run_that_another_process_trains_is_left_alone(tiny_run: Path, tool: Tool, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    code = "import sys; from pathlib import Path; from tasks.shared.files.folders import held\n"
    code += "with held(Path(sys.argv[1]), 'resume'): print('held', flush=True); sys.stdin.read()"
    other = subprocess.Popen(
        [sys.executable, "-c", code, run], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    with other:
        assert other.stdout and other.stdout.readline() == "held\n"
        answer = tool("train", f"resume={run}")
        assert answer.status == 1 and "another process trains this run" in answer.message
        other.communicate()


@pytest.mark.slow
def test_old_checkpoints_go_on(tiny_run: Path, tool: Tool, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    (run / ".mobilenet_toolkit").unlink()
    content = weights(run)
    assert content["mobilenet_toolkit"]["contents"]["train"]["pictures"] == 8
    del content["mobilenet_toolkit"]["contents"]
    torch.save(content, run / "checkpoints/last.ckpt")
    answer = tool("train", f"resume={run}", "trainer.max_epochs=3")
    assert answer.status == 0, answer.message


def test_other_data_are_told(tiny_run: Path, tool: Tool, tmp_path: Path) -> None:
    run, sample = tmp_path / "run", tmp_path / "sample"
    shutil.copytree(tiny_run, run)
    shutil.copytree(tiny_run.parent / "sample", sample)
    moved = tool("train", f"resume={run}", f"data.root={sample}")
    assert moved.status == 0 and "warning" not in moved.out, moved.message
    answer = tool("train", f"resume={run}", f"data.root={tmp_path}/fewer", "data.train=7", "data.batch_size=4")
    assert answer.status == 0 and "began with 8 images in train, now there are 7" in answer.out, answer.message

    shutil.rmtree(run)
    shutil.copytree(tiny_run, run)
    content = weights(run)
    content["mobilenet_toolkit"]["contents"]["train"]["pictures"] = 9
    content["mobilenet_toolkit"]["contents"]["val"]["digest"] = "0"
    torch.save(content, run / "checkpoints/last.ckpt")
    answer = tool("train", f"resume={run}")
    assert answer.status == 1 and "began with 9 images in train, now there are 8" in answer.message
    answer = tool("train", f"resume={run}", "other_data=true")
    assert answer.status == 0, answer.message
    assert "the 4 images in val have other names or labels" in answer.out


@pytest.mark.slow
def test_paths_are_stored_whole(tiny_run: Path, tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny_run.parent)
    answer = tool("train", *SHORT, "data.root=sample", "init.run=run", f"output={tmp_path}/run")
    assert answer.status == 0, answer.message
    config = weights(tmp_path / "run")["mobilenet_toolkit"]["config"]
    assert config["data"]["root"] == f"{tiny_run.parent}/sample" and config["init"]["run"] == str(tiny_run)
    monkeypatch.chdir(tmp_path)
    assert tool("train", f"resume={tmp_path}/run", "trainer.max_epochs=2").status == 0


def test_a_wrong_config_leaves_nothing(tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    answer = tool("train", *TINY, "data.train=-1")
    assert answer.status == 1 and not any(p.is_file() for p in (tmp_path / "runs").rglob("*"))


@pytest.mark.parametrize("place", ["logs", "checkpoints/best.ckpt", "metrics.json", "stages"])
def test_a_run_with_links_is_refused(place: str, tiny_run: Path, tool: Tool, tmp_path: Path) -> None:
    run, mine = tmp_path / "run", tmp_path / "mine"
    shutil.copytree(tiny_run, run)
    mine.mkdir()
    (mine / "thesis").write_text("mine")
    if (run / place).exists():
        (run / place).rename(tmp_path / "was")
    (run / place).symlink_to(mine / "thesis" if "." in place else mine)
    answer = tool("train", f"resume={run}")
    assert answer.status == 1 and f"{place} is a symbolic link to {mine}" in answer.message
    assert [file.read_text() for file in mine.iterdir()] == ["mine"]


def test_a_strangers_run_removes_and_trains_nothing_elsewhere(tiny_run: Path, tool: Tool, tmp_path: Path) -> None:
    """Whose checkpoint, or config.yaml, names a stage `../../mine`, or keeps one there."""
    run, mine = tmp_path / "above/run", tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis").write_text("mine")
    (mine / ".mobilenet_toolkit").touch()
    content = weights(tiny_run)
    config = content["mobilenet_toolkit"]["config"]
    stage = config | {"stages": None}
    for stages_of, told in (({"../../../mine": stage}, "letters"), ({"x": stage | {"output": str(mine)}}, "outside")):
        for begun in (False, True):
            shutil.rmtree(run, ignore_errors=True)
            shutil.copytree(tiny_run, run)
            content["mobilenet_toolkit"]["config"] = config | {"stages": stages_of}
            if begun:
                torch.save(content, run / "checkpoints/last.ckpt")
            else:
                shutil.rmtree(run / "checkpoints")
                (run / ".mobilenet_toolkit").touch()
                (run / "config.yaml").write_text(yaml.safe_dump(config | {"stages": stages_of}))
            answer = tool("train", f"resume={run}")
            assert answer.status == 1 and told in answer.message, answer.message
            assert {file.name for file in mine.iterdir()} == {"thesis", ".mobilenet_toolkit"}


@pytest.mark.slow
def test_sweeps_of_the_same_second_do_not_meet(tiny_run: Path, tmp_path: Path) -> None:
    script = f"cd {tmp_path}; for i in 1 2; do PYTHONPATH={TOOLS.parent} {sys.executable} {TOOLS}/train.py -m "
    once = " ".join(a for a in SHORT if not a.startswith("optim.lr"))
    script += f"{once} data.root={tiny_run.parent}/sample optim.lr=0.001,0.002 & done; wait"
    assert subprocess.run(["bash", "-c", script], timeout=600, check=False).returncode == 0
    sweeps = list((tmp_path / "runs/ssd").iterdir())
    assert len(sweeps) == 2
    assert all(len(list(sweep.glob("*/metrics.json"))) == 2 for sweep in sweeps)
