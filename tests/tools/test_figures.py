"""Figures 4 and 5: what is plotted against the paper's costs, and what becomes of runs that will not do."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision
import yaml
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from tasks.shared.config.compose import compose_config, plain
from tasks.shared.config.nodes import NetworkConfig
from tasks.shared.errors import UserError
from tasks.shared.network.meta import network_cost
from tasks.shared.paper.figures import cost_figure_4, cost_figure_5, figure_4, figure_5, write_figure
from tasks.shared.paper.points import COUNTED, PAPER, Point, counted_points, paper_points, run_point
from tasks.shared.records.checkpoint import write_weights
from tasks.shared.records.runs import find_runs
from tests.tools.conftest import Tool

RESOLUTIONS = (224, 192, 160, 128)
# The 16 models of Figures 4 and 5, counted by hand: million mult-adds at these resolutions, million parameters.
COSTS = {
    1.0: ((568.74, 418.12, 290.68, 186.40), 4.209),
    0.75: ((325.40, 239.27, 166.40, 106.77), 2.568),
    0.5: ((149.50, 109.97, 76.52, 49.16), 1.320),
    0.25: ((41.03, 30.21, 21.06, 13.57), 0.464),
}


@cache
def composed(*overrides: str) -> dict[str, Any]:
    return plain(compose_config("train", list(overrides)))


def write_run(
    folder: Path,
    top1: float | None,
    resolution: int = 224,
    network: str = "mobilenet",
    classes: int = 1000,
    metrics: dict[str, float] | None = None,
    **backbone: Any,
) -> Path:
    """What tools/train.py leaves of a finished run, as far as figures read it; top1 None: an unfinished one."""
    (folder / "checkpoints").mkdir(parents=True)
    base = composed("task=classification", f"backbone={network}")
    config = base | {"resolution": resolution, "backbone": base["backbone"] | backbone}
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    write_weights(folder / "checkpoints/best.ckpt", config, {}, classes, {})
    if top1 is not None:
        (folder / "metrics.json").write_text(json.dumps({"top1": top1} | (metrics or {})))
    return folder


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Three runs below a folder whose name Hydra would parse."""
    folder = tmp_path / "a sweep, of=3"
    write_run(folder / "0", 0.612, 160, alpha=0.5, metrics={"top5": 0.83})
    write_run(folder / "1", 0.7, alpha=1, metrics={"top5": 0.9})
    write_run(folder / "deeper/2", 0.4, 128, alpha=0.25)
    return folder


def plotted(figure: Figure) -> dict[str, set[tuple[float, ...]]]:
    """Every point of the figure's lines, x and y to three digits, by source."""
    points: dict[str, set[tuple[float, ...]]] = {}
    for line in figure.axes[0].lines:
        found = (tuple(round(v, 3) for v in xy) for xy in np.asarray(line.get_xydata()).tolist())
        points.setdefault(str(line.get_label()), set()).update(found)
    return points


def test_the_16_models_are_where_the_papers_costs_are(tmp_path: Path) -> None:
    for alpha in COSTS:
        for resolution in RESOLUTIONS:
            write_run(tmp_path / f"{alpha}-{resolution}", resolution / 1000, resolution, alpha=alpha)
    points = [run_point(run, tmp_path) for run in find_runs(tmp_path, "classification")]
    (at_4,), (at_5,) = plotted(figure_4(points)).values(), plotted(figure_5(points)).values()
    expected = [(cost, r / 10) for costs, _ in COSTS.values() for cost, r in zip(costs, RESOLUTIONS, strict=True)]
    np.testing.assert_allclose(sorted(at_4), sorted(expected), atol=0.006)
    expected = [(weights, r / 10) for _, weights in COSTS.values() for r in RESOLUTIONS]
    np.testing.assert_allclose(sorted(at_5), sorted(expected), atol=0.0006)


def test_the_papers_points_are_the_printed_ones_and_fit_the_counts() -> None:
    points = paper_points()
    assert {p.label: p.top1 for p in points} == {
        "1.0-224": 70.6, "0.75-224": 68.4, "0.5-224": 63.7, "0.25-224": 50.6,
        "1.0-192": 69.1, "1.0-160": 67.2, "1.0-128": 64.4, "0.5-160": 60.2,
    }  # fmt: skip
    for point in points:
        costs, weights = COSTS[point.alpha or 0]
        assert abs(point.mult_adds - costs[RESOLUTIONS.index(point.resolution)]) < 0.7  # 290 and 76 are cut off
        assert abs(point.parameters - weights) <= 0.05
    assert plotted(figure_4(points)) == {PAPER: {(p.mult_adds, p.top1) for p in points}}
    assert plotted(figure_5(points)) == {PAPER: {(p.parameters, p.top1) for p in points}}


