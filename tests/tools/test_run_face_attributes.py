"""Face attributes from train to predict: a teacher of the run's own, its student, and labels that reach no loss."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.tools.conftest import TOOLS, Tool
from tests.tools.taught import equal, teacher_of, trained

TINY = (
    "task=face_attributes", "backbone.alpha=0.25", "resolution=32", "data.batch_size=8", "data.workers=0",
    "trainer=cpu", "trainer.max_epochs=2", "trainer.val_every_epochs=1",
)  # fmt: skip
TEACHER = "'teacher=none','backbone.alpha=0.25','resolution=48','trainer.max_epochs=1'"
NAMES = "list_attr_celeba.txt"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with sample/ and run/, a finished tiny run, whose teacher is in sample_teachers/."""
    folder = tmp_path_factory.mktemp("attributes")
    stage = f"stages.teacher=[{TEACHER},'output={folder}/sample_teachers']"
    arguments = [*TINY, "data.train=48", "data.val=24", f"data.root={folder}/sample", stage, f"output={folder}/run",
                 f"teacher.cache_folder={folder}/cache"]  # fmt: skip
    done = subprocess.run([sys.executable, TOOLS / "train.py", *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"is kept in {folder}/sample_teachers" in done.stdout and "share_of_teacher" in done.stdout
    return folder


def names_of(place: Path) -> list[str]:
    return (place / "sample" / NAMES).read_text().splitlines()[1].split()


def test_what_it_leaves(place: Path) -> None:
    run = place / "run"
    metrics = json.loads((run / "metrics.json").read_text())
    wanted = {"mean_ap", "accuracy", "agreement", "emulation", "attributes_left_out"}
    assert metrics.keys() == wanted | {"teacher_mean_ap", "teacher_accuracy", "share_of_teacher"}
    theirs = json.loads((teacher_of(place) / "metrics.json").read_text())
    # Its answers are rounded to float16 for a student, by which some of a network that has learnt little are tied.
    assert metrics["teacher_accuracy"] == pytest.approx(theirs["accuracy"], abs=0.02)
    assert metrics["teacher_mean_ap"] == pytest.approx(theirs["mean_ap"], abs=0.1)
    rows = list(csv.DictReader((run / "attributes.csv").read_text().splitlines()))
    assert [row["attribute"] for row in rows] == names_of(place)
    known = [float(row["ap"]) for row in rows if row["ap"]]
    assert sum(known) / len(known) == pytest.approx(metrics["mean_ap"], abs=1e-4)
    assert len(rows) - len(known) == metrics["attributes_left_out"]
    report = (run / "teacher_and_student.md").read_text()
    assert "mean_ap" in report and "million mult-adds" in report
    assert {"attributes.png", "predictions.csv", "samples.jpg"} <= {path.name for path in run.iterdir()}


def test_eval_repeats_the_score_beside_the_teachers(place: Path, tool: Tool, tmp_path: Path) -> None:
    answer = tool("eval", f"checkpoint={place}/run", f"output={tmp_path}/eval")
    assert answer.status == 0, answer.message
    assert (tmp_path / "eval/metrics.json").read_text() == (place / "run/metrics.json").read_text()


def test_labels_reach_no_loss(place: Path, tool: Tool, tmp_path: Path) -> None:
    """The same losses to the last bit with every label of the training images turned round, and with none at all."""
    runs = {}
    for name in ("true", "turned", "unlabelled"):
        root = tmp_path / name
        shutil.copytree(place / "sample", root)
        lines = (root / NAMES).read_text().splitlines(keepends=True)
        if name == "turned":
            lines[2:50] = [line.replace("-1", "x").replace(" 1", "-1").replace("x", " 1") for line in lines[2:50]]
            assert lines[2] != (place / "sample" / NAMES).read_text().splitlines(keepends=True)[2]
        (root / NAMES).write_text("".join(lines))
        data = ["data=celeba", f"data.root={root}"]
        if name == "unlabelled":
            shutil.copytree(root / "img_align_celeba", tmp_path / "bare")
            for file in sorted((tmp_path / "bare").iterdir())[48:]:
                file.unlink()
            data.append(f"data.unlabelled={tmp_path}/bare")
        taught = [f"teacher.path={teacher_of(place)}", "teacher.cache=false", "data.augment.flip=0.5", "seed=3"]
        answer = tool("train", *TINY, *data, *taught, f"output={tmp_path}/run_{name}", "trainer.ema_decay=null")
        assert answer.status == 0, answer.message
        runs[name] = trained(tmp_path / f"run_{name}")
    assert equal(runs["true"], runs["turned"]) and equal(runs["true"], runs["unlabelled"])
    # And the labels were turned indeed: they do reach the loss of a network that learns from them.
    hard = {}
    for name in ("true", "turned"):
        data = ["data=celeba", f"data.root={tmp_path}/{name}", "teacher=none", "seed=3"]
        answer = tool("train", *TINY, *data, f"output={tmp_path}/hard_{name}")
        assert answer.status == 0, answer.message
        hard[name] = trained(tmp_path / f"hard_{name}")
    assert not equal(hard["true"], hard["turned"])


def test_predictions_are_those_of_the_evaluation(place: Path, tool: Tool, tmp_path: Path) -> None:
    images = sorted((place / "sample/img_align_celeba").iterdir())[48:]
    chosen = tmp_path / "chosen"
    chosen.mkdir()
    for file in images[:3]:
        shutil.copy(file, chosen)
    answer = tool("predict", f"checkpoint={place}/run", f"input={chosen}", f"output={tmp_path}/out")
    assert answer.status == 0, answer.message
    found = json.loads((tmp_path / "out/predictions.json").read_text())
    rows = {Path(r["file"]).name: r for r in csv.DictReader((place / "run/predictions.csv").read_text().splitlines())}
    assert len(found) == 3
    for told in found:
        row = rows[Path(told["file"]).name]
        for name in names_of(place):
            assert told["answer"][name] == pytest.approx(float(row[name]), abs=2e-4)
    with Image.open(tmp_path / "out" / images[0].name) as drawn:
        assert drawn.width > 300


def test_a_teacher_of_other_attributes(place: Path, tool: Tool, tmp_path: Path) -> None:
    """Refused before there is a run: fewer of them, and the same number under other names."""
    root = tmp_path / "fewer"
    shutil.copytree(place / "sample", root)
    lines = (root / NAMES).read_text().splitlines()
    count = len(names_of(place))
    fewer = [lines[0], *(" ".join(line.split()[:-1]) for line in lines[1:])]
    (root / NAMES).write_text("\n".join(fewer) + "\n")
    data = ["data=celeba", f"data.root={root}"]
    answer = tool("train", *TINY, *data, f"teacher.path={teacher_of(place)}", f"output={tmp_path}/no")
    assert answer.status == 1 and f"tells {count} attributes, the student {count - 1}" in answer.message, answer
    refused = tool("eval", f"checkpoint={place}/run", *data, "teacher=none", f"output={tmp_path}/no")
    assert refused.status == 1 and f"{count - 1} of them, not {count}" in refused.message, refused
    assert not (tmp_path / "no").exists()


def test_data_without_attributes(place: Path, tool: Tool, tmp_path: Path) -> None:
    people = tmp_path / "people"
    for k, file in enumerate(sorted((place / "sample/img_align_celeba").iterdir())[:12]):
        (people / f"person {k // 2}").mkdir(parents=True, exist_ok=True)
        shutil.copy(file, people / f"person {k // 2}")
    data = ["data=face_folder", f"data.root={people}"]
    answer = tool("train", *TINY, *data, "teacher=none", f"output={tmp_path}/no")
    assert answer.status == 1 and "there are no attributes: expected data with labels" in answer.message, answer
    teacher = [f"teacher.path={teacher_of(place)}", "teacher.cache=false"]
    taught = tool("train", *TINY, *data, *teacher, f"output={tmp_path}/run")
    assert taught.status == 0, taught.message
    assert json.loads((tmp_path / "run/metrics.json").read_text()).keys() == {"agreement", "emulation"}
    told = list(csv.DictReader((tmp_path / "run/attributes.csv").read_text().splitlines()))
    assert [row["attribute"] for row in told] == names_of(place), "the teacher knows what they are called"
