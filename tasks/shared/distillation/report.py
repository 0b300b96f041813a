"""Teacher and student side by side, at the end of a run that was taught."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from rich.console import Console
from torch import Tensor

from backbone import count_cost
from tasks.shared.config.nodes import NetworkConfig
from tasks.shared.distillation.teacher import Teacher
from tasks.shared.files.writing import write_text
from tasks.shared.network.fused import network_of
from tasks.shared.records.checkpoint import find_checkpoint, load_checkpoint
from tasks.shared.terminal.tables import PlainTable

FILE = "teacher_and_student.md"
PREFIX = "teacher_"  # of the evaluator's figures of the teacher, which stand beside the student's of the same name
WARM_UP = 2  # batches
TIMED = 9  # batches at most
SECONDS = 4.0  # after which no further batch is timed, if there are three


class Row(NamedTuple):
    """A figure of both; None where it is not known, or means nothing. compared: their ratio means something."""

    name: str
    teacher: float | int | None
    student: float | int | None
    compared: bool = True


def report_student(
    network: NetworkConfig, accelerator: str, batch: int, teacher: Teacher, metrics: dict[str, float], output: Path
) -> None:
    """Print what teacher and student reach and cost, and write it to teacher_and_student.md in the run's folder.

    network: the student's. batch: images in a batch. metrics: the run's final ones. Speed is that of the networks
    alone, in fp32, on the run's device.
    """
    checkpoint = load_checkpoint(find_checkpoint(output))
    task, device = network_of(checkpoint, network, accelerator, "32-true")
    cost, theirs = count_cost(task, task.resolution), teacher.cost()
    rows = figures(metrics, task.monitored_metrics)
    rows += [
        Row("million mult-adds", None if theirs is None else theirs[0] / 1e6, cost.mult_adds / 1e6),
        Row("million parameters", None if theirs is None else theirs[1] / 1e6, cost.parameters / 1e6),
    ]
    student_speed = images_per_second(task, (task.resolution, task.resolution), batch, device)
    rows.append(Row("images per second", images_per_second(teacher, teacher.size, batch, device), student_speed))
    note = f"Images per second: fp32, batches of {batch}, {_device(device)}; median of batches, after a warm-up."
    write_text(output / FILE, markdown(teacher.name, rows, note), "output")
    table = PlainTable("", "teacher", "student", "student / teacher", title=teacher.name, title_justify="left")
    for row in rows:
        if "/" not in row.name:  # those of single classes are in the file
            table.add_row(*_cells(row))
    Console().print(table)


def figures(metrics: dict[str, float], monitored_metrics: Sequence[str]) -> list[Row]:
    """Those that both have, then the student's own; those of single classes (`AP/<class>`) come last.

    monitored_metrics: the task's, which are better the higher they are: only these are compared.
    """
    own = [name for name in metrics if not name.startswith(PREFIX)]
    rows = [Row(name, metrics.get(PREFIX + name), metrics[name], name in monitored_metrics) for name in own]
    return sorted(rows, key=lambda row: ("/" in row.name, row.teacher is None))


def images_per_second(
    predict: Callable[[Tensor], object], size: tuple[int, int], batch: int, device: torch.device
) -> float:
    """Of a network that takes (B, 3, h, w) uint8; size: h and w. The median of several batches."""
    images = torch.randint(0, 256, (batch, 3, *size), dtype=torch.uint8, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    seconds: list[float] = []
    with torch.inference_mode():
        for _ in range(WARM_UP):
            predict(images)
        while len(seconds) < 3 or (len(seconds) < TIMED and sum(seconds) < SECONDS):
            _wait(device)
            start = time.perf_counter()
            predict(images)
            _wait(device)
            seconds.append(time.perf_counter() - start)
    return batch / median(seconds)


def _wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize()


def _device(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads" if device.type == "cpu" else device.type


def markdown(name: str, rows: list[Row], note: str) -> str:
    head = ["| | teacher | student | student / teacher |", "|---|---|---|---|"]
    table = [f"| {' | '.join(_cells(row))} |" for row in rows]
    return "\n".join(["# Teacher and student", "", f"Teacher: {name}", "", *head, *table, "", note, ""])


def _cells(row: Row) -> list[str]:
    ratio = row.student / row.teacher if row.compared and row.student is not None and row.teacher else None
    return [row.name, *("" if value is None else _number(value) for value in (row.teacher, row.student, ratio))]


def _number(value: float) -> str:
    """Four decimals, and of large numbers fewer."""
    return f"{value:,.4f}" if abs(value) < 10 else f"{value:,.1f}"
