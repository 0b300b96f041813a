"""Reading pictures into uint8 tensors."""

import glob
import logging
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image, read_file
from torchvision.transforms import v2

from tasks.shared.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
ON_CORRUPT = ("error", "skip")
RESIZES = ("square", "keep_aspect")
GREY = 127  # beside a picture that is not square: what most backbones take as their mean
log = logging.getLogger(__name__)
_FAST = (b"\xff\xd8\xff", b"\x89PNG")  # what torchvision decodes itself; PIL reads the rest


def read_image(path: Path, exif: bool = False) -> Tensor:
    """The picture at `path` as RGB, (3, H, W) uint8.

    exif: turn it as its EXIF orientation says, as viewers do. Annotations of data sets mostly mean the pixels
    as stored, so readers of data sets leave it off.

    Raises UserError naming the file if it is missing, truncated or no picture.
    """
    try:
        data = read_file(str(path))
    except RuntimeError as error:
        raise UserError(f"{path}: cannot be read ({'no such file' if not path.is_file() else error})") from error
    try:
        if bytes(data[:4].tolist()).startswith(_FAST):
            image = decode_image(data, ImageReadMode.RGB, apply_exif_orientation=exif)
            return v2.functional.to_dtype(image, torch.uint8, scale=True)  # a PNG of 16 bits comes as such
        return _read_with_pil(path, exif)
    except (RuntimeError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: not a readable picture, or truncated ({reason})") from error


def _read_with_pil(path: Path, exif: bool) -> Tensor:
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image) if exif else image
        return v2.functional.pil_to_tensor(upright.convert("RGB"))


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


def find_pictures(source: str, key: str = "input") -> list[Path]:
    """The picture files that `source` means: itself, those below a folder, or those that a glob matches.

    key: the config key that it comes from.
    """
    path = Path(source)
    if path.is_file():
        return [path]
    if path.is_dir():
        found = sorted(f for f in path.rglob("*") if f.suffix.lower() in SUFFIXES)
        if not found:
            raise UserError(f"{key}={source}: the folder holds no pictures ({', '.join(SUFFIXES)})")
        return found
    found = sorted(Path(f) for f in glob.glob(source, recursive=True) if Path(f).is_file())
    if not found:
        raise UserError(f"{key}={source}: no such file or folder, and no file matches it")
    return found


def to_pil(image: Tensor) -> Image.Image:
    """(3, H, W) uint8 -> PIL."""
    return Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())


def square(image: Tensor, resolution: int) -> Tensor:
    """Squash (3, H, W) uint8 to (3, resolution, resolution), bilinear with antialiasing."""
    return v2.functional.resize(image, [resolution, resolution], antialias=True)


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
    image = v2.functional.resize(image, [height, width], antialias=True)
    return F.pad(image, (0, resolution - width, 0, resolution - height), value=GREY)


def collate_images(images: list[Tensor]) -> Tensor:
    """Pictures of one size as a batch (B, 3, H, W), channels last in memory."""
    return torch.stack(images).contiguous(memory_format=torch.channels_last)
