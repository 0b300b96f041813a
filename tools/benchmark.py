"""Time this toolkit against the library that a user would otherwise take, both in one run, and check their answers.

python tools/benchmark.py suite=postprocess                       SSD's post-processing against torchvision's
python tools/benchmark.py suite=rcnn_postprocess                  Faster-RCNN's, of both stages, against torchvision's
python tools/benchmark.py suite=train                             a classifier's training step against timm's
python tools/benchmark.py suite=inference                         its inference, one picture and 32
python tools/benchmark.py suite=postprocess threads=1 rounds=30 output=speed.json

Only the ratios carry to other machines. Ends with status 1 where the answers are not the same.
"""

import sys

from tasks.shared.benchmark import run_suites
from tasks.shared.cli import run_tool
from tasks.shared.config import check_keys, compose_config, parse_overrides, plain, quote_paths


def benchmark(arguments: list[str]) -> None:
    values = quote_paths(arguments)
    check_keys(parse_overrides(values), compose_config("benchmark", []))
    different = run_suites(**plain(compose_config("benchmark", values)))
    if different:
        sys.exit(f"error: not the same answers: {'; '.join(different)}")


if __name__ == "__main__":
    run_tool("benchmark", __doc__, benchmark)
