"""The kernels and the JPEG part built with AddressSanitizer and UBSan, on random shapes and damaged files.

    python tests/campaigns/sanitize.py                 # about a minute
    python tests/campaigns/sanitize.py --count 20      # twenty times as many shapes and files

Needs g++ on Linux. Each CPU that the kernels are compiled for has a library of its own here. They are called without
torch, by `sanitized.py` in a process of its own, with buffers that end where the arrays do, so that one number read or
written beside them ends it. Prints what was run; ends with status 1 and the sanitizer's report at the first finding.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
FLAGS = ["-shared", "-fPIC", "-O1", "-g", "-std=c++17", "-fno-omit-frame-pointer"]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
KERNELS = ["-fno-trapping-math", "-fopenmp", "-Wno-psabi"]
OPTIONS = {
    # Python gives little back at its end; libjpeg answers a lack of memory itself.
    "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:max_allocation_size_mb=512:exitcode=99",
    "UBSAN_OPTIONS": "print_stacktrace=1:exitcode=99",
}
TARGETS = {  # by CPU: how the loops over channels are compiled, and what else
    "avx512": ['-DFOR_EVERY_CPU=__attribute__((target("arch=x86-64-v4")))'],
    "avx2": ['-DFOR_EVERY_CPU=__attribute__((target("arch=x86-64-v3")))', "-DWITHOUT_AVX512"],
    "baseline": ["-DFOR_EVERY_CPU="],
}
NEEDS = {"avx512": "avx512vl", "avx2": "avx2"}  # as /proc/cpuinfo names it


class Ran(NamedTuple):
    """What one process did: shapes or files by kind, whether nothing was found, and what the sanitizer wrote."""

    name: str
    counts: dict[str, int]
    seconds: float
    clean: bool
    report: str


def build(folder: Path) -> dict[str, Path]:
    """The libraries by name: those of the kernels by CPU, and "jpeg" where there are libjpeg-turbo's headers."""
    cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    targets: dict[str, list[str]] = {"as installed": []}
    if platform.machine() == "x86_64":
        targets = {name: flags for name, flags in TARGETS.items() if name not in NEEDS or NEEDS[name] in cpu}
    sources = [str(path) for path in sorted((ROOT / "backbone/kernels").glob("*.cpp"))]
    commands = {name: [*KERNELS, *flags, *sources] for name, flags in targets.items()}
    commands["jpeg"] = [str(ROOT / "tasks/shared/images/jpeg_part.cpp"), "-ljpeg"]
    found = {}
    for number, (name, arguments) in enumerate(commands.items()):
        library = folder / f"{number}.so"
        done = subprocess.run(
            ["g++", *FLAGS, *SANITIZE, *arguments, "-o", str(library)], capture_output=True, text=True
        )
        if done.returncode and name != "jpeg":
            raise SystemExit(f"{name}: g++ failed\n{done.stderr}")
        if not done.returncode:
            found[name] = library
    return found


def run(name: str, library: Path, count: int, seed: int, *more: str) -> Ran:
    """One process of sanitized.py. more: its other arguments."""
    runtime = subprocess.run(["g++", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    environment = (
        os.environ
        | OPTIONS
        | {"LD_PRELOAD": runtime.stdout.strip(), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    )
    kind = "jpeg" if name == "jpeg" else "kernels"
    command = [sys.executable, str(Path(__file__).with_name("sanitized.py")), kind, str(library), str(count), str(seed)]
    start = time.perf_counter()
    done = subprocess.run([*command, *more], capture_output=True, text=True, env=environment, cwd=ROOT)
    lines = done.stdout.splitlines()
    counts = json.loads(lines[-1]) if done.returncode == 0 else {}
    return Ran(name, counts, time.perf_counter() - start, done.returncode == 0, done.stderr + done.stdout)


def main(arguments: list[str] | None = None) -> list[Ran]:
    """What ran, each told as it ends; stops at the first finding."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=1, help="times as many shapes and files")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    version = subprocess.run(["g++", "--version"], capture_output=True, text=True, check=True).stdout.partition("\n")[0]
    print(f"{version}; {platform.machine()}, {_cpu()}", flush=True)
    ran: list[Ran] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, library in build(Path(folder)).items():
            ran.append(run(name, library, given.count, given.seed))
            last = ran[-1]
            told: Any = ", ".join(f"{number} {what}" for what, number in last.counts.items())
            print(f"{name}: {told or 'FOUND'}; {last.seconds:.0f} s", flush=True)
            if not last.clean:
                print(last.report)
                break
    found = sum(not one.clean for one in ran)
    print(f"findings: {found}; {sum(one.seconds for one in ran):.0f} s")
    return ran


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown CPU"


if __name__ == "__main__":
    raise SystemExit(not all(one.clean for one in main()))
