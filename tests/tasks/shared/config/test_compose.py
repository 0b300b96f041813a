"""Overrides: quoting, checking, and what a checkpoint's config lets itself be told."""

import re
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from tasks.shared.config.compose import (
    check_keys,
    compose_config,
    experiment_keys,
    parse_overrides,
    plain,
    quote_paths,
    run_config,
)
from tasks.shared.errors import UserError
from tasks.shared.training.settings import run_of


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
    arguments = ["optim.lr=0.1", "backbone.taps=[16,32]", "output=null", "output='a b'", "-m", "teacher.cache=false"]
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


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("optim.lr=true", "a number"),
        ("optim.lr=[1]", "a number"),
        ("optim.lr=null", "a number"),
        ("trainer.ema_decay=x", "a number"),
        ("trainer.compile=1", "true or false"),
        ("freeze=false", "the keys below it to be set, freeze.up_to, freeze.batch_norm"),
        ("task.loss=3", "the keys below it to be set, task.loss.classification"),
        ("task.width=x", "a number"),
    ],
)
def test_a_value_of_another_kind_names_what_is_expected(argument: str, expected: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"{argument}; expected {expected}")):
        check_keys(parse_overrides([argument]), compose_config("train", ["task=ssd"]))
        run_of(plain(compose_config("train", ["task=ssd", argument])))


def test_values_of_the_kind_pass_and_those_that_mean_none() -> None:
    arguments = [
        "optim.lr=1", "data.workers=0", "trainer.devices=auto", "trainer.limit_train_batches=3", "task.loss=null",
        "trainer.ema_decay=null", "task.loss.mining_nms=null", "optim.options={eps: 1}", "optim.options.eps=x",
        "freeze={up_to: conv_3}", "seed='${oc.decode:3}'", "trainer.precision=32", "optim.lr=x,1",
    ]  # fmt: skip
    check_keys(parse_overrides(arguments), compose_config("train", ["task=ssd"]))
    classifier = compose_config("train", ["task=classification"])
    check_keys(parse_overrides(["data.augment=null", "data.augment=false"]), classifier)
    staged = compose_config("train", ["stages={first: ['seed=1']}", "init.stage=first"])
    check_keys(parse_overrides(["stages=null", "init.stage=null"]), staged)


def test_an_experiments_keys_and_choices_are_known() -> None:
    keys = experiment_keys(parse_overrides(["task=ssd", "experiment=paper_ssd"]))
    assert {"data", "optim", "data.split", "optim.schedule.decay"} <= keys and "resolution" not in keys
    assert "init.method" in experiment_keys(parse_overrides(["experiment=[paper_ssd,by_heart]"]))
    assert not experiment_keys(parse_overrides(["task=ssd", "experiment=null"]))


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


def test_what_data_has_from_the_task_follows_it() -> None:
    """A checkpoint's config is resolved: its data.crop no longer says that it is task.crop."""
    run = plain(compose_config("train", ["task=classification"]))
    own = told(run, "task.crop=inception", "task.crop_share=0.5")
    fresh = told(run, "data=imagenet", "data.root=x", "task.crop=inception", "task.crop_share=0.5")
    assert all((c["data"]["crop"], c["data"]["crop_share"]) == ("inception", 0.5) for c in (own, fresh))
    assert own["task"]["crop"] == "inception" and own["data"] == run["data"] | {"crop": "inception", "crop_share": 0.5}
    for arguments in (["task.crop_share=0.5", "data.crop_share=1.0"], ["data.crop_share=1.0", "task.crop_share=0.5"]):
        assert told(run, *arguments)["data"]["crop_share"] == 1.0, "what is said of data alone stays"
    detector = plain(compose_config("train", ["task=faster_rcnn"]))
    assert told(detector, "task.resize=keep_aspect")["data"] == detector["data"] | {"resize": "keep_aspect"}


@pytest.mark.parametrize("argument", ["backbone=timm", "experiment=by_heart", "task=other"])
def test_what_makes_the_network_is_the_checkpoints(argument: str, run: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"x\.ckpt"):
        told(run, argument)
