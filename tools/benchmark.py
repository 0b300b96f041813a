"""Time this toolkit against the library that a user would otherwise take, both in one run, and check their answers.

python tools/benchmark.py suite=train                             a training step against timm's, as each is run
python tools/benchmark.py suite=run                               all of tools/train.py against the bare step
python tools/benchmark.py suite=inference                         one image and 32, against timm and ONNX Runtime
python tools/benchmark.py suite=input                             photos to batches, against torchvision and timm
python tools/benchmark.py suite=input images=PHOTOS               the same with your own
python tools/benchmark.py suite=postprocess                       SSD's post-processing against torchvision's
python tools/benchmark.py suite=rcnn_postprocess                  Faster-RCNN's, of both stages, against torchvision's
python tools/benchmark.py suite=coco coco_pictures=5000           COCO's evaluation against pycocotools
python tools/benchmark.py suite=startup                           how soon the tools answer
python tools/benchmark.py suite=all threads=2 rounds=15 output=speed.json

On the GPU where there is one. Only the ratios carry to other machines. Ends with status 1 where the answers are not the
same.
"""

import sys

from tasks.shared.benchmark.settings import BenchmarkConfig
from tasks.shared.benchmark.suite import run_suites
from tasks.shared.commands.cli import run_tool
from tasks.shared.config.compose import own_config
from tasks.shared.config.typed import typed
from tasks.shared.images.limits import set_max_megapixels


def benchmark(arguments: list[str]) -> None:
    config = typed(BenchmarkConfig, own_config("benchmark", arguments))
    set_max_megapixels(config.max_megapixels)
    if different := run_suites(config):
        sys.exit(f"error: not the same answers: {'; '.join(different)}")


if __name__ == "__main__":
    run_tool("benchmark", __doc__, benchmark)
