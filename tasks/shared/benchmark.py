"""Timing two ways to one answer against each other, and the suites that do. Imports nothing heavy."""

import importlib
import json
import multiprocessing
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from tasks.shared.errors import UserError, check_place

# Each a function of `rounds` that returns a Suite. Those that keep the heap, which cannot be taken back, come last.
SUITES = {
    "postprocess": "tasks.shared.detection.benchmark.postprocess_suite",
    "rcnn_postprocess": "tasks.faster_rcnn.benchmark.postprocess_suite",
    "train": "tasks.classification.benchmark.train_suite",
    "inference": "tasks.classification.benchmark.inference_suite",
}
WARM_UP = 0.1  # seconds that each side runs before it is timed
SLICE = 0.05  # seconds, about: how long each side runs in a round (one call at least)


class Comparison(NamedTuple):
    """Milliseconds a call, medians over the rounds; ratio: peer / ours in a round, so above 1 ours is faster."""

    ours_ms: float
    peer_ms: float
    ratio: float
    ratio_min: float
    ratio_max: float


class Result(NamedTuple):
    """A case of a suite. facts: what describes it, such as counts; checks: whether both sides agree, by name."""

    case: str
    facts: dict[str, Any]
    times: Comparison
    checks: dict[str, bool]


class Suite(NamedTuple):
    """title: what is compared with what; note: what else to know, such as the cases that this machine cannot run."""

    title: str
    results: list[Result]
    note: str = ""


class Child:
    """A side in a process of its own, for settings that a process cannot take back.

    There `make(*arguments)` returns the side; make must be importable, as a spawned process is given its name only.
    Calling the child calls the side and returns what it returns; the way there and back takes some 50 us.
    """

    def __init__(self, make: Callable[..., Callable[[], object]], *arguments: object):
        context = multiprocessing.get_context("spawn")
        self.pipe, end = context.Pipe()
        self.process = context.Process(target=_serve, args=(end, make, arguments), daemon=True)
        self.process.start()
        end.close()  # the child's alone, so that its death is the end of the pipe

    def __call__(self) -> Any:
        try:
            self.pipe.send(None)
            return self.pipe.recv()
        except (EOFError, ConnectionError) as error:
            self.process.join()
            raise RuntimeError(f"a side's process ended with status {self.process.exitcode}, see above") from error

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        self.pipe.close()
        self.process.join()


def _serve(pipe: Connection, make: Callable[..., Callable[[], object]], arguments: tuple[object, ...]) -> None:
    side = make(*arguments)
    with suppress(EOFError, BrokenPipeError, KeyboardInterrupt):  # the parent is done
        while True:
            pipe.recv()
            pipe.send(side())


def compare(ours: Callable[[], object], peer: Callable[[], object], rounds: int) -> Comparison:
    """Time both sides by turns: what slows the machine for a while slows both, and leaves their ratio alone.

    Every second round starts with the peer. A side's time in a round is its median call.
    """
    sides = (ours, peer)
    calls = [_warm_up(side) for side in sides]
    times: list[list[float]] = [[], []]
    for turn in range(rounds):
        for side in (0, 1) if turn % 2 == 0 else (1, 0):
            times[side].append(median(_seconds(sides[side]) for _ in range(calls[side])))
    ratios = [theirs / own for own, theirs in zip(*times, strict=True)]
    ours_ms, peer_ms = (1000 * median(side) for side in times)
    return Comparison(ours_ms, peer_ms, median(ratios), min(ratios), max(ratios))


def _warm_up(side: Callable[[], object]) -> int:
    """How many calls fill a slice."""
    _seconds(side)  # the first is slow, and does not count
    start = time.perf_counter()
    seconds: list[float] = []
    while len(seconds) < 2 or time.perf_counter() - start < WARM_UP:
        seconds.append(_seconds(side))
    return max(1, round(SLICE / median(seconds)))


def _seconds(side: Callable[[], object]) -> float:
    start = time.perf_counter()
    side()
    return time.perf_counter() - start


def run_suites(suite: str, rounds: int, threads: int, output: str | None) -> list[str]:
    """Run one suite, or `"all"`; print a table each and write `output` (JSON).

    Returns the cases whose answers differ. Raises UserError for arguments that will not do.
    """
    names = _check(suite, rounds, threads, output)
    import torch

    torch.set_num_threads(threads)
    facts = machine()
    print(" · ".join(f"{value}" if name in ("cpu", "date") else f"{name} {value}" for name, value in facts.items()))
    rows, different = [], []
    for name in names:
        module, function = SUITES[name].rsplit(".", 1)
        title, results, note = getattr(importlib.import_module(module), function)(rounds)
        print_results(f"{name}: {title}", results)
        if note:
            print(note)
        for case, described, times, checks in results:
            rows.append({"suite": name, "case": case} | described | times._asdict() | checks)
            different += [f"{name}, {case}: {check}" for check, passed in checks.items() if not passed]
    if output is not None:
        Path(output).parent.mkdir(parents=True, exist_ok=True)
        Path(output).write_text(json.dumps({"machine": facts, "rounds": rounds, "results": rows}, indent=2) + "\n")
        print(f"results: {output}")
    return different


def _check(suite: str, rounds: int, threads: int, output: str | None) -> list[str]:
    """The suites' names, once the arguments are known to do."""
    problems = []
    if suite not in ("all", *SUITES):
        problems.append(f"suite={suite}: no such suite; there are {', '.join(SUITES)} and all")
    for key, value in (("rounds", rounds), ("threads", threads)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            problems.append(f"{key}={value}; expected a whole number of at least 1")
    if output is not None:
        check_place("output", Path(output))
    if output is not None and Path(output).is_dir():
        problems.append(f"output={output} is a folder; expected a file")
    if problems:
        raise UserError("\n".join(problems))
    return list(SUITES) if suite == "all" else [suite]


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    import torch
    import torchvision

    names = [line for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")]
    return {
        "cpu": names[0].split(":", 1)[1].strip() if names else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "date": time.strftime("%Y-%m-%d %H:%M"),
    }


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def print_results(title: str, results: list[Result]) -> None:
    from rich.console import Console
    from rich.table import Table

    first = results[0]
    table = Table(title=title, title_justify="left")
    table.add_column("case")
    for name in (*first.facts, "ours ms", "peer ms", r"ratio \[min..max]", *first.checks):
        table.add_column(name.replace("_", " "), justify="right", no_wrap=name.startswith("ratio"))
    for case, facts, times, checks in results:
        ratio = rf"{times.ratio:.2f} \[{times.ratio_min:.2f}..{times.ratio_max:.2f}]"
        values = (f"{value:,}" if isinstance(value, int) else str(value) for value in facts.values())
        answers = ("yes" if passed else "NO" for passed in checks.values())
        table.add_row(case, *values, f"{times.ours_ms:.2f}", f"{times.peer_ms:.2f}", ratio, *answers)
    Console().print(table)
