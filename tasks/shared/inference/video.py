"""Films and cameras, where OpenCV is installed."""

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tasks.shared.errors import UserError
from tasks.shared.files.writing import make_folder, probe_file, whole_file
from tasks.shared.images.limits import check_pixels

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v")
CAMERA_FPS = 15.0  # cameras often report none
WIDTH, HEIGHT = 3, 4  # OpenCV's numbers for them
# What such files begin with: a box of MP4 and MOV behind its size, RIFF, EBML.
FILM = re.compile(rb"....(ftyp|moov|mdat|wide|free|skip|pnot)|RIFF....AVI |\x1a\x45\xdf\xa3", re.DOTALL)
OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
CAMERA = 4  # digits of its number
ALLOWED = "protocol_whitelist;file|format_whitelist;mov,avi,matroska,webm"


def _opencv() -> ModuleType:
    try:
        import cv2
    except ImportError as error:
        raise UserError("films and cameras need OpenCV: pip install opencv-python-headless") from error
    return cv2


def is_camera(source: str) -> bool:
    """Whether an input is a camera's number. Others that look like digits are files."""
    return source.isascii() and source.isdigit() and len(source) <= CAMERA


def _open(source: str) -> Any:
    cv2 = _opencv()
    if not is_camera(source) and not Path(source).is_file():
        raise UserError(f"input={source}: no such file")
    if is_camera(source):
        capture = cv2.VideoCapture(int(source))
    else:
        _check_film(Path(source))
        with _films_alone():
            # Absolute, as FFmpeg takes what is before a colon for a protocol.
            capture = cv2.VideoCapture(str(Path(source).absolute()), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        what = "no camera of this number answers" if is_camera(source) else "not a film that OpenCV's FFmpeg can read"
        raise UserError(f"input={source}: {what}")
    check_pixels(f"input={source}", *(int(capture.get(side)) for side in (WIDTH, HEIGHT)))
    return capture


def _check_film(path: Path) -> None:
    """Raise UserError for what is no film by its first bytes: FFmpeg takes lists of other files and addresses too."""
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise UserError(f"input={path}: cannot be read ({error.strerror})") from error
    if not FILM.match(head):
        raise UserError(f"input={path}: is no film by its content; expected MP4, MOV, AVI, Matroska or WebM")


@contextmanager
def _films_alone() -> Iterator[None]:
    """Where FFmpeg opens local files of these formats and nothing that they name, whatever they claim to be."""
    before = os.environ.get(OPTIONS)
    os.environ[OPTIONS] = "|".join(filter(None, (before, ALLOWED)))
    try:
        yield
    finally:
        if before is None:
            del os.environ[OPTIONS]
        else:
            os.environ[OPTIONS] = before


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
    """Writes frames as an mp4 at the speed of `source`. A context: at its end the file appears, if it holds a frame."""

    def __init__(self, path: Path, source: str):
        self.cv2, self.path = _opencv(), path
        self.writer: Any = None
        self.file, self.count = ExitStack(), 0
        capture = _open(source)
        self.fps = capture.get(self.cv2.CAP_PROP_FPS) or CAMERA_FPS
        capture.release()

    def add(self, image: Image.Image) -> None:
        if self.writer is None:
            make_folder(self.path.parent, "output")
            self.part = self.file.enter_context(whole_file(self.path, "output"))
            code = self.cv2.VideoWriter_fourcc(*"mp4v")
            self.writer = self.cv2.VideoWriter(str(self.part), code, self.fps, image.size)
            if not self.writer.isOpened():
                raise UserError(f"output={self.path}: OpenCV cannot write an mp4 here")
        self.writer.write(np.asarray(image)[:, :, ::-1])
        self.count += 1

    def __enter__(self) -> "FilmWriter":
        return self

    def __exit__(self, error_type: type[BaseException] | None, *error: Any) -> None:
        if self.writer is not None:
            self.writer.release()
        if error_type is None and self.writer is not None:
            with self.file:
                self._check()
        else:
            self.file.__exit__(error_type, *error)

    def _check(self) -> None:
        """Raise UserError where the film cannot be read again: OpenCV says nothing of a disk that is full."""
        written = self.cv2.VideoCapture(str(self.part))
        frames = int(written.get(self.cv2.CAP_PROP_FRAME_COUNT)) if written.isOpened() else 0
        written.release()
        if frames != self.count:
            probe_file("output", self.path)  # says why, if the disk still does
            raise UserError(f"output={self.path}: cannot be written: {frames} of {self.count} frames are there")
