"""Face embeddings from train to predict: a teacher of the run's own, its student, two images compared."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from tasks.facenet.pairs import listed_distances
from tests.tools.conftest import TOOLS, Tool
from tests.tools.taught import equal, teacher_of, trained

TINY = (
    "task=facenet", "backbone.alpha=0.25", "resolution=32", "data.batch_size=8", "data.workers=0", "trainer=cpu",
    "trainer.max_epochs=1", "trainer.val_every_epochs=1", "task.width=16",
)  # fmt: skip
SAMPLE = ("data.train=8", "data.train_pictures=4", "data.val=16", "data.val_pictures=3")
TEACHER = (  # scored in fp32 of its own, as it is when it teaches
    "'teacher=none','backbone.alpha=0.25','resolution=48','trainer.max_epochs=1','task.width=16',"
    "'trainer.precision=32-true','trainer.bn_momentum=0.5'"
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with sample/ and run/, a finished tiny run, whose teacher is in sample_teachers/."""
    folder = tmp_path_factory.mktemp("facenet")
    stage = f"stages.teacher=[{TEACHER},'task.far=0.05','output={folder}/sample_teachers']"
    arguments = [*TINY, *SAMPLE, "task.far=0.05", f"data.root={folder}/sample", stage, f"output={folder}/run",
                 f"teacher.cache_folder={folder}/cache"]  # fmt: skip
    done = subprocess.run([sys.executable, TOOLS / "train.py", *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"is kept in {folder}/sample_teachers" in done.stdout and "teacher_val_at_far" in done.stdout
    return folder


def test_what_it_leaves(place: Path) -> None:
    run = place / "run"
    metrics = json.loads((run / "metrics.json").read_text())
    of_each = {"val_at_far", "auc", "threshold", "accuracy", "accuracy_error"}
    assert metrics.keys() >= of_each | {f"teacher_{name}" for name in of_each} | {"cosine", "squared_difference", "far"}
    assert metrics["squared_difference"] == pytest.approx(2 - 2 * metrics["cosine"], abs=1e-4)
    with np.load(run / "embeddings.npz") as saved:
        vectors, files = saved["embedding"], saved["files"].tolist()
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(files)), abs=1e-4)
        cosines = (vectors * saved["teacher_embedding"]).sum(1)
    assert cosines.mean() == pytest.approx(metrics["cosine"], abs=1e-4)
    rows = list(csv.DictReader((run / "pairs.csv").read_text().splitlines()))
    places = np.array([[files.index(row["first"]), files.index(row["second"])] for row in rows])
    assert [float(row["distance"]) for row in rows] == pytest.approx(listed_distances(vectors, places), abs=1e-5)
    assert {"roc.png", "samples.jpg", "teacher_and_student.md"} <= {path.name for path in run.iterdir()}
    theirs = json.loads((teacher_of(place) / "metrics.json").read_text())
    assert "cosine" not in theirs
    with np.load(run / "embeddings.npz") as saved, np.load(teacher_of(place) / "embeddings.npz") as own:
        spread = own["embedding"].std(0).max()
        assert saved["files"].tolist() == own["files"].tolist()
        assert np.abs(saved["teacher_embedding"] - own["embedding"]).max() < spread / 4


def test_eval_over_all_pairs(place: Path, tool: Tool, tmp_path: Path) -> None:
    again = tool("eval", f"checkpoint={place}/run", f"output={tmp_path}/same")
    assert again.status == 0, again.message
    assert (tmp_path / "same/metrics.json").read_text() == (place / "run/metrics.json").read_text()
    answer = tool("eval", f"checkpoint={place}/run", "task.pairs=all", "task.far=0.002", f"output={tmp_path}/all")
    assert answer.status == 0, answer.message
    found = json.loads((tmp_path / "all/metrics.json").read_text())
    assert (
        found["far"] == 0.002 and found["accuracy"] == json.loads((place / "run/metrics.json").read_text())["accuracy"]
    )
    moved = tool("eval", f"checkpoint={place}/run", "teacher.path=nowhere", f"output={tmp_path}/no")
    assert moved.status == 1 and "nowhere: no such file or run folder" in moved.message


def test_a_far_that_cannot_be_told_is_refused_before_training(place: Path, tool: Tool, tmp_path: Path) -> None:
    data = ["data=face_folder", f"data.root={place}/sample/test", "data.evaluate_on=train", "data.val_share=0.2"]
    for more in ([f"teacher.path={teacher_of(place)}", "teacher.cache=false"], ["teacher=none"]):
        answer = tool("train", *TINY, *data, *more, "task.far=1e-6", f"output={tmp_path}/no")
        assert answer.status == 1, answer
        assert "task.far=1e-06" in answer.message and "expected at least 1000000 such pairs" in answer.message
    stage = f"stages.teacher=[{TEACHER},'task.far=0.05','output={tmp_path}/teachers']"
    sample = [*SAMPLE, f"data.root={place}/sample"]
    staged = tool("train", *TINY, *sample, stage, "task.far=1e-6", f"output={tmp_path}/no")
    assert staged.status == 1 and "stage this run: task.far=1e-06" in staged.message, staged
    wide = tool("train", *TINY, *sample, stage, "task.far=0.05", "task.width=17", f"output={tmp_path}/no")
    assert wide.status == 1 and "expected task.width=16" in wide.message, wide
    assert not (tmp_path / "no").exists() and not list((tmp_path / "teachers").glob("*/config.yaml"))