def test_the_tool_writes_images_and_a_sorted_table(sweep: Path, tool: Tool) -> None:
    (sweep / "figure4.png").write_text("an old one")
    answer = tool("figures", f"runs={sweep}")
    assert answer.status == 0, answer.message
    lines = [line.split() for line in answer.out.splitlines()]
    assert "ours, imagenet_sample (1000 classes): costs of one image" in answer.out
    assert [line for line in lines if len(line) == 7 and line[0][0].isdigit()] == [
        ["1.0", "224", "568.74", "4.209", "70.00", "90.00", "1"],
        ["0.5", "160", "76.52", "1.320", "61.20", "83.00", "0"],
        ["0.25", "128", "13.57", "0.464", "40.00", "-", "deeper/2"],
    ]
    for name in ("figure4", "figure5"):
        pixels = np.asarray(Image.open(sweep / f"{name}.png").convert("RGB"))
        assert pixels.shape[1] > 1000
        assert 0.01 < (pixels < 200).any(-1).mean() < 0.3  # neither blank nor black
        assert (sweep / f"{name}.svg").read_text().rstrip().endswith("</svg>")


def captured(monkeypatch: pytest.MonkeyPatch, tool: Tool, *arguments: str) -> list[Figure]:
    """The figures that the tool writes."""
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    answer = tool("figures", *arguments)
    assert answer.status == 0, answer.message
    return figures[::2]  # each as .png and .svg


