"""The key `max_megapixels`: of the command alone, in all its processes, and no part of any run."""

import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from tasks.shared.commands import run as commands
from tasks.shared.config.compose import compose_config, parse_overrides, plain
from tasks.shared.config.stage_configs import with_stages
from tasks.shared.config.typed import typed
from tasks.shared.data.image_set import CroppedDataset, FolderImages
from tasks.shared.data.loading import make_loader
from tasks.shared.errors import UserError
from tasks.shared.images import limits as image_limits
from tasks.shared.images.crops import TrainCrop
from tasks.shared.images.decode import OnCorrupt, decode_image, open_image, read_bytes, read_image
from tasks.shared.images.limits import DEFAULT, KEY, max_megapixels, set_max_megapixels
from tasks.shared.inference.predict import _in_groups
from tasks.shared.inference.settings import PredictConfig
from tasks.shared.training.settings import EvalConfig
from tests.tasks.shared.image_bombs import jpeg, saved

TOOLS = ("train", "eval", "predict", "convert_weights", "benchmark")


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    pils = Image.MAX_IMAGE_PIXELS
    yield
    set_max_megapixels(DEFAULT)
    Image.MAX_IMAGE_PIXELS = pils


@pytest.mark.parametrize("tool", TOOLS)
def test_each_tool_that_reads_images_has_the_key_with_its_default(tool: str) -> None:
    assert compose_config(tool, [])[KEY] == DEFAULT


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), True, "180", None])
def test_what_is_no_number_above_0_is_refused(value: Any) -> None:
    with pytest.raises(UserError, match=r"max_megapixels=.*; expected a number above 0"):
        typed(EvalConfig, {"checkpoint": "run", "output": None, KEY: value})


def test_the_key_moves_the_limit_and_pils_with_it(tmp_path: Path) -> None:
    """PIL warns at 89 megapixels by itself, and warnings are errors here."""
    for kind in ("PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG"):
        data = np.frombuffer(bytearray(saved(kind)), np.uint8)  # 40 x 30
        for allowed, refused in ((0.0012, 0.00119), (1e6, 0.0001)):
            set_max_megapixels(refused)
            with pytest.raises(UserError, match=r"x: is 0\.0 megapixels \(40 x 30\); more than max_megapixels=0\.00"):
                decode_image(data, "x")
            set_max_megapixels(allowed)
            assert decode_image(data, "x").shape == (3, 30, 40)
    set_max_megapixels(95)
    Image.new("1", (10_000, 9_300)).save(tmp_path / "x.png")
    with open_image(read_bytes(tmp_path / "x.png"), "x") as image:
        assert image.size == (10_000, 9_300)


def test_files_that_no_allowed_image_needs_are_not_read(tmp_path: Path) -> None:
    with (tmp_path / "x.jpg").open("wb") as file:
        file.truncate(1 << 40)  # of holes: on disk it is nothing
    with pytest.raises(UserError, match=r"x\.jpg: is a file of 1,099,512 MB; more than.*max_megapixels=180"):
        read_image(tmp_path / "x.jpg")


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_loader_processes_have_the_limit_of_the_command(start: str, tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(jpeg(2000, 1000))
    images = FolderImages(tmp_path, np.array([b"x.jpg"]), np.zeros(1, np.int64))
    set_max_megapixels(1.5)
    data = CroppedDataset(images, ["0"], 32, OnCorrupt("error"), train=TrainCrop())
    loader = make_loader(data, 1, train=False, workers=1, resolution=32)
    loader = DataLoader(
        data, batch_sampler=loader.batch_sampler, num_workers=1, collate_fn=loader.collate_fn,
        worker_init_fn=loader.worker_init_fn, multiprocessing_context=multiprocessing.get_context(start),
    )  # fmt: skip
    with pytest.raises(UserError, match=r"x\.jpg: is 2\.0 megapixels .* max_megapixels=1\.5"):
        next(iter(loader))


def test_no_config_of_a_run_holds_it_and_none_that_does_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger's checkpoint must not raise it."""
    config = plain(compose_config("train", ["task=classification"]))
    del config["output"], config["resume"]

    class Carried:
        resumable = True

    Carried.carried = config | {KEY: 1e9}  # type: ignore[attr-defined]
    monkeypatch.setattr("tasks.shared.records.checkpoint.load_checkpoint", lambda path: Carried)
    monkeypatch.setattr(
        "tasks.shared.records.checkpoint.find_checkpoint", lambda place, *_: tmp_path / "checkpoints/best.ckpt"
    )
    tools: Any = (("eval", EvalConfig, []), ("predict", PredictConfig, [f"input={tmp_path}"]))
    for tool, made, more in tools:
        given = [f"checkpoint={tmp_path}", *more]
        for arguments, expected in ((given, DEFAULT), ([*given, f"{KEY}=20"], 20)):
            set_max_megapixels(7)
            commands._from_checkpoint(tool, made, arguments, unused="data")
            assert max_megapixels() == expected
    with pytest.raises(UserError, match=r"max_megapixels=-3"):
        commands._from_checkpoint("eval", EvalConfig, [f"checkpoint={tmp_path}", f"{KEY}=-3"], unused="data")


def test_stages_and_their_digits_know_nothing_of_it(tmp_path: Path) -> None:
    def stage(*more: str, own: str = "") -> dict[str, Any]:
        overrides = ["task=classification", f'stages={{first: ["output=kept"{own}]}}', *more]
        parse_overrides(overrides)
        job = plain(compose_config("train", overrides))
        del job["output"], job["resume"], job[KEY]
        return with_stages(job, overrides, tmp_path)["stages"]["first"]

    usual = stage()
    assert stage(f"{KEY}=20") == usual and KEY not in usual
    with pytest.raises(UserError, match=r"stages\.first: max_megapixels is set on the command line, for all stages"):
        stage(own=f', "{KEY}=999"')


def test_prediction_holds_no_more_pixels_than_one_image_may_have() -> None:
    images = [(str(side), torch.empty(3, side, 10)) for side in (3, 3, 4, 20, 1, 1, 1, 1)]
    groups = [[name for name, _ in group] for group in _in_groups(images, 3, pixels=70)]
    assert groups == [["3", "3", "4"], ["20"], ["1", "1", "1"], ["1"]]
    assert [len(group) for group in _in_groups(images, 3, pixels=10**9)] == [3, 3, 2]
    assert image_limits.max_pixels() == 180_000_000
