"""Programs of torch.export are no teachers: this says how one becomes an ONNX file, which is one."""

import re
import shlex
from typing import NoReturn

from tasks.shared.errors import UserError

CONVERT = (
    "import torch; p = torch.export.load({file}); torch.onnx.export(p.module(), p.example_inputs[0], {onnx}, "
    "dynamo=False, training=torch.onnx.TrainingMode.PRESERVE)"
)


def exported_teacher(path: str, **_: object) -> NoReturn:
    """Raises UserError with the line that turns the program at `path` into ONNX. The file is not looked at: reading
    it means running what it says."""
    onnx = path.removesuffix(".pt2") + ".onnx"
    # Quoted twice, for Python and for the shell: the path may be a stranger's.
    command = shlex.join(["python", "-c", CONVERT.format(file=_literal(path), onnx=_literal(onnx))])
    raise UserError(
        f"teacher.path={path}: programs of torch.export are not read, as they run what their file says. One that you "
        f"trust becomes an ONNX file, for teacher=onnx {shlex.quote(f'teacher.path={onnx}')}, by: {command}"
    )


def _literal(text: str) -> str:
    """As Python writes it; between double quotes where that is plain, as the shell's are single."""
    return f'"{text}"' if re.fullmatch(r"[\w./ -]*", text) else repr(text)
