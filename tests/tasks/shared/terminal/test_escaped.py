"""Names of classes and figures that strangers have given: in images and diagrams they are names and no more."""

import os
import time
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from tasks.face_attributes.draw import draw_precisions
from tasks.shared.classification.confused import draw_confused
from tasks.shared.classification.draw import draw_prediction
from tasks.shared.detection.draw import draw_detections
from tasks.shared.detection.postprocess import Detections
from tasks.shared.records.report import draw_curves
from tasks.shared.terminal.escaped import in_diagram, one_line

HOSTILE = (r"$\frac$", r"\$\frac$", "two\nlines", "\x1b[31m\0", "W" * 3_000_000, "$" * 2_000_000)


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name[:8]))
def test_names_are_drawn_as_they_are_and_soon(name: str, tmp_path: Path) -> None:
    start = time.process_time()
    image = Image.new("RGB", (300, 300))
    answer = draw_prediction(image, [(name, 0.5)], truth=name)
    assert answer.size == draw_prediction(image, [("a", 0.5)], truth="a").size
    found = Detections(torch.tensor([[10.0, 10, 90, 90]] * 5), torch.full((5,), 0.9), torch.zeros(5, dtype=torch.int64))
    assert draw_detections(image, found, [name]).size == image.size
    truth = torch.tensor([0, 0, 1]).numpy()
    assert draw_confused(truth, truth[::-1].copy(), [name, name], lambda _: torch.zeros(3, 8, 8, dtype=torch.uint8))
    draw_precisions([name], [0.5], None, tmp_path / "a.png")
    (tmp_path / "logs/version_0").mkdir(parents=True)
    log = tmp_path / "logs/version_0/metrics.csv"
    log.write_text(f"step,train/{name[:9999]}\n1,2\n" if "\n" not in name else "step,train/a\n1,2\n")
    draw_curves(tmp_path, ["top1"])
    assert (tmp_path / "curves.png").is_file() and time.process_time() - start < 10


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name[:8]))
def test_in_a_diagram_nothing_is_a_formula(name: str) -> None:
    told = Figure().text(0, 0, in_diagram(name))
    assert told._preprocess_math(told.get_text()) == (one_line(name, 32), False)  # type: ignore[attr-defined]


LOGS = (b"step,train/a\nx,y\n", b"train/a\n1\n", b"\xff\n", b"step,train/a\nnan,1\n", b"a\n" + b"9" * 200_000, None)


@pytest.mark.parametrize("content", LOGS)
def test_logs_that_are_none_cost_no_run_its_end(content: bytes | None, tmp_path: Path) -> None:
    """None: a pipe, which would be waited for."""
    for version in ("version_x", "version_1", "version_" + "9" * 200):
        file = tmp_path / "logs" / version / "metrics.csv"
        file.parent.mkdir(parents=True)
        os.mkfifo(file) if content is None else file.write_bytes(content)
    draw_curves(tmp_path, ["top1"])
    assert (tmp_path / "curves.png").is_file()
