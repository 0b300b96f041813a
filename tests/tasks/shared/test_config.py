"""Overrides: quoting, checking, and what a checkpoint's config lets itself be told."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from tasks.shared.config import (
    check_keys,
    compose_config,
    parse_overrides,
    plain,
    quote_paths,
    run_config,
)
from tasks.shared.errors import UserError


@pytest.mark.parametrize(
    "path",
    [
        "/plain/path",
        "/with space/and, comma",
        "/accents é ü/日本",
        "/a=b/[x](y){z}",
        "/quo'te/dou\"ble",
        "C:\\back\\slash\\",
        "/dollar/${x}",
        "~/home",
        "0",
    ],
)
def test_a_path_arrives_as_it_was_typed(path: str) -> None:
    quoted = quote_paths([f"data.root={path}"])
    config = plain(compose_config("train", ["task=ssd", "data=coco", *quoted]))
    assert config["data"]["root"] == path


def test_other_values_null_and_quoted_ones_are_left_alone() -> None:
    arguments = ["optim.lr=0.1", "backbone.taps=[16,32]", "output=null", "output='a b'", "-m"]
    assert quote_paths(arguments) == arguments


def test_a_file_of_that_name_trains(tmp_path: Path) -> None:
    (override,) = parse_overrides(quote_paths([f"output={tmp_path}/a b,c=d"]))
    assert override.value() == f"{tmp_path}/a b,c=d"


@pytest.mark.parametrize("argument", ["task", "backbone.alpha=[1", "a b=c"])
def test_what_is_no_override_is_named(argument: str) -> None:
    with pytest.raises(UserError, match="cannot read"):
        parse_overrides([argument])


@pytest.mark.parametrize(
    ("argument", "nearest"),
    [
        ("backbone.alhpa=1", "backbone.alpha"),
        ("alpha=1", "backbone.alpha"),
        ("trainer.epochs=1", "trainer.max_epochs"),
        ("+backbone.alhpa=1", "backbone.alpha"),
        ("++optim.learning_rate=1", "optim"),
        ("tsk=ssd", "task"),
    ],
)
def test_a_typo_lists_the_nearest_keys(argument: str, nearest: str) -> None:
    config = compose_config("train", [])
    with pytest.raises(UserError, match=f"nearest keys: .*{nearest}"):
        check_keys(parse_overrides([argument]), config)


def test_known_keys_pass_even_unset_and_free_ones() -> None:
    config = compose_config("train", ["data=coco"])
    check_keys(
        parse_overrides(["data.root=x", "optim.options.momentum=0.9", "+optim.options.eps=1", "task=ssd"]), config
    )


def test_all_problems_come_in_one_message() -> None:
    with pytest.raises(UserError) as caught:
        check_keys(parse_overrides(["optim.rl=1", "trainer.device=2"]), compose_config("train", []))
    assert "optim.rl" in str(caught.value) and "trainer.device" in str(caught.value)


@pytest.fixture
def run() -> dict[str, Any]:
    """The config that a checkpoint would carry."""
    config = plain(compose_config("train", ["task=ssd", "trainer.max_epochs=7"]))
    return {k: v for k, v in config.items() if k not in ("output", "resume")}


def told(run: dict[str, Any], *arguments: str) -> dict[str, Any]:
    tool = OmegaConf.create({"checkpoint": "???", "output": None})
    config, own = run_config(run, parse_overrides(["checkpoint=x", *arguments]), tool, "x.ckpt")
    assert own.checkpoint == "x"
    return plain(config)


def test_a_runs_config_takes_overrides_and_other_data(run: dict[str, Any]) -> None:
    assert told(run) == run
    assert told(run, "data.root=elsewhere")["data"] == run["data"] | {"root": "elsewhere"}
    other = told(run, "data=coco", "data.root=/coco", "resolution=256")
    assert other["data"]["choice"] == "coco" and other["data"]["root"] == "/coco"
    assert other["resolution"] == 256
    assert other["trainer"] == run["trainer"] and other["backbone"] == run["backbone"]


@pytest.mark.parametrize("argument", ["backbone=timm", "experiment=by_heart", "task=other"])
def test_what_makes_the_network_is_the_checkpoints(argument: str, run: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"x\.ckpt"):
        told(run, argument)
