"""Published weights as runs, from the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

from backbone import MobileNetV1, load_weights, read_weights
from tasks.shared.classification import Classifier
from tasks.shared.network.build import load_task
from tasks.shared.records.checkpoint import load_checkpoint
from tests.backbone.tflite_writer import MobileNetWriter
from tests.tasks.classification.conftest import COLORS, write_folders
from tests.tools.conftest import Tool

WIDTHS = (8, 16, 32, 32, 64, 64, 128, 128, 128, 128, 128, 128, 256, 256)  # alpha 0.25
IDS = sorted(COLORS)


def write_tflite(path: Path, classes: int, side: int = 64) -> None:
    writer = MobileNetWriter("uint8", side=side)
    writer.save(path, [writer.image], [writer.classifier(writer.body(WIDTHS), classes)])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A tflite of three classes and background, and a list of the classes' ids."""
    write_tflite(tmp_path / "net.tflite", 4)
    (tmp_path / "classes.txt").write_text("\n".join(IDS))
    return tmp_path / "net.tflite"


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    write_folders(tmp_path / "set", "train", dict.fromkeys(IDS, 4))
    return write_folders(tmp_path / "set", "val", dict.fromkeys(IDS, 2), seed=1)


def network(run: Path) -> Classifier:
    loaded = load_checkpoint(run / "checkpoints/best.ckpt")
    task = load_task(loaded.network, loaded.weights, loaded.num_classes, str(run))
    assert isinstance(task, Classifier)
    return task.eval()


def test_a_tflite_becomes_a_run_that_every_tool_takes(source: Path, folders: Path, tool: Tool, tmp_path: Path) -> None:
    run = tmp_path / "run"
    classes = f"classes={tmp_path}/classes.txt"
    answer = tool("convert_weights", f"source={source}", f"output={run}", classes, "background=true")
    assert answer.status == 0, answer.message
    assert "27 layers stay frozen" in answer.out
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["resolution"] == 64 and config["backbone"]["alpha"] == 0.25
    assert config["backbone"]["activation"] == "relu6" and config["backbone"]["padding"] == "same"

    # The same answers as the weights give without the tool; class 0, background, is dropped.
    published = read_weights(source)
    plain = MobileNetV1(**published.implied).eval()
    load_weights(plain, published)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    mean, std = (torch.tensor(published.implied[key]).view(3, 1, 1) for key in ("input_mean", "input_std"))
    with torch.no_grad():
        pooled = plain((images / 255 - mean) / std)["conv_13"].mean((2, 3))
        logits = pooled @ published.classifier["weight"].T + published.classifier["bias"]
        assert torch.allclose(network(run)(images), logits[:, 1:], atol=1e-5)

    scored = tool("eval", f"checkpoint={run}", f"data.root={folders}", f"output={tmp_path}/eval")
    assert scored.status == 0, scored.message
    assert 0 <= json.loads((tmp_path / "eval/metrics.json").read_text())["top1"] <= 1
    without = tool("eval", f"checkpoint={run}")
    assert without.status == 1 and "data.root is not set" in without.message
    seen = tool("predict", f"checkpoint={run}", f"input={folders}/val", f"output={tmp_path}/seen")
    assert seen.status == 0, seen.message
    answers = json.loads((tmp_path / "seen/predictions.json").read_text())
    assert {a["class_id"] for a in answers[0]["answer"]} == set(IDS)


@pytest.mark.parametrize("with_images", [False, True])
def test_folded_batch_norm_is_trained_only_with_statistics(
    with_images: bool, source: Path, folders: Path, tool: Tool, tmp_path: Path
) -> None:
    folder = [f"pictures={folders}/train"] if with_images else []
    classes = f"classes={tmp_path}/classes.txt"
    places = [f"source={source}", f"output={tmp_path}/run", "background=true"]
    made = tool("convert_weights", *places, classes, *folder)
    assert made.status == 0, made.message
    assert ("have the statistics of 12 images" in made.out) == with_images
    short = ["data.batch_size=6", "data.workers=0", "trainer.max_epochs=1", "trainer.ema_decay=null", "trainer=cpu"]
    answer = tool(
        "train", "task=classification", "data=image_folder", f"data.root={folders}", f"init.run={tmp_path}/run",
        "init.head=new", f"output={tmp_path}/tuned", *short,
    )  # fmt: skip
    assert answer.status == 0, answer.message
    assert ("27 batch norms were folded" in answer.out) != with_images
    before, after = network(tmp_path / "run"), network(tmp_path / "tuned")
    norms = [name for name, module in before.named_modules() if isinstance(module, nn.BatchNorm2d)]
    for name in norms:
        old, new = before.get_submodule(name), after.get_submodule(name)
        same = torch.equal(old.running_mean, new.running_mean) and torch.equal(old.bias, new.bias)  # type: ignore[arg-type]
        assert same != with_images, name
    assert not torch.equal(before.backbone.conv_5.pointwise.conv.weight, after.backbone.conv_5.pointwise.conv.weight)  # type: ignore[operator, union-attr, arg-type]


