"""Paths that are not there are told before anything is read."""

from pathlib import Path
from typing import Any

import pytest

from tasks.shared.config.compose import compose_config, groups
from tasks.shared.config.paths import PLACES, check_exists, check_places, check_utf8
from tasks.shared.errors import UserError


def test_every_missing_path_of_a_run_is_told_at_once() -> None:
    values = {
        "data.root": "/gone",
        "data.minival": "/ids.txt",
        "init.run": "/gone/run",
        "teacher.path": None,
        "seed": "/gone",
    }
    expected = [
        "data.root=/gone: no such folder",
        "data.minival=/ids.txt: no such file",
        "init.run=/gone/run: no such checkpoint or run folder",
    ]
    with pytest.raises(UserError) as caught:
        check_places(values, "coco")
    assert str(caught.value).splitlines() == expected


@pytest.mark.parametrize("choice", ["coco_sample", "torchvision", None])
def test_what_is_made_on_first_use_may_be_missing(choice: str | None) -> None:
    check_places({"data.root": "/gone"}, choice)


@pytest.mark.parametrize("value", [None, "", "/gone/*.tar", "/gone/[0-9].jpg", 3, "."])
def test_what_is_no_path_or_may_be_a_pattern_is_left_to_its_reader(value: Any) -> None:
    check_exists("input", value, "file or folder")
    check_places({"data.root": value}, "coco")


def test_existing_paths_pass(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").touch()
    check_places({"data.root": str(tmp_path), "data.minival": str(tmp_path / "ids.txt")}, "coco")
    check_places({}, "coco")


def test_every_place_is_a_key_of_some_config() -> None:
    """Or its name is mistyped."""
    known: set[str] = set()
    for group in ("data", "backbone", "teacher"):
        for choice in groups()[group]:
            known |= keys_of(compose_config("train", [f"{group}={choice}"]))
    assert set(PLACES) <= known


def keys_of(node: Any, prefix: str = "") -> set[str]:
    keys: set[str] = set()
    for name in node:
        keys.add(f"{prefix}{name}")
        child = node._get_node(name)
        if hasattr(child, "keys") and not child._is_none() and not child._is_missing():
            keys |= keys_of(child, f"{prefix}{name}.")
    return keys


def test_values_that_are_no_utf8_are_told_by_their_key() -> None:
    check_utf8({"seed": 0, "data": {"root": "é", "taps": ["a", 1, None]}})
    configs: dict[str, dict[str, Any]] = {
        "data.root": {"data": {"root": "caf\udce9"}},
        "stages.a.teacher.path": {"seed": 0, "stages": {"a": {"teacher": {"path": "caf\udce9"}}}},
    }
    for key, config in configs.items():
        with pytest.raises(UserError, match=rf"^{key}=caf\\xe9: is no UTF-8"):
            check_utf8(config)
    with pytest.raises(UserError, match=r"^a="):
        check_utf8({"a": ["\udce9"]})
