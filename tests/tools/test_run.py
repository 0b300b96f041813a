"""From train to predict, as a user would."""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from tests.tools.conftest import TINY, TOOLS, Tool


def test_a_run_leaves_what_the_readme_says(tiny_run: Path) -> None:
    metrics = json.loads((tiny_run / "metrics.json").read_text())
    assert {"AP", "AP50", "AR100"} <= metrics.keys()
    assert all(isinstance(v, float) and 0 <= v <= 1 for v in metrics.values())
    for name in ("config.yaml", "detections.json", "samples.jpg", "curves.png", "checkpoints/last.ckpt"):
        assert (tiny_run / name).stat().st_size > 0
    assert len(list((tiny_run / "pictures").glob("*.jpg"))) == 4
    assert list(tiny_run.glob("logs/version_0/metrics.csv")) and list(tiny_run.glob("logs/version_0/events*"))
    config = yaml.safe_load((tiny_run / "config.yaml").read_text())
    assert config["backbone"]["alpha"] == 0.25 and config["task"]["width"] == 0.25
    assert not list((tiny_run / "checkpoints").glob("*.part"))


def test_eval_repeats_the_final_score_to_the_last_digit(tiny_run: Path, tool: Tool, tmp_path: Path) -> None:
    best = tiny_run / "checkpoints/best.ckpt"
    answer = tool("eval", f"checkpoint={best}", f"output={tmp_path}/eval")
    assert answer.status == 0, answer.message
    assert (tmp_path / "eval/metrics.json").read_text() == (tiny_run / "metrics.json").read_text()


def test_eval_with_pycocotools_agrees(tiny_run: Path, tool: Tool, tmp_path: Path) -> None:
    answer = tool("eval", f"checkpoint={tiny_run}", "task.evaluator=pycocotools", f"output={tmp_path}/eval")
    assert answer.status == 0, answer.message
    ours = json.loads((tmp_path / "eval/metrics.json").read_text())
    final = json.loads((tiny_run / "metrics.json").read_text())
    assert ours.keys() == final.keys()
    assert all(math.isclose(ours[k], final[k], abs_tol=1e-12) for k in final)


def test_eval_on_own_files_asks_for_no_training_data(tiny_run: Path, tool: Tool, tmp_path: Path) -> None:
    sample = tiny_run.parent / "sample"
    val = [f"data.val.images={sample}/val", f"data.val.annotations={sample}/annotations/instances_val.json"]
    answer = tool("eval", f"checkpoint={tiny_run}", "data=coco_json", *val, f"output={tmp_path}/eval")
    assert answer.status == 0, answer.message
    assert (tmp_path / "eval/metrics.json").read_text() == (tiny_run / "metrics.json").read_text()


def test_a_run_that_was_stopped_early_can_be_scored(tiny_run: Path, tool: Tool, tmp_path: Path) -> None:
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    shutil.copy(tiny_run / "checkpoints/last.ckpt", tmp_path / "run/checkpoints")
    answer = tool("eval", f"checkpoint={tmp_path}/run", f"output={tmp_path}/eval")
    assert answer.status == 0 and "taking last.ckpt" in answer.out, answer


