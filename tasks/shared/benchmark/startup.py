"""How soon the tools answer what needs no network, against a process that imports what training tools import."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tasks.shared.benchmark.suite import Options, Result, Suite
from tasks.shared.benchmark.timing import compare

TOOLS = Path(__file__).parents[3] / "tools"
CASES = {
    "train --help": ["train.py", "--help"],
    "train, a mistyped key": ["train.py", "task=ssd", "trainr.max_epochs=1"],
    "train, a missing folder": ["train.py", "task=ssd", "data=coco", "data.root=/nowhere"],
    "eval, a missing checkpoint": ["eval.py", "checkpoint=/nowhere"],
    "predict, a missing image": ["predict.py", "checkpoint=/", "input=/nowhere.jpg"],
    "convert_weights, a missing file": ["convert_weights.py", "source=/nowhere.h5", "output=/nowhere"],
    "figures, a missing folder": ["figures.py", "runs=/nowhere"],
}
PEER = "import torch, torchvision, timm"  # as timm's own train.py does before it reads its command line
HEAVY = ("torch", "torchvision", "timm", "lightning", "matplotlib", "scipy", "pandas", "pyarrow", "onnxruntime", "cv2")
MOST_ROUNDS = 5


def startup_suite(options: Options) -> Suite:
    """Whole processes, from the start of Python to the answer."""
    results = []
    for case, arguments in CASES.items():
        command = [sys.executable, str(TOOLS / arguments[0]), *arguments[1:]]
        imported = heavy_modules(command)
        times = compare(process(command), process([sys.executable, "-c", PEER]), min(options.rounds, MOST_ROUNDS))
        facts = {"heavy_modules": ", ".join(imported) or "none"}
        results.append(Result(case, facts, times, {"light": not imported}))
    return Suite(f"a command and its answer, against a process that does `{PEER}`", results)


def process(command: list[str]) -> Callable[[], object]:
    """Runs it to its end, whatever that is."""
    return lambda: subprocess.run(command, capture_output=True)


def heavy_modules(command: list[str]) -> list[str]:
    """Those of HEAVY that a Python command imports."""
    report = subprocess.run([command[0], "-X", "importtime", *command[1:]], capture_output=True, text=True).stderr
    lines = [line for line in report.splitlines() if line.startswith("import time:")]
    names = {line.rsplit("|", 1)[1].strip() for line in lines}
    return [name for name in HEAVY if name in names]