def test_a_teacher_of_another_width(place: Path, tool: Tool, tmp_path: Path) -> None:
    data = ["data=face_folder", f"data.root={place}/sample/train", "data.evaluate_on=train", "task.far=0.5"]
    answer = tool("train", *TINY, *data, "task.width=128", f"teacher.path={teacher_of(place)}", f"output={tmp_path}/no")
    assert (
        answer.status == 1 and "embeddings have 16 numbers, the student's 128; expected task.width=16" in answer.message
    )
    assert not (tmp_path / "no").exists()


def test_identities_reach_no_loss(place: Path, tool: Tool, tmp_path: Path) -> None:
    """The same losses to the last bit where every image is somebody else's."""
    people = sorted((place / "sample/train").iterdir())
    found = {}
    for name, shift in (("true", 0), ("turned", 1)):
        root = tmp_path / name
        (root / "img_align_celeba").mkdir(parents=True)
        files = [file for person in people for file in sorted(person.iterdir())]
        rows, sides, identities = [], [], []
        for k, file in enumerate(files):
            called = f"{k + 1:06d}.jpg"
            shutil.copy(file, root / "img_align_celeba" / called)
            rows.append(f"{called} {1 - 2 * (k % 2)} -1\n")
            sides.append(f"{called} {int(k >= 24)}\n")
            identities.append(f"{called} {1 + (k + shift * (k < 24)) // 4}\n")
        (root / "list_attr_celeba.txt").write_text(f"{len(files)}\nBald Smiling\n{''.join(rows)}")
        (root / "list_eval_partition.txt").write_text("".join(sides))
        (root / "identity_CelebA.txt").write_text("".join(identities))
        data = ["data=celeba", f"data.root={root}", "task.far=0.2", "seed=1"]
        taught = tool(
            "train", *TINY, *data, f"teacher.path={teacher_of(place)}", "teacher.cache=false", f"output={root}/run"
        )
        hard = tool("train", *TINY, *data, "teacher=none", f"output={root}/hard")
        assert taught.status == hard.status == 0, taught.message + hard.message
        found[name] = trained(root / "run"), trained(root / "hard")
    assert equal(found["true"][0], found["turned"][0])
    assert not equal(found["true"][1], found["turned"][1]), "they were turned indeed"


def test_two_images_and_a_folder(place: Path, tool: Tool, tmp_path: Path) -> None:
    first, second = (place / f"sample/test/Test_Person_0001/Test_Person_0001_000{k}.jpg" for k in (1, 2))
    odd = tmp_path / "a, b=[é].jpg"
    shutil.copy(second, odd)
    answer = tool("predict", f"checkpoint={place}/run", f"input={first}", f"pair={odd}", f"output={tmp_path}/pair")
    assert answer.status == 0, answer.message
    told = json.loads((tmp_path / "pair/comparison.json").read_text())
    with np.load(place / "run/embeddings.npz") as saved:
        files, vectors = saved["files"].tolist(), saved["embedding"]
    rows = np.array([[next(k for k, f in enumerate(files) if Path(f).name == p.name) for p in (first, second)]])
    assert told["distance"] == pytest.approx(listed_distances(vectors, rows)[0], abs=1e-4)
    threshold = json.loads((place / "run/metrics.json").read_text())["threshold"]
    assert told["threshold"] == threshold and told["one_person"] == (told["distance"] < threshold)
    assert f"distance {told['distance']:.4f}: " in answer.out and (tmp_path / "pair/comparison.jpg").exists()
    mine = tool("predict", f"checkpoint={place}/run", f"input={first}", f"pair={odd}", "task.threshold=4",
                f"output={tmp_path}/mine")  # fmt: skip
    assert mine.status == 0 and "one person (threshold 4.0000)" in mine.out, mine
    folder = [f"input={place}/sample/test", "task.embeddings=parquet", f"output={tmp_path}/all"]
    whole = tool("predict", f"checkpoint={place}/run", *folder)
    assert whole.status == 0, whole.message
    table = pyarrow.parquet.read_table(tmp_path / "all/embeddings.parquet").to_pydict()
    assert len(table["file"]) == 48 and {Path(f).name for f in files} <= {Path(f).name for f in table["file"]}
    assert not (tmp_path / "all/comparison.json").exists()


def test_pairs_that_are_none(place: Path, tiny_run: Path, tool: Tool, tmp_path: Path) -> None:
    person = place / "sample/test/Test_Person_0001"
    image = person / "Test_Person_0001_0001.jpg"
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    for run, source, pair, expected in (
        (place / "run", image, tmp_path / "none.jpg", "none.jpg: no such file or folder"),
        (place / "run", image, person, "expected one image there, and one as input"),
        (place / "run", person, image, "expected one image there, and one as input"),
        (place / "run", image, tmp_path / "broken.jpg", "not a readable image"),
        (tiny_run, image, image, "task=ssd compares no images"),
    ):
        answer = tool("predict", f"checkpoint={run}", f"input={source}", f"pair={pair}", f"output={tmp_path}/no")
        assert answer.status == 1 and expected in answer.message, answer
