"""tools/cost.py: tables, one network, a budget; what it prints, writes and refuses."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import backbone.mobilenet
from tasks.shared.config.compose import compose_config, plain
from tests.tools.conftest import TOOLS, Tool


def test_a_table_is_printed_with_verdicts(tool: Tool) -> None:
    answer = tool("cost", "table=[7,4]")
    assert answer.status == 0, answer.message
    lines = [" ".join(line.split()) for line in answer.out.splitlines()]
    assert [line[:8] for line in lines if line.startswith("Table")] == ["Table 4:", "Table 7:"]
    place = lines.index("1.0 MobileNet-160 mult-adds 290,675,200 290 M equal by truncation")
    assert lines[place + 1] == "table7_160 parameters 4,209,088 4.2 M equal by rounding"
    assert lines[place + 2] == "top-1 % 67.2"
    assert "equal by rounding, without FC (4,866,269,184)" in answer.out
    assert "1. The printed figure leaves the last, fully connected layer out" in answer.out


@pytest.mark.parametrize("table", ["6", "[6]", " 6 ", "'[6]'"])
def test_json_is_all_that_is_printed(table: str, tool: Tool) -> None:
    data = json.loads(tool("cost", f"table={table}", "format=json").out)
    (table_6,) = data["tables"]
    assert [row["mult-adds"]["ours"] for row in table_6["rows"]] == [568740352, 325400448, 149497088, 41030272]
    assert [row["experiment"] for row in table_6["rows"]] == [f"table6_{alpha}" for alpha in (1.0, 0.75, 0.5, 0.25)]
    assert data["alarms"] == []


def test_the_command_writes_the_page_and_its_images(
    tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert tool("cost", "output=docs/results.md", "format=markdown", "table=6").status == 0
    page, committed = ((place / "results.md").read_text() for place in (tmp_path / "docs", TOOLS.parent / "docs"))
    assert page.split("## ")[1:] == [part for part in committed.split("## ") if part.startswith(("Table 6", "Figures"))]
    names = {f"figure{number}_cost.{suffix}" for number in (4, 5) for suffix in ("png", "svg")}
    assert {file.name for file in (tmp_path / "docs/images").iterdir()} == names
    assert "Made by `python tools/cost.py output=docs/results.md format=markdown table=6`" in page


def test_accuracies_of_runs_are_filled_in(tool: Tool, tmp_path: Path) -> None:
    run = tmp_path / "runs, all/0"
    run.mkdir(parents=True)
    config = plain(compose_config("train", ["experiment=table6_0.5", "data=imagenet", "data.root=x"]))
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    (run / "metrics.json").write_text('{"top1": 0.6312}')
    answer = tool("cost", "table=6", "format=markdown", f"runs={run.parent}")
    cells = [line.split(" | ")[-3:] for line in answer.out.splitlines() if line.startswith(("| 0.5", "| 0.25"))]
    assert cells == [["63.1 (imagenet)", "63.7", "table6_0.5 |"], ["", "50.6", "table6_0.25 |"]]


def test_what_is_broken_is_told_and_ends_with_status_1_where_asked(
    tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    channels = [(40, 2), *backbone.mobilenet.TABLE_1[1:]]  # conv_0 has 32
    monkeypatch.setattr(backbone.mobilenet, "TABLE_1", tuple(channels))
    answer = tool("cost", "table=6", "format=markdown")
    assert answer.status == 0
    assert len(re.findall(r"\*\*DIFFERS: differs by \+\d\.\d %; known as: equal by rounding\*\*", answer.out)) == 4
    answer = tool("cost", "table=6", "check=true", f"output={tmp_path}/new/table6")
    assert answer.status == 1
    assert "error: 4 figures do not come out as they are known to" in answer.message
    assert "Table 6, 0.5 MobileNet-224, mult-adds: DIFFERS" in answer.message
    assert "DIFFERS" in (tmp_path / "new/table6").read_text()


def test_nothing_is_broken(tool: Tool) -> None:
    assert tool("cost", "table=[1,6]", "check=true").status == 0


def test_one_network_by_layer_stage_and_kind(tool: Tool) -> None:
    answer = tool("cost", "task=ssd", "backbone.alpha=0.5", "resolution=300")
    assert answer.status == 0, answer.message
    assert "task=ssd, backbone.alpha=0.5, resolution=300, 90 classes" in answer.out
    lines = [line.split() for line in answer.out.splitlines()]
    assert ["backbone.conv_13.pointwise.conv", "1x1", "conv", "512x10x10", "1", "26,214,400", "262,144"] in lines
    # Extras of half the width, by hand: 1x1 and 3x3 from 512, 256, 128, 128 channels on 10x10, 5x5, 3x3, 2x2 maps.
    extras = [(512, 128, 256, 100, 25), (256, 64, 128, 25, 9), (128, 64, 128, 9, 4), (128, 32, 64, 4, 1)]
    mult_adds = sum(a * b * before + 9 * b * c * after for a, b, c, before, after in extras)
    weights = sum(a * b + 9 * b * c for a, b, c, *_ in extras)
    (found,) = (line for line in lines if line[:1] == ["head.extras"])
    assert (found[1], found[4]) == (f"{mult_adds:,}", f"{weights:,}")


def test_a_second_stage_is_counted_for_each_proposal(tool: Tool) -> None:
    data = json.loads(tool("cost", "experiment=table13_faster_rcnn_300", "format=json").out)
    assert (data["mult_adds"], data["parameters"]) == (25_224_412_096, 6_065_995)
    assert data["stages"]["backbone, 300 times"]["mult_adds"] > 0.92 * data["mult_adds"]
    assert {layer["times"] for layer in data["layers"]} == {1, 300}


def test_classes_and_other_backbones_can_be_given(tool: Tool) -> None:
    own = json.loads(tool("cost", "task=classification", "num_classes=10", "format=json").out)
    assert own["weights"] == 4_209_088 - 990 * 1024
    other = json.loads(tool("cost", "task=classification", "backbone=timm", "format=json").out)
    assert other["mult_adds"] == pytest.approx(1.814e9, rel=1e-3)  # ResNet-18, by torchvision's own count


def test_a_budget_lists_pairs(tool: Tool) -> None:
    answer = tool("cost", "task=classification", "budget.mult_adds=100e6", "format=json")
    pairs = [(network["alpha"], network["resolution"]) for network in json.loads(answer.out)["fitting"]]
    assert pairs == [(0.5, 160), (0.5, 128), (0.25, 224), (0.25, 192), (0.25, 160), (0.25, 128)]
    lists = ("budget.alphas=[0.5,0.35]", "budget.resolutions=[96]")
    answer = tool("cost", "task=dogs", "budget.parameters=1e6", *lists, "format=json")
    data = json.loads(answer.out)
    assert [(n["alpha"], n["resolution"]) for n in data["fitting"]] == [(0.5, 96), (0.35, 96)]
    assert data["num_classes"] == 120 and data["considered"] == 2


def test_a_budget_that_nothing_fits_says_so(tool: Tool) -> None:
    answer = tool("cost", "task=classification", "budget.mult_adds=1e6")
    assert answer.status == 0
    assert "None of 16 networks is within 1,000,000 mult-adds." in answer.out


TASKS = "classification, dogs,"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tabel=6"], "unknown key 'tabel'; the nearest keys: table"),
        (["table=99"], "table=99; expected one of the paper's tables, 1 to 14, or several: [6,7]"),
        (["table=[6,x]"], "table=[6,x]; expected one of the paper's tables"),
        (["table="], "table=; expected one of the paper's tables"),
        (["format=x"], "format=x; expected one of terminal, markdown, json"),
        (["runs=/no/such"], "runs=/no/such: no such folder"),
        (["runs=TMP"], "no finished run in it or below it"),
        (["check=maybe"], "check=maybe; expected true or false"),
        (["output=TMP"], "is a folder; expected a file"),
        (["output=TMP/file/x"], "file is a file; expected a folder"),
        (["budget.mult_adds=100e6"], f"budget.mult_adds: of which network? give task=... too: {TASKS}"),
        (["num_classes=5"], f"num_classes: of which network? give task=... too: {TASKS}"),
        (["backbone.alpha=0.5"], f"backbone.alpha=0.5: of which network? give task=... too: {TASKS}"),
        (["experiment=by_heart"], "experiment=by_heart: of which network? give task=... too"),
        (["task=ssd", "table=6"], "table: is of the paper's tables; leave it out, or the network's keys"),
        (["task=ssd", "runs=TMP"], "runs: is of the paper's tables"),
        (["task=ssd", "num_classes=-1"], "num_classes=-1; expected a whole number from 0"),
        (["task=ssd", "num_classes=0"], "num_classes=0; expected at least 1"),
        (["task=nope"], "Could not find 'task/nope'"),
        (["task=ssd,dogs"], "task=ssd,dogs: one value is expected here"),
        (["task=ssd", "backbone.alpha=1,0.5"], "backbone.alpha=1,0.5: one value is expected here"),
        (["task=ssd", "backbone.alpha=0"], "backbone.alpha=0; expected a width multiplier above 0"),
        (["task=ssd", "resolution=8"], "resolution=8 is too small"),
        (["task=ssd", "+x=1"], "unknown key 'x'"),
        (["~task"], "keys cannot be deleted"),
        (["task=ssd", "budget.mult_adds=-1"], "budget.mult_adds=-1; expected a number above 0"),
        (["task=ssd", "budget.parameters=many"], "budget.parameters=many; expected a number above 0"),
        (["task=ssd", "budget=5"], "budget=5; expected the keys below it to be set"),
        (["task=ssd", "budget.alphas=[1]"], "budget.alphas: there is no budget; give budget.mult_adds=..."),
        (["task=ssd", "budget.mult_adds=1e9", "budget.alphas=[x]"], "budget.alphas=['x']; expected a list of numbers"),
        (["task=ssd", "budget.mult_adds=1e9", "budget.alphas=1"], "budget.alphas=1; expected a list of numbers"),
        (["task=ssd", "budget.mult_adds=1e9", "budget.resolutions=[1.5]"], "budget.resolutions=[1.5]; expected a list"),
        (["task=ssd", "budget.mult_adds=1e9", "backbone=timm"], "backbone.name=resnet18 has no alpha"),
    ],
)
def test_mistakes_are_told(arguments: list[str], message: str, tool: Tool, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    answer = tool("cost", *(argument.replace("TMP", str(tmp_path)) for argument in arguments))
    assert answer.status == 1
    assert message in answer.message, answer.message
    assert answer.out == ""


@pytest.mark.parametrize("arguments", [["--help"], ["tabel=6"], ["table=99"], ["task=ssd", "reslution=3"]])
def test_help_and_mistakes_do_not_wait_for_torch(arguments: list[str]) -> None:
    script = (
        f"import sys, runpy; sys.argv = ['cost', *{arguments}]\n"
        f"try: runpy.run_path({str(TOOLS / 'cost.py')!r}, run_name='__main__')\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    if arguments == ["--help"]:
        assert "python tools/cost.py task=classification budget.mult_adds=100e6" in ended.stdout
        assert "mult_adds: null # of one image" in ended.stdout
