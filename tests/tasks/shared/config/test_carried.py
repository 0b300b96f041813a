"""What checkpoints carry: checked before anything believes it, in one line that names the file and the key."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from omegaconf import OmegaConf

from tasks.shared.config.carried import check_complete, check_config, check_info, completed
from tasks.shared.config.compose import CONFIGS, compose_config, groups
from tasks.shared.config.nodes import NetworkConfig, Node
from tasks.shared.config.targets import MOVED, target_of
from tasks.shared.errors import UserError
from tasks.shared.network.build import build_task, load_task
from tasks.shared.records.checkpoint import KEY, load_checkpoint, write_weights
from tasks.shared.training.settings import run_of


def config_of(*settings: str) -> dict[str, Any]:
    made = OmegaConf.to_container(compose_config("train", list(settings)), resolve=True)
    assert isinstance(made, dict)
    return {str(key): value for key, value in made.items()}


@pytest.fixture(scope="module")
def plain_config() -> dict[str, Any]:
    return config_of("task=ssd", "backbone.alpha=0.25", "resolution=64")


def changed(config: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    first, _, rest = key.partition(".")
    return config | {first: changed(config.get(first) or {}, rest, value) if rest else value}


@pytest.mark.parametrize("task", groups()["task"])
def test_what_this_toolkit_composes_passes(task: str) -> None:
    config = config_of(f"task={task}", "backbone=timm" if task != "ssd" else "teacher=none")
    config = check_config(config, "file")
    check_complete(config | {"stages": None}, "file")  # their settings are composed when a run starts


def test_data_and_teachers_that_this_toolkit_composes_pass() -> None:
    base = config_of("task=classification")
    for group in ("data", "teacher"):
        for file in (CONFIGS / group).glob("*.yaml"):
            node = yaml.safe_load(file.read_text())
            check_config(base | {group: {k: v for k, v in node.items() if "${" not in str(v)}}, "file")


@pytest.mark.parametrize("key", ["data.batch_size", "data.val_batch_size"])
def test_a_batch_that_no_memory_holds_is_refused(key: str, plain_config: dict[str, Any]) -> None:
    config = changed(changed(plain_config, "resolution", 256), key, 16_384)
    check_config(config, "file")
    with pytest.raises(UserError, match=f"^file: {key}=16385; expected 1,073,741,824 pixels in a batch at most"):
        check_config(changed(config, key, 16_385), "file")


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("data.root", "${oc.env:HOME}", r"data\.root: '\$\{oc\.env:HOME\}' holds \$\{"),
        ("data.root", "a\\${b", r"data\.root: .* holds \$\{"),
        ("task.loss.match_iou", ["x", {"y": "${seed}"}], r"task\.loss\.match_iou\[1\]\.y: .*holds"),
        ("data", {"${oc.env:HOME}": 1}, r"data: the key '\$\{oc\.env:HOME\}'; expected a plain text"),
        ("data", {3: 1}, r"data: the key 3; expected a plain text"),
        ("data.x", torch.zeros(2), r"data\.x: a Tensor; expected numbers"),
        ("backbone.input_mean", [0.5, {}, 0.5], r"backbone\.input_mean=\[0\.5, \{\}, 0\.5\]; expected a list"),
        ("data.root", True, r"data\.root=True; expected a path"),
        ("data.x", (1, 2), r"data\.x: a tuple"),
        ("task", None, r"task=None; expected keys below it"),
        ("task", "ssd", r"task='ssd'; expected keys below it"),
        ("backbone", [], r"backbone=\[\]; expected keys"),
        ("trainer", 3, r"trainer=3"),
        ("data", [1], r"data=\[1\]; expected keys below it, or null"),
        ("teacher", "run", r"teacher='run'"),
        ("stages", [1], r"stages=\[1\]"),
        ("stages", {"../../x": None}, r"stages='\.\./\.\./x'; expected names of letters"),
        ("stages", {"a": {"task": 1}}, r", stages\.a: task=1"),
        ("task.name", "../../../x", r"task\.name='\.\./\.\./\.\./x'; expected a name"),
        ("task.name", "ssd,planet", r"task\.name='ssd,planet'"),
        ("task.name", None, r"task\.name=None"),
        ("data.choice", "x/y", r"data\.choice='x/y'"),
        ("data.choice", ["coco"], r"data\.choice=\['coco'\]"),
        ("trainer.bn_momentum", "high", r"trainer\.bn_momentum='high'; expected a number"),
        ("trainer.compile", "yes", r"trainer\.compile='yes'; expected true or false"),
        ("trainer.max_epochs", "3", r"trainer\.max_epochs='3'; expected a whole number from 1"),
        ("trainer.precision", {"a": 1}, r"trainer\.precision=\{'a': 1\}; expected a text"),
        ("optim.name", [], r"optim\.name=\[\]; expected one of adamw"),
        ("optim.schedule", 3, r"optim\.schedule=3; expected the keys below"),
        ("init.head", {}, r"init\.head=\{\}; expected one of keep, new"),
        ("freeze.batch_norm", "x", r"freeze\.batch_norm='x'; expected true or false"),
        ("backbone.alpha", "wide", r"backbone\.alpha='wide'; expected a number"),
        ("backbone.taps", 16, r"backbone\.taps=16; expected a list"),
        ("task.anchors", 3, r"task\.anchors=3; expected the keys below"),
        ("resolution", 10**9, r"resolution=1000000000; expected a whole number from 1 to 8,192"),
        ("resolution", "300", r"resolution='300'"),
        ("resolution", True, r"resolution=True"),
        ("data.workers", 10**6, r"data\.workers=1000000; expected a whole number from 0 to 256"),
        ("data.val_batch_size", 10**9, r"data\.val_batch_size=1000000000"),
        ("backbone.options", {"window_size": [7, 600]}, r"window_size=600; expected no number above 512"),
        ("trainer.devices", 10**6, r"trainer\.devices=1000000"),
        ("backbone.options", {"checkpoint_path": "x.pth"}, r"backbone\.options\.checkpoint_path reads, fetches or"),
        ("backbone.options", {"pretrained_cfg": {"url": "x"}}, r"backbone\.options\.pretrained_cfg reads"),
        ("backbone.options", {"pretrained_cfg_overlay": {"file": "x"}}, r"pretrained_cfg_overlay reads"),
        ("backbone.options", {"depth": 10**9}, r"backbone\.options\.depth=1000000000"),
        ("backbone.options", {"dims": [4, {"a": 10**9}]}, r"backbone\.options\.dims=1000000000"),
        ("teacher.options", {"pretrained": True}, r"teacher\.options\.pretrained reads"),
        ("teacher.options", "x", r"teacher\.options='x'"),
    ],
)  # fmt: skip
def test_what_no_run_can_carry_is_refused(plain_config: dict[str, Any], key: str, value: Any, told: str) -> None:
    config = changed(plain_config, key, value)
    with pytest.raises(UserError, match=f"^file.*{told}") as error:
        run_of(completed(check_config(config, "file")), "file")
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


def test_configs_that_are_none_and_those_without_an_end(plain_config: dict[str, Any]) -> None:
    contents: tuple[Any, ...] = (None, 3, "x", [], {})
    for content in contents:
        with pytest.raises(UserError, match=r"^file"):
            check_config(content, "file")
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(UserError, match="32 deep"):
        check_config(plain_config | {"x": deep}, "file")
    laughs: Any = "ha"
    for _ in range(20):
        laughs = [laughs] * 10
    with pytest.raises(UserError, match="100,000 values"):
        check_config(plain_config | {"x": laughs}, "file")
    lacking = {k: v for k, v in plain_config["trainer"].items() if k != "max_epochs"}
    with pytest.raises(UserError, match=r"lacks trainer\.max_epochs"):
        check_complete(plain_config | {"trainer": lacking}, "file")


@pytest.mark.parametrize(
    ("info", "num_classes", "told"),
    [
        ([], 2, "its info is"), ({3: 1}, 2, "its info is"), (None, 2, "its info is"),
        ({}, "2", "num_classes='2'"), ({}, -1, "num_classes=-1"), ({}, 10**12, "num_classes=1000000000000"),
        ({}, True, "num_classes=True"),
        ({"class_names": "ab"}, 2, r"info\.class_names='ab'"), ({"class_names": [1, 2]}, 2, r"info\.class_names"),
        ({"class_names": ["a"]}, 2, r"info\.class_names has 1 of them; expected num_classes, 2"),
        ({"category_ids": ["1", "2"]}, 2, r"info\.category_ids.*whole numbers"),
        ({"class_names": ["a", "\ud800"]}, 2, r"info\.class_names has a text that is no UTF-8"),
        ({"attributes": {"a": 1}}, 1, r"info\.attributes"), ({"cells": "x"}, 2, r"info\.cells='x'"),
    ],
)  # fmt: skip
def test_what_data_cannot_have_told_is_refused(info: Any, num_classes: Any, told: str) -> None:
    with pytest.raises(UserError, match=f"^file: {told}"):
        check_info(info, num_classes, "file")


def test_a_checkpoint_is_checked_as_it_is_read(plain_config: dict[str, Any], tmp_path: Path) -> None:
    file, info = tmp_path / "x.ckpt", {"class_names": ["a", "b"], "category_ids": [1, 2]}
    write_weights(file, plain_config, info, 2, {})
    assert load_checkpoint(file).carried == plain_config
    good = torch.load(file, weights_only=True)
    for key, value in (("config", {}), ("config", changed(plain_config, "output", "${seed}")), ("info", 3),
                       ("num_classes", None)):  # fmt: skip
        torch.save(good | {KEY: good[KEY] | {key: value}}, file)
        with pytest.raises(UserError, match=f"^{file}: "):
            load_checkpoint(file)


@pytest.mark.parametrize(
    ("key", "value"),
    [("backbone.alpha", 50.0), ("backbone.depth_multiplier", 10**9), ("task.width", 10**6), ("classes", 10**9),
     ("classes", 2**30), ("backbone.alpha", 1e300)],
)  # fmt: skip
def test_sizes_that_are_not_the_weights_are_told_before_memory_is_taken(
    plain_config: dict[str, Any], key: str, value: Any
) -> None:
    weights = build_task(NetworkConfig.of(plain_config), 2).state_dict()
    classes = value if key == "classes" else 2
    config = plain_config if key == "classes" else changed(plain_config, key, value)
    with pytest.raises(UserError):
        load_task(NetworkConfig.of(config), weights, classes, "x.ckpt")


def test_planning_a_network_changes_no_random_number(plain_config: dict[str, Any]) -> None:
    weights = build_task(NetworkConfig.of(plain_config), 2).state_dict()
    torch.manual_seed(0)
    build_task(NetworkConfig.of(plain_config), 2)
    expected = torch.rand(3)
    torch.manual_seed(0)
    load_task(NetworkConfig.of(plain_config), weights, 2, "x.ckpt")
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_checkpoints_of_older_versions_name_what_has_moved(old: str, new: str, tmp_path: Path) -> None:
    """As they were written: the node that names it has its own arguments."""
    task = next((task for task in groups()["task"] if config_of(f"task={task}")["task"]["_target_"] == new), None)
    config = config_of(*(("task=classification", "backbone=timm") if task is None else (f"task={task}",)))
    node = "backbone" if task is None else "task"
    assert config[node]["_target_"] == new
    config["stages"] = {"first": changed({**config, "stages": None}, f"{node}._target_", old)}
    write_weights(tmp_path / "x.ckpt", changed(config, f"{node}._target_", old), {}, 0, {})
    loaded = load_checkpoint(tmp_path / "x.ckpt").carried
    assert loaded[node]["_target_"] == loaded["stages"]["first"][node]["_target_"] == new
    assert target_of(Node.read(node, loaded[node])).__name__ == new.rpartition(".")[2]
    with pytest.raises(UserError, match="expected one of configs"):
        target_of(Node(node, old, None, {}))