def test_statistics_do_not_change_the_answers(source: Path, folders: Path, tool: Tool, tmp_path: Path) -> None:
    for name, folder in (("frozen", []), ("unfolded", [f"pictures={folders}/train"])):
        assert tool("convert_weights", f"source={source}", f"output={tmp_path}/{name}", *folder).status == 0
    images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        first, second = (network(tmp_path / name)(images) for name in ("frozen", "unfolded"))
    assert torch.allclose(first, second, rtol=1e-4, atol=1e-4)


def test_a_backbone_alone_waits_for_a_head(folders: Path, tool: Tool, tmp_path: Path) -> None:
    torch.save(MobileNetV1(0.25).state_dict(), tmp_path / "body.pth")
    answer = tool("convert_weights", f"source={tmp_path}/body.pth", f"output={tmp_path}/run")
    assert answer.status == 0 and "init.head=new" in answer.out, answer
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(tmp_path / "a.jpg")
    refused = tool("predict", f"checkpoint={tmp_path}/run", f"input={tmp_path}/a.jpg", f"output={tmp_path}/out")
    assert refused.status == 1 and "a backbone without a head" in refused.message
    tuned = tool(
        "train", "task=classification", "data=image_folder", f"data.root={folders}", f"init.run={tmp_path}/run",
        "init.head=new", "resolution=64", f"output={tmp_path}/tuned", "data.batch_size=6", "trainer.max_epochs=1",
    )  # fmt: skip
    assert tuned.status == 0, tuned.message


@pytest.mark.parametrize("kind", ["safetensors", "timm"])
def test_a_run_becomes_a_file_and_a_run_again(kind: str, source: Path, tool: Tool, tmp_path: Path) -> None:
    run, file = tmp_path / "run", tmp_path / "net.safetensors"
    padding = "symmetric" if kind == "timm" else "same"
    torch.manual_seed(1)
    net = MobileNetV1(1.0 if kind == "timm" else 0.25, padding=padding)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):  # eps matters: ours is 1e-3, timm's 1e-5
            size = module.num_features
            changed = {"running_var": 0.2 + 0.3 * torch.rand(size), "bias": torch.rand(size)}
            module.load_state_dict(module.state_dict() | changed)
    state = {**net.state_dict(), "classifier.weight": torch.randn(5, net.feature_info[-1].channels)}
    torch.save({**state, "classifier.bias": torch.randn(5)}, tmp_path / "own.pth")
    made = tool("convert_weights", f"source={tmp_path}/own.pth", f"output={run}", f"backbone.padding={padding}")
    assert made.status == 0, made.message
    assert tool("convert_weights", f"source={run}", f"output={file}", f"format={kind}").status == 0
    again = tool("convert_weights", f"source={file}", f"output={tmp_path}/again", "resolution=64")
    assert again.status == 0, again.message
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.allclose(network(run)(images), network(tmp_path / "again")(images), atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ["source is not set", "output is not set"]),
        (["source=/no/such.h5", "output={out}"], ["/no/such.h5: no such file"]),
        (["source={here}/text.h5", "output={out}"], ["text.h5", "known format"]),
        (["source={here}/net.tflite", "output={out}", "backbone.alpha=0.5"], ["alpha=0.5 was asked for", "0.25"]),
        (["source={here}/net.tflite", "output={out}", "backbone.padding=symmetric"], ["symmetric", "same"]),
        (["source={here}/net.tflite", "output={out}", "classes={here}/two.txt"], ["4 classes", "names 2"]),
        (["source={here}/net.tflite", "output={out}", "background=2"], ["background=2"]),
        (["source={here}/net.tflite", "output={out}", "task=ssd"], ["net.tflite"]),
        (["source={here}/net.tflite", "output={out}", "format=onnx"], ["format=onnx", "safetensors"]),
        (["source={here}/net.tflite", "output={out}", "pictures=/no/such"], ["pictures=/no/such"]),
        (["source={here}/net.tflite", "output={here}"], ["exists already"]),
        (["source={here}/net.tflite", "output={out}", "clases=x"], ["clases", "classes"]),
        (["source={here}/net.tflite", "output={out}", "format=timm"], ["net.tflite: not a checkpoint"]),
        (["source={here}/same", "output={out}", "format=timm"], ["pads symmetrically", "backbone.padding=symmetric"]),
    ],
)
def test_mistakes_are_told(arguments: list[str], expected: list[str], source: Path, tool: Tool, tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("hello, I am no hdf5 file")
    (tmp_path / "two.txt").write_text("a\nb\n")
    if any("same" in a for a in arguments):
        assert tool("convert_weights", f"source={source}", f"output={tmp_path}/same").status == 0
    answer = tool("convert_weights", *(a.format(here=tmp_path, out=tmp_path / "out") for a in arguments))
    assert answer.status == 1
    assert all(part in answer.message for part in expected), answer.message
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*.part"))
