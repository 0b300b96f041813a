"""On a checkpoint's word nothing is drawn, fetched or written anew; on the command line's it is."""

import logging
from pathlib import Path
from typing import Any

import pytest

from tasks.classification import torchvision_sets
from tasks.classification.data import classification_sample
from tasks.shared.config.compose import parse_overrides
from tasks.shared.config.consent import CACHE, cache_path, hear
from tasks.shared.errors import UserError
from tasks.shared.network.timm_backbone import TimmBackbone


def test_no_sample_is_drawn_on_a_checkpoints_word(tmp_path: Path) -> None:
    def sample(root: Path, train: int = 1) -> None:
        classification_sample(str(root), train=train, val=1, resolution=32)

    hear(parse_overrides(["trainer=cpu"]), carried=True)
    with pytest.raises(UserError, match=r"data\.root=.*/new: no such sample lies there.*give data\.root=FOLDER"):
        sample(tmp_path / "new")
    assert not list(tmp_path.iterdir())
    hear(parse_overrides([f"data.root={tmp_path}/new"]), carried=True)
    with pytest.raises(UserError, match="no such sample"):
        sample(tmp_path / "elsewhere")
    sample(tmp_path / "new")
    hear([], carried=True)
    sample(tmp_path / "new")
    kept = sorted((tmp_path / "new").rglob("*"))
    with pytest.raises(UserError, match="no such sample"):
        sample(tmp_path / "new", train=2)
    assert sorted((tmp_path / "new").rglob("*")) == kept, "what lies there is not replaced either"
    hear(parse_overrides(["data=imagenet_sample"]), carried=True)
    sample(tmp_path / "other")


def test_nothing_is_fetched_on_a_checkpoints_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    class Fetched:
        def __init__(self, root: str, train: bool, download: bool):
            asked.append(download)
            raise RuntimeError("Dataset not found")

    monkeypatch.setattr(torchvision_sets.datasets, "CIFAR10", Fetched)

    def opened(settings: list[str], carried: bool) -> str:
        hear(parse_overrides(settings), carried=carried)
        with pytest.raises(UserError) as error:
            torchvision_sets.torchvision_set(str(tmp_path), name="CIFAR10", download=True)
        return str(error.value)

    assert "give data.download=true on this command line" in opened([], carried=True)
    opened(["data.root=x"], carried=True)
    assert asked == [False, False]
    for settings, carried in ((["data.download=true"], True), (["data=torchvision"], True), ([], False)):
        opened(settings, carried)
    assert asked[2:] == [True] * 3
    hear([], carried=True)
    with pytest.raises(ValueError, match=r"backbone\.pretrained=true: nothing is downloaded"):
        TimmBackbone("resnet18", [16], pretrained=True)


@pytest.mark.parametrize("name", ["loader", "transform", "target_transform", "download", "root"])
def test_options_of_sets_are_no_functions(name: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {name: "os.system"}
    with pytest.raises(UserError, match=rf"data\.options\.{name}: is no option"):
        torchvision_sets.torchvision_set(str(tmp_path), name="CIFAR10", options=options)


def test_caches_lie_where_the_command_says(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    hear([], carried=True)
    assert cache_path("data.cache", tmp_path, "shards_*.parquet") == CACHE
    assert f"data.cache={tmp_path}: named by the checkpoint alone" in caplog.text
    (tmp_path / "shards_ab.parquet").touch()
    assert cache_path("data.cache", tmp_path, "shards_*.parquet") == tmp_path
    assert cache_path("data.cache", tmp_path, "teacher_*") == CACHE
    for settings, carried in (([f"data.cache={tmp_path}"], True), (["data=lfw"], True), ([], False)):
        hear(parse_overrides(settings), carried=carried)
        assert cache_path("data.cache", tmp_path, "teacher_*") == tmp_path
