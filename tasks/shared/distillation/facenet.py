"""FaceNet's Inception-ResNet as a teacher."""

from collections.abc import Sequence

from tasks.shared.distillation.files import digest_of, leave_out, read_state
from tasks.shared.distillation.inception_resnet import InceptionResnet
from tasks.shared.distillation.module_network import ModuleNetwork
from tasks.shared.distillation.teacher import Teacher, read_size
from tasks.shared.network.build import check_weights

SIDE = 160
CLASSIFIER = ("logits",)  # of the people that it was trained on


def facenet_teacher(
    path: str,
    *,
    size: int | Sequence[int] | None = None,
    mean: Sequence[float] = (0.5, 0.5, 0.5),
    std: Sequence[float] = (128 / 255, 128 / 255, 128 / 255),
    channels: str = "rgb",
    output: str | None = "as_is",
) -> Teacher:
    """FaceNet with weights from a local file: embeddings (B, 512) of length 1.

    Args:
        path: a state dict under the names of the package facenet-pytorch. Nothing in it is executed; the classifier
            `logits`, if it has one, is left out.
        size: None is the 160 pixels that it was trained on.
        mean, std: of (x - 127.5) / 128, as it was trained.
        channels, output: see `Teacher`.

    Raises ValueError naming the key or file.
    """
    file, state = read_state(path)
    net = InceptionResnet()
    state = leave_out(file, state, CLASSIFIER)
    check_weights(net, state, str(file))
    net.load_state_dict(state)
    side = read_size(size, (SIDE, SIDE))
    return Teacher(
        ModuleNetwork(net, side),
        name=f"facenet {file.name}",
        size=side,
        content=digest_of([file]),
        mean=mean,
        std=std,
        channels=channels,
        output=output,
    )
