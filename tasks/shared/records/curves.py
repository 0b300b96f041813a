"""The figures of a training: metrics.csv, and the same as TensorBoard reads it."""

import csv
import io
import os
import socket
import time
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from tasks.shared.errors import UserError
from tasks.shared.files.writing import cannot_write, make_folder, write_rows

EVERY = 20  # rows: how many wait to be written at most


class Curves(Logger):
    """Keeps what Lightning logs in `folder`, which is made with the first figures.

    Lightning's own loggers write in a thread, which dies with a traceback on a full disk, and begin metrics.csv anew
    in its place for each new column. Here a row is whole or not there, and a new column makes a new file, moved there.
    Raises UserError naming `output` where the disk takes no more.
    """

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder
        self.file = folder / "metrics.csv"
        called = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.0"
        self.events = folder / called
        self.columns: list[str] = []
        self.waiting: list[dict[str, Any]] = []

    @property
    def name(self) -> str:
        return self.folder.parent.name

    @property
    def version(self) -> str:
        return self.folder.name

    @property
    def log_dir(self) -> str:
        return str(self.folder)

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.waiting.append({**metrics, "step": step or 0})
        if len(self.waiting) >= EVERY:
            self.save()

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """The run's config.yaml has them."""

    @rank_zero_only
    def save(self) -> None:
        """Write the rows that wait."""
        if not self.waiting:
            return
        make_folder(self.folder, "output")
        rows = self.waiting
        if new := set().union(*rows) - set(self.columns):
            columns = sorted(new.union(self.columns))
            write_rows(self.file, [columns, *_cells([*self._read(), *rows], columns)], "output")
            self.columns = columns  # not before the file has them: after Ctrl-C in here `finalize` comes this way again
        else:
            text = io.StringIO(newline="")
            csv.writer(text).writerows(_cells(rows, self.columns))
            _append(self.file, text.getvalue().encode())
        self.waiting = []
        records = io.BytesIO()
        writer = RecordWriter(records)
        if not self.events.exists():
            writer.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
        for row in rows:
            values = [Summary.Value(tag=name, simple_value=value) for name, value in row.items() if name != "step"]
            event = Event(wall_time=time.time(), step=row["step"], summary=Summary(value=values))
            writer.write(event.SerializeToString())
        _append(self.events, records.getvalue())

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write the last rows; where training has failed, its own error is the one to tell."""
        with nullcontext() if status == "success" else suppress(UserError):
            self.save()

    def _read(self) -> list[dict[str, Any]]:
        if not self.columns:
            return []
        with self.file.open(encoding="utf-8", newline="") as lines:
            return list(csv.DictReader(lines))


def _cells(rows: Iterable[dict[str, Any]], columns: list[str]) -> list[list[Any]]:
    return [[row.get(name, "") for name in columns] for row in rows]


def _append(file: Path, data: bytes) -> None:
    """All of it, or nothing."""
    try:
        with file.open("ab", buffering=0) as opened:
            size = opened.tell()
            try:
                written = 0
                while written < len(data):
                    written += opened.write(data[written:])
            except OSError:
                opened.truncate(size)
                raise
    except OSError as error:
        raise cannot_write(file, error, "output") from error