@pytest.mark.parametrize("paper", [True, False])
def test_the_papers_points_can_be_left_out(
    paper: bool, sweep: Path, tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "new/folder"
    for figure in captured(monkeypatch, tool, f"runs={sweep}", f"paper={paper}", f"output={output}"):
        sources = ["ours, imagenet_sample (1000 classes)", PAPER]
        assert list(plotted(figure)) == sources[: 1 + paper]
        texts = [text.get_text() for text in figure.legends[0].get_texts()]
        assert texts[: 1 + paper] == sources[: 1 + paper]
        assert figure.axes[0].get_ylabel() == "top-1 accuracy (%)"
    assert output.is_dir()


def test_costs_alone_need_no_runs(tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = captured(monkeypatch, tool, f"output={tmp_path}/new")
    costs = [(cost, r, a) for a, (row, _) in COSTS.items() for r, cost in zip(RESOLUTIONS, row, strict=True)]
    at_4, at_5 = (sorted(plotted(figure)[COUNTED]) for figure in figures)
    np.testing.assert_allclose(at_4, sorted((cost, r) for cost, r, _ in costs), atol=0.006)
    np.testing.assert_allclose(at_5, sorted((COSTS[a][1], cost) for cost, _, a in costs), atol=0.006)
    assert [figure.axes[0].get_xlabel() for figure in figures] == ["mult-adds (millions)", "parameters (millions)"]
    assert [figure.axes[0].get_ylabel() for figure in figures] == ["resolution (pixels)", "mult-adds (millions)"]
    assert all(figure.axes[0].get_xscale() == "log" for figure in figures)
    assert (tmp_path / "new").is_dir()


def test_files_of_figures_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    points = paper_points()
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_figure(figure_5(points), tmp_path / folder / "figure5")
    for name in ("figure5.png", "figure5.svg"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def looks(figure: Figure, look: Callable[[Line2D], Any]) -> list[Any]:
    """This of the legend's entries, the sources left out."""
    entries = [line for line in figure.legends[0].legend_handles if isinstance(line, Line2D)]
    return [look(line) for line in entries if line.get_linestyle() != "None"]


def test_the_figures_can_be_read_without_colour() -> None:
    numbers = [(a, r, cost, weights, 50 * a + r / 10) for a, (costs, weights) in COSTS.items()
               for r, cost in zip(RESOLUTIONS, costs, strict=True)]  # fmt: skip
    sources = ("ours, a (10 classes)", "ours, b (10 classes)", PAPER)
    points = [Point(source, *row) for source in sources for row in numbers]
    for figure, x, names in (
        (figure_4(points), "mult-adds (millions)", ["alpha = 1.0", "alpha = 0.75", "alpha = 0.5", "alpha = 0.25"]),
        (figure_5(points), "parameters (millions)", ["224 pixels", "192 pixels", "160 pixels", "128 pixels"]),
    ):
        (axes,) = figure.axes
        assert axes.get_xlabel() == x
        assert looks(figure, Line2D.get_label) == names
        assert len(set(looks(figure, Line2D.get_marker))) == len(set(looks(figure, Line2D.get_linestyle))) == 4
        fills = {str(line.get_label()): line.get_fillstyle() for line in axes.lines}
        assert [fills[source] for source in sources] == ["full", "left", "none"]
        assert {text.get_text() for text in axes.texts} == {f"{a}-{r}" for a in COSTS for r in RESOLUTIONS}
        assert len(axes.lines) == 4 * len(sources)
        assert axes.get_xscale() == "log"


def test_labels_do_not_cover_each_other() -> None:
    paper, costs = paper_points(), counted_points()
    drawn = [(f(paper), 8) for f in (figure_4, figure_5)] + [(f(costs), 16) for f in (cost_figure_4, cost_figure_5)]
    for figure, count in drawn:
        figure.draw_without_rendering()
        boxes = [text.get_window_extent() for text in figure.axes[0].texts]
        assert len(boxes) == count
        assert not any(a.overlaps(b) for index, a in enumerate(boxes) for b in boxes[:index])


def test_other_networks_are_counted_and_named(tmp_path: Path) -> None:
    write_run(tmp_path / "0", 0.65, shallow=True)
    write_run(tmp_path / "1", 0.72, 192, classes=10, block="conv")
    write_run(tmp_path / "2", 0.7, network="timm", name="resnet18", pretrained=True)
    shallow, conv, resnet = (run_point(run, tmp_path) for run in find_runs(tmp_path, "classification"))
    assert [p.label for p in (shallow, conv, resnet)] == ["1.0-shallow-224", "1.0-conv-192", "resnet18-224"]
    assert (round(shallow.mult_adds), round(shallow.parameters, 1)) == (307, 2.9)  # Table 5
    assert conv.source == "ours, imagenet_sample (10 classes)"
    published = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.meta["_ops"]  # billions
    assert resnet.mult_adds == pytest.approx(1000 * published, abs=1)
    names = [text.get_text() for text in figure_4([shallow, conv, resnet]).legends[0].get_texts()]
    assert names[2:] == ["alpha = 1.0 conv", "resnet18", "alpha = 1.0 shallow"]


def test_counting_takes_any_task() -> None:
    assert network_cost(NetworkConfig.of(composed("task=ssd")), 90).mult_adds == 1_237_129_408  # Table 13


def test_other_folders_are_skipped_by_name(sweep: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_run(sweep / "3", None)
    write_run(sweep / "4", 0.5)
    (sweep / "4/config.yaml").write_text(yaml.safe_dump(composed("task=ssd")))
    (sweep / "5").mkdir()
    (sweep / "5/config.yaml").write_text("colour: red")
    caplog.set_level("INFO")
    assert [run.path for run in find_runs(sweep, "classification")] == [sweep / name for name in ("0", "1", "deeper/2")]
    assert caplog.messages == [
        f"skipped {sweep}/3: it holds no metrics.json, so it is not finished",
        f"skipped {sweep}/4: task=ssd",
        f"skipped {sweep}/5: its config.yaml is no run's",
    ]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("metrics.json", "{", "metrics.json: not a readable json file"),
        ("metrics.json", "[0.5]", "metrics.json: holds a list; expected numbers by name"),
        ("metrics.json", '{"top1": "half"}', "metrics.json: top1='half'; expected a number"),
        ("metrics.json", '{"AP": 0.5}', "metrics.json: top1=None; expected an accuracy of 0 to 1"),
        ("metrics.json", '{"top1": 70.6}', "metrics.json: top1=70.6; expected an accuracy of 0 to 1"),
        ("metrics.json", '{"top1": NaN}', "metrics.json: top1=nan; expected an accuracy of 0 to 1"),
        ("config.yaml", "task: {", "config.yaml: not a readable yaml file"),
        ("checkpoints/best.ckpt", "hello", "best.ckpt: not a checkpoint, or damaged"),
        ("checkpoints/best.ckpt", None, "holds no checkpoints/best.ckpt"),
    ],
)
def test_broken_files_are_named(file: str, content: str | None, message: str, tool: Tool, tmp_path: Path) -> None:
    broken = write_run(tmp_path / "run", 0.5) / file
    if content is None:
        broken.unlink()
    else:
        broken.write_text(content)
    answer = tool("figures", f"runs={tmp_path}", f"output={tmp_path}/out")
    assert answer.status == 1
    assert f"{tmp_path}/run" in answer.message and message in answer.message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "runs and output are not set; give runs=..., or output=..."),
        (["runs=/no/such"], "runs=/no/such: no such folder"),
        (["runs={empty}"], "no finished run of task=classification"),
        (["runs={sweep}", "paper=maybe"], "paper=maybe; expected true or false"),
        (["runs={sweep}", "output={sweep}/0/config.yaml"], "config.yaml is a file; expected a folder"),
        (["run={sweep}"], "unknown key 'run'; the nearest keys: runs"),
    ],
)
def test_mistakes_are_told(arguments: list[str], message: str, sweep: Path, tool: Tool, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    answer = tool("figures", *(a.format(sweep=sweep, empty=tmp_path / "empty") for a in arguments))
    assert answer.status == 1
    assert message in answer.message, answer.message


def test_a_search_that_finds_nothing_says_what_was_searched_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.yaml and metrics\.json"):
        find_runs(tmp_path, "classification")
