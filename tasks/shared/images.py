"""Reading pictures into uint8 tensors."""

import io
import logging
import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import ExifTags, Image
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import v2

from tasks.shared.errors import UserError
from tasks.shared.picture_files import printable

ON_CORRUPT = ("error", "skip")
RESIZES = ("square", "keep_aspect")
GREY = 127  # beside a picture that is not square: what most backbones take as their mean
log = logging.getLogger(__name__)
JPEG = b"\xff\xd8\xff"  # torchvision decodes it faster than PIL does; of a damaged PNG its decoder crashes (0.29)
# What turns a picture of that EXIF orientation upright; 1 is upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(path: Path, exif: bool = False) -> Tensor:
    """The picture at `path` as RGB, (3, H, W) uint8.

    exif: turn it as its EXIF orientation says, as viewers do. Boxes of data sets mostly mean the pixels as stored,
    so readers of those leave it off.

    Raises UserError naming the file if it is missing, truncated or no picture.
    """
    return decode_image(read_bytes(path), printable(path), exif)


def read_bytes(path: Path) -> np.ndarray:
    """A file's bytes, (N,) uint8. Raises UserError naming it."""
    try:
        with path.open("rb") as file:  # torchvision's own reader takes no names that are no UTF-8
            data = np.empty(os.fstat(file.fileno()).st_size, np.uint8)
            return data[: file.readinto(data.data)]
    except OSError as error:
        reason = error.strerror if path.is_file() else "no such file"
        raise UserError(f"{printable(path)}: cannot be read ({reason})") from error


def decode_image(data: np.ndarray, name: str, exif: bool = False) -> Tensor:
    """The same of a file's bytes, (N,) uint8; name: what errors call it."""
    try:
        if data[:3].tobytes() == JPEG:
            return decode_jpeg(torch.from_numpy(data), ImageReadMode.RGB, apply_exif_orientation=exif)
        return _decode_with_pil(data.tobytes(), exif)
    except (RuntimeError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = str(error).splitlines()[0].split(" <_io")[0] if str(error) else type(error).__name__
        raise UserError(f"{name}: not a readable picture, or truncated ({reason})") from error


def _decode_with_pil(data: bytes, exif: bool) -> Tensor:
    with Image.open(io.BytesIO(data)) as image:
        image.load()  # after which TIFFs are upright already, and say so
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1)) if exif else None
        return from_pil(image if turn is None else image.transpose(turn))


def from_pil(image: Image.Image) -> Tensor:
    """A PIL picture as RGB, (3, H, W) uint8; of 16 bits a pixel the upper eight are kept.

    Raises ValueError where the range of its pixels is not known.
    """
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers; expected whole ones of 8 or 16 bits")
    if image.mode.startswith("I"):
        levels = np.asarray(image)
        if levels.min() < 0 or levels.max() >= 1 << 16:
            raise ValueError("its pixels are numbers of 32 bits; expected 8 or 16")
        image = Image.fromarray((levels >> 8).astype(np.uint8))
    return v2.functional.pil_to_tensor(image.convert("RGB"))


class OnCorrupt:
    """What happens to pictures that are missing or unreadable: an error, or they are left out and named once each.

    choice: the key `data.on_corrupt`.
    """

    def __init__(self, choice: str):
        if choice not in ON_CORRUPT:
            raise UserError(f"data.on_corrupt={choice!r}; expected one of {', '.join(ON_CORRUPT)}")
        self.skip = choice == "skip"
        self.left_out: set[str] = set()

    def handle(self, name: str, error: UserError) -> None:
        if not self.skip:
            raise UserError(f"{error}; data.on_corrupt=skip leaves such pictures out") from error
        if name not in self.left_out:
            self.left_out.add(name)
            log.warning("left out (%d so far): %s", len(self.left_out), error)


def to_pil(image: Tensor) -> Image.Image:
    """(3, H, W) uint8 -> PIL."""
    return Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())


def resize_to(image: Tensor, height: int, width: int) -> Tensor:
    """(3, H, W) uint8 -> (3, height, width), bilinear with antialiasing, channels last in memory.

    What torchvision's resize gives, to the last bit, in a third of its time: it leaves channels first.
    """
    # By pixels first: as a batch of one, a picture that is channels last already would have strides of neither layout.
    whole = image.permute(1, 2, 0).contiguous()[None].permute(0, 3, 1, 2)
    return F.interpolate(whole, (height, width), mode="bilinear", antialias=True)[0]


def square(image: Tensor, resolution: int) -> Tensor:
    """Squash (3, H, W) uint8 to (3, resolution, resolution), bilinear with antialiasing."""
    return resize_to(image, resolution, resolution)


def check_resize(resize: str, key: str) -> None:
    if resize not in RESIZES:
        raise ValueError(f"{key}={resize!r}; expected one of {', '.join(RESIZES)}")


def fitted_size(height: int, width: int, resolution: int, resize: str) -> tuple[int, int]:
    """Height and width that a picture gets in its square of `resolution` pixels, in whose upper left corner it lies.

    resize: "square" squashes it to the whole square; "keep_aspect" scales it until its longer side fits.
    """
    if resize == "square":
        return resolution, resolution
    scale = resolution / max(height, width)
    return max(round(height * scale), 1), max(round(width * scale), 1)


def fit_scale(height: int, width: int, resolution: int, resize: str) -> Tensor:
    """(4,): boxes xyxy in pixels of a picture of height x width, times this, are in pixels of its square."""
    fitted_height, fitted_width = fitted_size(height, width, resolution, resize)
    return torch.tensor([fitted_width / width, fitted_height / height]).repeat(2)


def fit(image: Tensor, resolution: int, resize: str) -> Tensor:
    """A picture (3, H, W) uint8 in its square (3, resolution, resolution), see `fitted_size`; the rest is grey."""
    if resize == "square":
        return square(image, resolution)
    height, width = fitted_size(image.shape[-2], image.shape[-1], resolution, resize)
    image = resize_to(image, height, width)
    return F.pad(image, (0, resolution - width, 0, resolution - height), value=GREY)


def collate_images(images: list[Tensor]) -> Tensor:
    """Pictures of one size as a batch (B, 3, H, W), channels last in memory."""
    return torch.stack([image.permute(1, 2, 0) for image in images]).permute(0, 3, 1, 2)
