"""Readers of checkpoints, runs, published weights and teachers, with a small sound input each."""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import torch
import yaml
from safetensors.torch import save_file

from backbone import MobileNetV1, read_weights
from backbone.weights import load_weights
from tests.backbone.random_weights import randomize
from tests.backbone.test_weights_keras import draw as keras_layers
from tests.backbone.test_weights_keras import save as save_keras
from tests.backbone.test_weights_tflite import write as write_tflite
from tests.campaigns.readers import Reader, draw_class_folders
from tests.tasks.shared.distillation.test_onnx_model import images as onnx_images
from tests.tasks.shared.distillation.test_onnx_model import model as onnx_model

RUN = ("task=classification", "data=image_folder", "data.root=.", "backbone.alpha=0.1", "resolution=32", "trainer=cpu")


def draw_run(folder: Path) -> None:
    """A finished run in run/, as tools/train.py leaves it, as far as others read it."""
    from tasks.shared.config.compose import compose_config, plain
    from tasks.shared.config.nodes import NetworkConfig
    from tasks.shared.network.build import build_task
    from tasks.shared.records.checkpoint import KEY

    config = plain(compose_config("train", list(RUN)))
    config = {key: value for key, value in config.items() if key not in ("output", "resume")}
    torch.manual_seed(0)
    task = build_task(NetworkConfig.of(config), 3)
    state = {f"task.{name}": weight for name, weight in task.state_dict().items()}
    ours = {"config": config, "info": {"class_ids": ["a", "b", "c"], "class_names": ["a", "b", "c"]}, "num_classes": 3}
    content = {
        "state_dict": state,
        KEY: ours,
        "epoch": 1,
        "global_step": 4,
        "optimizer_states": [],
        "lr_schedulers": [],
    }
    (folder / "run/checkpoints").mkdir(parents=True)
    for name in ("best", "last"):
        torch.save(content, folder / f"run/checkpoints/{name}.ckpt")
    (folder / "run/config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    (folder / "run/metrics.json").write_text(json.dumps({"top1": 0.5, "top5": 1.0}, indent=2) + "\n")


def read_checkpoint() -> None:
    """As predict does."""
    from tasks.shared.config.carried import completed
    from tasks.shared.config.compose import compose_config, parse_overrides, plain, run_config
    from tasks.shared.network.build import load_task
    from tasks.shared.records.checkpoint import find_checkpoint, load_checkpoint
    from tasks.shared.training.settings import run_of

    path = find_checkpoint("run")
    loaded = load_checkpoint(path)
    overrides = parse_overrides(["checkpoint=run", "input=x.jpg"])
    carried = completed(loaded.carried)
    run_of(carried, str(path))
    config, _ = run_config(carried, overrides, compose_config("predict", []), str(path))
    task = load_task(run_of(plain(config)).network, loaded.weights, loaded.num_classes, str(path)).eval()
    with torch.no_grad():
        outputs = task(torch.zeros(1, 3, task.resolution, task.resolution, dtype=torch.uint8))
    for result in task.predict(outputs, torch.tensor([[32, 32]])):
        task.describe(result, loaded.info)


def read_runs() -> None:
    """As figures and cost do."""
    from tasks.shared.paper.points import run_point
    from tasks.shared.records.runs import find_runs

    for run in find_runs(Path("run"), "classification"):
        run_point(run, Path("run"))


def draw_resumable(folder: Path) -> None:
    """A run of one epoch, which a resumed run has nothing to add to but its scores."""
    from tasks.shared.commands.run import train

    draw_class_folders(folder)
    sys.argv = ["tools/train.py", *RUN, "data.workers=0", "trainer.max_epochs=1", "data.batch_size=3", "output=run"]
    train(sys.argv[1:])


def draw_waiting(folder: Path) -> None:
    """A run that was stopped in a stage."""
    from tasks.shared.config.compose import compose_config, plain
    from tasks.shared.files.folders import MARK

    draw_class_folders(folder)
    (folder / "run/stages").mkdir(parents=True)
    (folder / "run" / MARK).touch()
    config = plain(compose_config("train", [*RUN, "data.workers=0", "trainer.max_epochs=1"]))
    (folder / "run/config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


def resume() -> None:
    from tasks.shared.commands.run import train

    train(["resume=run"])


def network() -> Any:
    return randomize(MobileNetV1(0.1, shallow=True))


def read_published(name: str) -> None:
    published = read_weights(Path(name))
    alpha = published.implied["alpha"]
    if alpha <= 1:
        load_weights(MobileNetV1(**published.implied), published)


def read_teacher() -> None:
    from tasks.shared.distillation.onnx_model import onnx_teacher

    onnx_teacher("net.onnx")(onnx_images(2))


def read_own_teacher() -> None:
    from tasks.shared.distillation.timm_model import timm_teacher

    timm_teacher("mobilenetv3_small_050", "net.pth")


def draw_own_teacher(folder: Path) -> None:
    import timm

    torch.save(timm.create_model("mobilenetv3_small_050", num_classes=3).state_dict(), folder / "net.pth")


def save_torch(folder: Path) -> None:
    torch.save(network().state_dict(), folder / "net.pth")


READERS: dict[str, Reader] = {
    "checkpoint": Reader(draw_run, ["run/checkpoints/best.ckpt"], read_checkpoint, named=False),
    "runs for figures": Reader(draw_run, ["run/*.yaml", "run/metrics.json", "run/checkpoints/best.ckpt"], read_runs,
                               named=False),
    "run to resume": Reader(draw_resumable, ["run/checkpoints/last.ckpt", "run/*.yaml", "run/*.json"], resume,
                            named=False),
    "stopped run": Reader(draw_waiting, ["run/config.yaml"], resume, named=False),
    "Keras .h5": Reader(lambda folder: save_keras(folder / "net.h5", keras_layers(0.25, 3)), ["net.h5"],
                        partial(read_published, "net.h5")),
    "tflite uint8": Reader(lambda folder: write_tflite(folder / "net.tflite", "uint8", 3), ["net.tflite"],
                           partial(read_published, "net.tflite")),
    "tflite float": Reader(lambda folder: write_tflite(folder / "net.tflite", "float", 3), ["net.tflite"],
                           partial(read_published, "net.tflite")),
    ".pth (zip)": Reader(save_torch, ["net.pth"], partial(read_published, "net.pth")),
    ".safetensors": Reader(lambda folder: save_file(network().state_dict(), folder / "net.safetensors"),
                           ["net.safetensors"], partial(read_published, "net.safetensors")),
    "timm teacher": Reader(draw_own_teacher, ["net.pth"], read_own_teacher),
    "ONNX teacher": Reader(lambda folder: onnx.save(onnx_model(), folder / "net.onnx"), ["net.onnx"], read_teacher),
}  # fmt: skip
