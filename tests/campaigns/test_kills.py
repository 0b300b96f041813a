"""Runs killed at random moments, over and over: each ends like the one that nobody stopped.

    KILLS=30 SEED=0 REPORT=kills.md pytest tests/campaigns/test_kills.py -m slow -n 0

KILLS: at least so many for each of the four configs; without it few, for a quick look. A chain is repeated by its seed.
"""

import os
import random
from pathlib import Path

import pytest

from tests.campaigns.chains import HEADER, Tally, chain, whole_run
from tests.campaigns.lives import Lives
from tests.conftest import _write_coco
from tests.tasks.classification.conftest import COLORS, write_folders

KILLS, SEED = int(os.environ.get("KILLS", "5")), int(os.environ.get("SEED", "0"))
LONGEST = 12  # kills in a chain, after which it is left to end
SHORT = ["trainer=cpu", "trainer.val_every_epochs=1", "backbone.alpha=0.25", "output=run"]
CONFIGS = {
    "classification": ["task=classification", "data=image_folder", "data.root={place}/set", "resolution=32",
                       "data.batch_size=4", "trainer.max_epochs=4", "data.workers=2"],
    "ssd": ["task=ssd", "data=coco_json", "data.train.images={place}/coco/train2017",
            "data.train.annotations={place}/coco/annotations/instances_train2017.json",
            "data.val.images={place}/coco/val2017", "data.workers=0", "data.batch_size=3", "resolution=64",
            "data.val.annotations={place}/coco/annotations/instances_val2017.json", "trainer.max_epochs=4"],
    "dogs in stages": ["task=dogs", "data.root=sample", "data.train=2", "data.val=1", "data.workers=0",
                       "resolution=32", "data.batch_size=8", "trainer.max_epochs=2",
                       "stages={web: ['data=web_dogs_sample', 'data.web=3'], clean: ['trainer.max_epochs=1']}"],
    "taught face_attributes": ["task=face_attributes", "data.root=sample", "data.train=24", "data.val=12",
                               "resolution=32", "data.batch_size=8", "trainer.max_epochs=3",
                               "data.workers=0", "teacher.cache_folder=cache",
                               "stages={teacher: ['teacher=none', 'backbone.alpha=0.25', 'resolution=48', "
                               "'trainer.max_epochs=2', 'output=${data.root}_teachers']}"],
}  # fmt: skip


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory):
    with Lives(tmp_path_factory.mktemp("lives")) as started:
        yield started


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the images of those configs that do not draw their own."""
    folder = tmp_path_factory.mktemp("kills")
    for seed, (split, count) in enumerate((("train", 4), ("val", 2))):
        write_folders(folder / "set", split, dict.fromkeys(COLORS, count), seed=seed)
        _write_coco(folder / "coco", f"{split}2017")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIGS)
def test_killed_runs_end_like_the_one_that_was_not(config: str, lives: Lives, place: Path) -> None:
    arguments = [*SHORT, *(setting.replace("{place}", str(place)) for setting in CONFIGS[config])]
    home = place / config.replace(" ", "_")
    home.mkdir()
    whole = whole_run(lives, arguments, _made(home / "whole"))
    tally = Tally()
    print(f"\n{config}: {whole.seconds:.1f} s and {whole.changes} changes of the file system, if nobody stops it")
    while sum(tally.kills.values()) < KILLS:
        dice = random.Random(f"{SEED} {config} {tally.chains}")
        chain(lives, arguments, _made(home / str(tally.chains)), whole, dice, tally, LONGEST)
    told = "\n".join([f"seed {SEED}", HEADER, tally.table(config), *tally.findings])
    print(told)
    if report := os.environ.get("REPORT"):
        with Path(report).open("a") as file:
            file.write(told + "\n")
    assert not tally.findings, f"{len(tally.findings)} findings\n" + "\n".join(tally.findings)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
