"""The log of a training: whole rows, in a file whose header is that of all of them."""

from pathlib import Path
from typing import Any

import pytest

from tasks.shared.errors import UserError
from tasks.shared.records import curves
from tasks.shared.records.curves import Curves
from tasks.shared.records.report import draw_curves, read_curves


def logged(folder: Path) -> Curves:
    log = Curves(folder)
    log.log_metrics({"train/loss": 2.0}, 1)
    log.save()
    log.log_metrics({"train/loss": 1.0}, 2)
    log.log_metrics({"val/top1": 0.5}, 2)
    return log


def test_columns_that_come_later(tmp_path: Path) -> None:
    log = logged(tmp_path / "version_0")
    log.save()
    assert read_curves(log.file) == [
        {"step": 1, "train/loss": 2.0}, {"step": 2, "train/loss": 1.0}, {"step": 2, "val/top1": 0.5},
    ]  # fmt: skip


@pytest.mark.parametrize("after", [False, True], ids=["before the file is there", "after"])
def test_an_interruption_while_a_column_comes(after: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning finalizes its loggers then, which writes what waits."""
    log = logged(tmp_path / "version_0")
    write = curves.write_rows

    def interrupted(*arguments: Any) -> None:
        if after:
            write(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(curves, "write_rows", interrupted)
        with pytest.raises(KeyboardInterrupt):
            log.save()
    log.finalize("failed")
    rows = read_curves(log.file)
    assert {"step": 2, "val/top1": 0.5} in rows and rows[0] == {"step": 1, "train/loss": 2.0}
    assert all(len(line.split(",")) == 3 for line in log.file.read_text().splitlines())


def test_rows_that_were_written_in_part_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "logs/version_0/metrics.csv"
    file.parent.mkdir(parents=True)
    file.write_text("step,train/loss,val/top1\n1,2.0,\n2,x,\n3,1,2,3\n,1,\n4,1.0,0.5\n5,0.")
    assert read_curves(file) == [{"step": 1, "train/loss": 2.0}, {"step": 4, "train/loss": 1.0, "val/top1": 0.5}]
    (tmp_path / "logs/version_x").mkdir()
    (tmp_path / "logs/version_x/metrics.csv").write_text("a")
    draw_curves(tmp_path, ("top1",))
    assert (tmp_path / "curves.png").is_file()
    file.write_text("step\n" + "1" * 200_000)
    with pytest.raises(UserError, match=r"metrics\.csv: cannot be read"):
        read_curves(file)