def test_a_new_head_on_the_backbone_of_a_run(tiny_run: Path, tool: Tool, tmp_path: Path) -> None:
    sample = [f"data.root={tiny_run.parent}/sample", f"init.run={tiny_run}", f"output={tmp_path}/run"]
    once = [a for a in TINY if not a.startswith(("backbone.alpha", "resolution", "trainer.max_epochs"))]
    freeze = ["freeze.up_to=conv_12", "optim.backbone_lr=0.1", "trainer.max_epochs=1", "trainer.ema_decay=null"]
    answer = tool("train", *once, *sample, "init.head=new", *freeze)
    assert answer.status == 0, answer.message
    old, new = (torch.load(r / "checkpoints/last.ckpt", weights_only=True) for r in (tiny_run, tmp_path / "run"))
    assert new["mobilenet_toolkit"]["config"]["backbone"] == old["mobilenet_toolkit"]["config"]["backbone"]
    assert new["mobilenet_toolkit"]["config"]["resolution"] == 64
    first = torch.load(tiny_run / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    same = {
        name.split(".")[2] for name, t in new["state_dict"].items()
        if name.startswith("task.backbone.") and torch.equal(t, first["ema.network." + name.removeprefix("task.")])
    }  # fmt: skip
    assert {f"conv_{n}" for n in range(13)} <= same, "frozen: weights and statistics are those of the run"
    last = "task.backbone.conv_13.depthwise.conv.weight"
    assert not torch.equal(new["state_dict"][last], first["ema.network." + last.removeprefix("task.")])


def test_predict_draws_and_describes(tiny_run: Path, tool: Tool, tmp_path: Path) -> None:
    photos = tmp_path / "fotos é [1], a=b"
    (photos / "inner").mkdir(parents=True)
    Image.new("RGB", (90, 60), "red").save(photos / "a.jpg")
    Image.new("L", (40, 70)).save(photos / "inner/b.png")
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff no image")
    places = (f"input={photos}", f"output={tmp_path}/out")
    answer = tool("predict", f"checkpoint={tiny_run}", *places, "task.min_score=0.0")
    assert answer.status == 0, answer.message
    assert "broken.jpg" in answer.out
    answers = json.loads((tmp_path / "out/predictions.json").read_text())
    assert [Path(a["file"]).name for a in answers] == ["a.jpg", "b.png"]
    first = answers[0]["answer"][0]
    assert {"category_id", "name", "score", "bbox"} == first.keys()
    x, y, width, height = first["bbox"]
    assert x >= 0 and y >= 0 and x + width <= 90.01 and y + height <= 60.01
    for name, size in (("a.jpg", (90, 60)), ("inner/b.jpg", (40, 70))):
        with Image.open(tmp_path / "out" / name) as drawn:
            assert drawn.size == size


def test_predict_takes_a_glob_and_a_film(tiny_run: Path, tool: Tool, tmp_path: Path) -> None:
    Image.new("RGB", (64, 48), "blue").save(tmp_path / "p1.png")
    Image.new("RGB", (64, 48), "blue").save(tmp_path / "q.png")
    answer = tool("predict", f"checkpoint={tiny_run}", f"input={tmp_path}/p*.png", f"output={tmp_path}/out")
    assert answer.status == 0, answer.message
    assert len(json.loads((tmp_path / "out/predictions.json").read_text())) == 1

    cv2 = pytest.importorskip("cv2")
    film = cv2.VideoWriter(str(tmp_path / "film.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 5, (64, 48))
    for _ in range(3):
        film.write(torch.zeros(48, 64, 3, dtype=torch.uint8).numpy())
    film.release()
    answer = tool("predict", f"checkpoint={tiny_run}", f"input={tmp_path}/film.mp4", f"output={tmp_path}/film")
    assert answer.status == 0, answer.message
    assert len(json.loads((tmp_path / "film/predictions.json").read_text())) == 3
    assert (tmp_path / "film/film.mp4").stat().st_size > 0


def test_a_sweep_leaves_a_folder_for_each_run(tmp_path: Path) -> None:
    once = [a for a in TINY if not a.startswith("trainer.max_epochs")]  # Hydra takes a key once in a sweep
    arguments = [*once, "trainer.max_epochs=1", f"data.root={tmp_path}/sample", f"output={tmp_path}/sweep"]
    done = subprocess.run(
        [sys.executable, TOOLS / "train.py", "-m", *arguments, "optim.lr=0.001,0.002"],
        capture_output=True, text=True, timeout=300, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    folders = sorted(p.name for p in (tmp_path / "sweep").iterdir())
    assert len(folders) == 2 and all("=" not in name and "," not in name for name in folders)
    assert all((tmp_path / "sweep" / name / "metrics.json").is_file() for name in folders)


def test_a_sweep_goes_on_without_the_runs_that_fail(tiny_run: Path, tool: Tool, tmp_path: Path) -> None:
    once = [a for a in TINY if not a.startswith(("trainer.max_epochs", "backbone.alpha"))]
    arguments = [*once, "trainer.max_epochs=1", f"data.root={tiny_run.parent}/sample", f"output={tmp_path}/sweep"]
    answer = tool("train", "-m", *arguments, "backbone.alpha=0,0.25", "seed=x,1")
    assert answer.status == 1
    headline, *failed = answer.message.splitlines()
    assert headline == "error: 3 of the sweep's 4 runs failed"
    assert failed[0] == "0: backbone.alpha=0 seed=x: seed=x; expected a whole number from 0"
    assert failed[1].startswith("1: backbone.alpha=0 seed=1: backbone.alpha=0; expected")
    assert failed[2] == "2: backbone.alpha=0.25 seed=x: seed=x; expected a whole number from 0"
    assert [folder.name for folder in (tmp_path / "sweep").iterdir()] == ["3_backbone.alpha-0.25_seed-1"]
    assert (tmp_path / "sweep/3_backbone.alpha-0.25_seed-1/metrics.json").is_file()
