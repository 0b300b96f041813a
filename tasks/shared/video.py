"""Films and cameras, where OpenCV is installed."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tasks.shared.errors import UserError

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v")
CAMERA_FPS = 15.0  # cameras often report none


def _opencv() -> ModuleType:
    try:
        import cv2
    except ImportError as error:
        raise UserError("films and cameras need OpenCV: pip install opencv-python-headless") from error
    return cv2


def _open(source: str) -> Any:
    cv2 = _opencv()
    if not source.isdigit() and not Path(source).is_file():
        raise UserError(f"input={source}: no such file")
    capture = cv2.VideoCapture(int(source) if source.isdigit() else source)
    if not capture.isOpened():
        what = "no camera of this number answers" if source.isdigit() else "not a film that OpenCV can read"
        raise UserError(f"input={source}: {what}")
    return capture


def read_frames(source: str) -> Iterator[tuple[str, Tensor]]:
    """(name, (3, H, W) uint8 RGB) of every frame of a film, or of a camera until Ctrl-C."""
    capture = _open(source)
    try:
        index = 0
        while True:
            there, frame = capture.read()
            if not there:
                return
            yield f"{source}#{index}", torch.from_numpy(np.ascontiguousarray(frame[:, :, ::-1].transpose(2, 0, 1)))
            index += 1
    finally:
        capture.release()


class FilmWriter:
    """Writes frames as an mp4 at the speed of `source`. The file appears with the first frame."""

    def __init__(self, path: Path, source: str):
        self.cv2, self.path = _opencv(), path
        self.writer: Any = None
        capture = _open(source)
        self.fps = capture.get(self.cv2.CAP_PROP_FPS) or CAMERA_FPS
        capture.release()

    def add(self, image: Image.Image) -> None:
        if self.writer is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            code = self.cv2.VideoWriter_fourcc(*"mp4v")
            self.writer = self.cv2.VideoWriter(str(self.path), code, self.fps, image.size)
            if not self.writer.isOpened():
                raise UserError(f"{self.path}: OpenCV cannot write an mp4 here")
        self.writer.write(np.asarray(image)[:, :, ::-1])

    def close(self) -> None:
        if self.writer is not None:
            self.writer.release()
