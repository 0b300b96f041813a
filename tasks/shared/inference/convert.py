"""Published weights as a run of this toolkit, and back."""

import logging
import shlex
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from backbone import MobileNetV1
from backbone.unfold import folded_norms, unfold_batch_norm
from backbone.weights import Published, read_weights
from tasks.shared.config.carried import check_names
from tasks.shared.config.nodes import NetworkConfig, Node
from tasks.shared.contract import Task
from tasks.shared.errors import UserError
from tasks.shared.files.names import read_classes
from tasks.shared.files.writing import whole_file, whole_folder, write_bytes
from tasks.shared.images.decode import collate_images, read_image
from tasks.shared.images.files import find_images
from tasks.shared.inference.settings import ConvertConfig
from tasks.shared.network.build import build_task, task_class
from tasks.shared.records.checkpoint import Checkpoint, find_checkpoint, load_checkpoint, write_weights
from tasks.shared.terminal.progress import track

log = logging.getLogger(__name__)
MOST_IMAGES = 1000  # more change a channel's statistics no further
BATCH = 16


def convert(
    keys: ConvertConfig, backbone: Node, explicit: Set[str], settled: Callable[[Mapping[str, Any]], dict[str, Any]]
) -> None:
    """What tools/convert_weights.py does.

    backbone: of the run to make. explicit: the keys of its config that the user has set. settled: the run's config as
    plain data, of changes by key.
    """
    source, output = keys.source, Path(keys.output)
    if keys.format != "run":
        write_file(load_checkpoint(find_checkpoint(source)), output, keys.format)
        return
    classes = None if keys.classes is None else read_classes(Path(keys.classes), "classes")
    try:
        published = read_weights(source)
    except ValueError as error:
        raise UserError(str(error)) from error
    if backbone.target != "backbone.MobileNetV1":
        raise UserError(f"backbone={backbone.target}: published weights are read into backbone=mobilenet")
    if keys.background is not None:
        published = replace(published, background=keys.background)
    images = None if keys.pictures is None else Path(keys.pictures)
    write_run(settled(implied_by(published, backbone, explicit)), published, output, classes, images)


def implied_by(published: Published, backbone: Node, explicit: Set[str]) -> dict[str, Any]:
    """What published weights change in a run's config, values by key: the backbone's arguments and the resolution.

    explicit: the keys that the user has set; one that asks for something else is an error naming both values.
    """
    own = backbone.plain()
    implied = {key: list(v) if isinstance(v, tuple) else v for key, v in published.implied.items()}
    conflicts = [
        f"backbone.{key}={own[key]} was asked for, but they need {value}"
        for key, value in implied.items()
        if f"backbone.{key}" in explicit and own[key] != value
    ]
    if conflicts:
        raise UserError(f"{published.source}: {'; '.join(conflicts)}")
    changes = {f"backbone.{key}": value for key, value in implied.items()}
    if published.resolution is not None and "resolution" not in explicit:
        changes["resolution"] = published.resolution  # weights work at others too
    return changes


def write_run(
    config: dict[str, Any], published: Published, output: Path, classes: list[str] | None, images: Path | None
) -> None:
    """Write published weights as a run's folder: config.yaml and checkpoints/best.ckpt.

    config: plain data, with what the weights imply. classes: ids of the classes, else the usual ones. images: a
    folder for the statistics of folded batch norms. The folder appears when it is whole.
    """
    network = NetworkConfig.of(config)
    made: type[Task] = task_class(network.task)
    try:
        info = made.published_info(published, classes)
        check_names(info, "classes")
        task = build_task(network, max(len(info.get("class_names", [])), 2)).eval()
        task.load_published(published)
    except ValueError as error:
        raise UserError(str(error)) from error
    _settle_folded(task, images)
    weights = task.state_dict()
    if not info:
        weights = {name: t for name, t in weights.items() if name.startswith("backbone.")}
        run = shlex.quote(f"init.run={output}")
        log.info("%s holds no head: train one with %s init.head=new", published.source, run)
    with whole_folder(output, "output") as part:
        (part / "checkpoints").mkdir()
        (part / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), "utf-8")
        write_weights(part / "checkpoints/best.ckpt", config, info, len(info.get("class_names", [])), weights)


def _settle_folded(task: Task, images: Path | None) -> None:
    """Batch norms that the source had folded: trainable by the statistics of images, or left to be frozen."""
    if not (folded := folded_norms(task)):
        if images is not None:
            log.info("pictures=%s is not needed: no batch norm was folded", images)
        return
    if images is None:
        log.info(
            "batch norm was folded into the convolutions: %d layers stay frozen when this run is trained further; "
            "pictures=FOLDER makes them trainable by the statistics of its images", len(folded),
        )  # fmt: skip
        return
    files = find_images(str(images), key="pictures")
    files = files[:: -(-len(files) // MOST_IMAGES)]
    unfold_batch_norm(task, _batches(task, files))
    log.info(
        "batch norm was folded into the convolutions: %d layers have the statistics of %d images of %s, and can be "
        "trained", len(folded), len(files), images,
    )  # fmt: skip


def _batches(task: Task, files: list[Path]) -> Iterator[Tensor]:
    for start in track(range(0, len(files), BATCH), "batch-norm statistics"):
        yield collate_images([task.prepare(read_image(file)) for file in files[start : start + BATCH]])


def write_file(checkpoint: Checkpoint, output: Path, file_format: str) -> None:
    """Write a run's backbone, and a classifier's head, as one safetensors file.

    file_format: "safetensors" for this toolkit's own names and the settings of the network, or "timm" for timm's names,
    to load into its `mobilenetv1_100` and the like.
    """
    from safetensors.torch import save

    from backbone.sources.timm import to_timm
    from backbone.weights import save_weights

    task = build_task(checkpoint.network.without_sources(), max(checkpoint.num_classes, 2))
    task.load_state_dict(checkpoint.weights, strict=checkpoint.num_classes > 0)  # a backbone alone has no head
    head = {k.removeprefix("head."): t for k, t in checkpoint.weights.items() if k in ("head.weight", "head.bias")}
    if not output.parent.is_dir():
        raise UserError(f"output={output}: its folder does not exist")
    try:
        if file_format == "safetensors":
            with whole_file(output, "output") as part:
                save_weights(task.backbone, part, classifier=head, resolution=checkpoint.network.resolution)  # type: ignore[arg-type]
        else:
            if not isinstance(task.backbone, MobileNetV1) or task.backbone.arguments["padding"] != "symmetric":
                raise UserError(
                    f"source={checkpoint.path}: timm's MobileNet pads symmetrically, and would answer otherwise than "
                    "this run; expected one with backbone.padding=symmetric"
                )
            tensors = to_timm(task.backbone.state_dict(), head, task.backbone.arguments["bn_eps"])
            data = save({name: t.contiguous() for name, t in tensors.items()}, {"format": "pt"})
            write_bytes(output, data, "output")
    except ValueError as error:
        raise UserError(str(error)) from error
    taken = {"head.weight", "head.bias"}
    if left_out := {n.split(".")[0] for n in checkpoint.weights if not n.startswith("backbone.") and n not in taken}:
        log.info("left out, as this format has no place for it: %s", ", ".join(sorted(left_out)))
