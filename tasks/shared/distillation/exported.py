"""A program of torch.export as a teacher."""

from collections.abc import Sequence

from tasks.shared.distillation.files import check_file, digest_of
from tasks.shared.distillation.program_file import EXPECTED, read_program
from tasks.shared.distillation.teacher import Teacher, fixed_size


def exported_teacher(
    path: str,
    *,
    size: int | Sequence[int] | None = None,
    mean: Sequence[float] | None = (0.5, 0.5, 0.5),
    std: Sequence[float] | None = (0.5, 0.5, 0.5),
    channels: str = "rgb",
    output: str | None = "logits",
) -> Teacher:
    """A network that torch.export.save has written, with one input (B, 3, height, width) and one output (B, K).

    A program for a certain number of pictures is run on so many at a time. Nothing in the file is executed but a list
    of known operators, see `program_file`; what would run code is refused.

    Args:
        path: of the file.
        size: height and width of the pictures, where the program takes any.
        mean, std, channels, output: see `Teacher`.

    Raises ValueError naming the key or file.
    """
    file = check_file(path, EXPECTED)
    program = read_program(file)
    program.size = fixed_size(size, program.size)
    return Teacher(
        program,
        name=f"exported {file.name}",
        size=program.size,
        content=digest_of([file]),
        mean=mean,
        std=std,
        channels=channels,
        output=output,
    )
