"""Suites that time this toolkit against its peers, and what they tell. Imports nothing heavy."""

import importlib
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from tasks.shared.benchmark.settings import BenchmarkConfig
from tasks.shared.benchmark.timing import Comparison
from tasks.shared.errors import UserError
from tasks.shared.files.writing import make_folder, probe_file, report_faults, write_text

# Each a function of Options that returns a Suite. Those that keep the heap, which cannot be taken back, come last.
SUITES = {
    "startup": "tasks.shared.benchmark.startup.startup_suite",
    "coco": "tasks.shared.benchmark.coco.coco_suite",
    "postprocess": "tasks.shared.benchmark.postprocess.postprocess_suite",
    "rcnn_postprocess": "tasks.faster_rcnn.benchmark.postprocess_suite",
    "input": "tasks.shared.benchmark.input.input_suite",
    "train": "tasks.classification.benchmark_train.train_suite",
    "run": "tasks.classification.benchmark_run.run_suite",
    "inference": "tasks.classification.benchmark_inference.inference_suite",
}
WIDTH = 150  # of tables, in characters, where no terminal says


class Options(NamedTuple):
    """What a suite may be told.

    rounds: each times both sides once; suites whose sides take seconds do with fewer. images: a folder of JPEG photos
    in place of drawn ones, for `input`. coco_pictures: how many `coco` evaluates.
    """

    rounds: int = 15
    images: str | None = None
    coco_pictures: int = 1000


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


def run_suites(config: BenchmarkConfig) -> list[str]:
    """Run one suite, or `"all"`; print a table each and write `output` (JSON). See Options.

    Returns the cases whose answers differ. Raises UserError for arguments that will not do.
    """
    options, output = Options(config.rounds, config.images, config.coco_pictures), config.output
    names = _check(config)
    import torch

    torch.set_num_threads(config.threads)
    facts = machine()
    print(" · ".join(f"{value}" if name in ("cpu", "date") else f"{name} {value}" for name, value in facts.items()))
    rows, different = [], []
    for name in names:
        module, function = SUITES[name].rsplit(".", 1)
        with report_faults(Path(os.environ.get("TMPDIR", "/tmp")), "TMPDIR"):  # where suites draw what they time
            title, results, note = getattr(importlib.import_module(module), function)(options)
        print_results(f"{name}: {title}", results)
        if note:
            print(note)
        for case, described, times, checks in results:
            rows.append({"suite": name, "case": case} | described | times._asdict() | checks)
            different += [f"{name}, {case}: {check}" for check, passed in checks.items() if not passed]
    if output is not None:
        make_folder(Path(output).parent, "output")
        report = {"machine": facts, "rounds": config.rounds, "results": rows}
        write_text(Path(output), json.dumps(report, indent=2) + "\n", "output")
        print(f"results: {output}")
    return different


def _check(config: BenchmarkConfig) -> list[str]:
    """The suites' names, once the arguments are known to do."""
    problems = []
    if config.suite not in ("all", *SUITES):
        problems.append(f"suite={config.suite}: no such suite; there are {', '.join(SUITES)} and all")
    if config.images is not None and not Path(config.images).is_dir():
        problems.append(f"images={config.images}: no such folder")
    if problems:
        raise UserError("\n".join(problems))
    if config.output is not None:
        probe_file("output", Path(config.output))
    return list(SUITES) if config.suite == "all" else [config.suite]


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    import torch
    import torchvision

    about = Path("/proc/cpuinfo")
    names = (
        [line for line in about.read_text(encoding="utf-8").splitlines() if line.startswith("model name")]
        if about.exists()
        else []
    )
    gpu = {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    return gpu | {
        "cpu": names[0].split(":", 1)[1].strip() if names else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "date": time.strftime("%Y-%m-%d %H:%M"),
    }


def print_results(title: str, results: list[Result]) -> None:
    from rich.console import Console

    from tasks.shared.terminal.tables import PlainTable

    table = PlainTable(title=title, title_justify="left")
    table.add_column("case", overflow="fold")
    described = list(dict.fromkeys(name for result in results for name in result.facts))
    checked = list(dict.fromkeys(name for result in results for name in result.checks))
    for name in (*described, "ours ms", "peer ms", "ratio [min..max]", *checked):
        table.add_column(name.replace("_", " "), justify="right", no_wrap=name.startswith("ratio"), overflow="fold")
    marks = {True: "yes", False: "NO", None: ""}
    for case, facts, times, checks in results:
        ratio = f"{times.ratio:.2f} [{times.ratio_min:.2f}..{times.ratio_max:.2f}]"
        values = (_shown(facts.get(name)) for name in described)
        passed = (marks[checks.get(name)] for name in checked)
        table.add_row(case, *values, f"{times.ours_ms:.2f}", f"{times.peer_ms:.2f}", ratio, *passed)
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else str(value)
