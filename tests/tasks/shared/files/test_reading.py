"""JSON and YAML that lie: one line, in time, without much memory."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tasks.shared.files.reading import read_json, read_yaml
from tasks.shared.records.runs import read_metrics
from tests.limits import assert_refused

LAUGHS = "a0: &a0 [1, 2]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 40))
YAMLS = {
    "a billion laughs": LAUGHS,
    "merged laughs": MERGES,
    "in itself": "a: &a [*a]",
    "deep": "[" * 100_000,
    "deep in blocks": "".join(" " * n + "a:\n" for n in range(300)),
    "sixty to the power": "a: " + "1" + ":11" * 100_000,
    "keys in one place": "\n".join(f"{n * (2**61 - 1)}: 0" for n in range(30_000)),
    "a list as a key": "? [1, 2]\n: 3",
    "a tag that calls": "!!python/object/apply:os.system [true]",
    "too many digits": "a: " + "9" * 6000,
    "two megabytes": "a: b\n" * 500_000,
    "torn": "a: [1, 2",
    "no text": "a: \udcff",
    "a date that is none": "a: 2020-99-99",
}


@pytest.mark.parametrize("name", YAMLS)
def test_yaml_that_lies(name: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(YAMLS[name].encode(errors="surrogateescape"))
    assert_refused(lambda: read_yaml(file), f"{file}: ")


def test_yaml_of_ours_is_read_with_what_it_names_twice(tmp_path: Path) -> None:
    shared = {"alpha": 0.5, "taps": ["conv_11"]}
    config = {"backbone": shared, "stages": {"first": {"backbone": shared}}, "ü": None, "n": {1: 2}, "t": "a\nb" * 5000}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config, allow_unicode=True), "utf-8")
    assert "*id001" in (tmp_path / "config.yaml").read_text("utf-8")
    assert read_yaml(tmp_path / "config.yaml") == config
    (tmp_path / "empty.yaml").touch()
    assert read_yaml(tmp_path / "empty.yaml") is None


@pytest.mark.parametrize(
    "content", [b"", b'{"a": 1', b"[" * 1_000_000, b"9" * 5000, b'{"a": "\xff"}', b"[1]" + b" " * (2 << 20)]
)
@pytest.mark.parametrize("read", [read_json, read_metrics])
def test_json_that_lies(read: Callable[[Path], object], content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "metrics.json"
    file.write_bytes(content)
    assert_refused(lambda: read(file), f"{file}: ")


@pytest.mark.parametrize("content", ["[]", '{"a": "1"}', '{"a": true}', '{"a": null}', '{"a": [1]}', "3"])
def test_metrics_of_wrong_kinds(content: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(content, "utf-8")
    assert_refused(lambda: read_metrics(tmp_path / "metrics.json"), "metrics.json: ", "number")


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for file in (tmp_path / "fifo", tmp_path, tmp_path / "absent"):
        with pytest.raises(ValueError, match=r"^\S+: cannot be read \((no such file|not a regular file)\)$"):
            read_json(file)
