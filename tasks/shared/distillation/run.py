"""A run of ours as a teacher."""

from tasks.shared.distillation.files import digest_of
from tasks.shared.distillation.module_network import ModuleNetwork
from tasks.shared.distillation.teacher import Teacher
from tasks.shared.errors import UserError
from tasks.shared.network.build import load_task
from tasks.shared.records.checkpoint import find_checkpoint, load_checkpoint

NAMES = ("attributes", "class_names")  # under which a checkpoint's info says what outputs mean


def run_teacher(path: str | None) -> Teacher:
    """The network of a run of any task whose `forward` gives K numbers an image: logits, or an embedding.

    Its weights are the moving average where the run kept one. Size and normalisation are the run's own.

    Args:
        path: the run's folder, whose best checkpoint is taken, or a checkpoint. Nothing in it is executed.

    Raises UserError naming the file if it is missing, damaged, no checkpoint of ours, a backbone alone, or of a task
    that answers otherwise.
    """
    if path is None:
        raise UserError("teacher.path is not set; give teacher.path=RUN, a run's folder or a checkpoint")
    checkpoint = load_checkpoint(find_checkpoint(path))
    if all(name.startswith("backbone.") for name in checkpoint.weights):
        raise UserError(f"{checkpoint.path}: a backbone without a head has no answers; expected a run that was trained")
    task = load_task(checkpoint.network, checkpoint.weights, checkpoint.num_classes, str(checkpoint.path))
    size = task.resolution, task.resolution
    crop, share = getattr(task, "crop", None), getattr(task, "crop_share", None)
    return Teacher(
        ModuleNetwork(task, size),
        name=f"run {path}",
        size=size,
        content=digest_of([checkpoint.path]),
        class_names=next((checkpoint.info[key] for key in NAMES if checkpoint.info.get(key)), None),
        crop=None if crop is None or share is None else (crop, share),
    )
