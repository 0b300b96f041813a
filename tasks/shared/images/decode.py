"""Reading images into uint8 tensors."""

import io
import logging
import os
import re
import stat
import struct
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import ExifTags, Image, ImageFile
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import v2

from tasks.shared.errors import UserError
from tasks.shared.images.headers import check_header
from tasks.shared.images.limits import check_file_size, check_pixels, damaged, max_pixels, out_of_memory
from tasks.shared.terminal.escaped import printable

ON_CORRUPT = ("error", "skip")
RESIZES = ("square", "keep_aspect")
GREY = 127  # beside an image that is not square: what most backbones take as their mean
log = logging.getLogger(__name__)
JPEG = b"\xff\xd8\xff"  # torchvision decodes it faster than PIL does; of a damaged PNG its decoder crashes (0.29)
# What decoders raise for damage; PIL's warnings among it, where they are errors.
DAMAGE = (
    RuntimeError, OSError, ValueError, SyntaxError, LookupError, TypeError, AttributeError, ArithmeticError,
    struct.error, Image.DecompressionBombError, UserWarning,
)  # fmt: skip
NO_MEMORY = re.compile("not enough memory|can't allocate memory|[Ii]nsufficient memory|out of memory")
_pil_open = Image.open  # PIL's own, also while another one takes its name's place
MOST_EXIF = 1 << 20  # bytes: cameras write up to 64 kB
# What turns an image of that EXIF orientation upright; 1 is upright.
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
    """The image at `path` as RGB, (3, H, W) uint8.

    exif: turn it as its EXIF orientation says, as viewers do. Boxes of data sets mostly mean the pixels as stored,
    so readers of those leave it off.

    Raises UserError naming the file if it is missing, truncated, no image, or larger than the key `max_megapixels`
    allows.
    """
    return decode_image(read_bytes(path), printable(path), exif)


def read_bytes(path: Path) -> np.ndarray:
    """An image file's bytes, (N,) uint8. Raises UserError naming it."""
    name = printable(path)
    try:
        # Not by torchvision, whose own reader takes no names that are no UTF-8.
        with open(path, "rb", opener=_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UserError(f"{name}: cannot be read (no file)")
            check_file_size(name, status.st_size)
            data = np.empty(status.st_size, np.uint8)
            return data[: file.readinto(data.data)]
    except OSError as error:
        reason = error.strerror if path.is_file() else "no such file"
        raise UserError(f"{name}: cannot be read ({reason})") from error
    except MemoryError as error:
        raise out_of_memory(name) from error


def _without_waiting(path: str, flags: int) -> int:
    """For open(): a named pipe would let it wait for who writes to it."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def decode_image(data: np.ndarray, name: str, exif: bool = False) -> Tensor:
    """The same of a file's bytes, (N,) uint8; name: what errors call it."""
    image_format = check_header(data, name)
    try:
        if image_format == "JPEG":
            return decode_jpeg(torch.from_numpy(data), ImageReadMode.RGB, apply_exif_orientation=exif)
        return _decode_with_pil(data, name, exif)
    except MemoryError as error:
        raise out_of_memory(name) from error
    except UserError:
        raise
    except DAMAGE as error:
        reason = str(error).splitlines()[0].split(" <_io")[0] if str(error) else type(error).__name__
        raise (out_of_memory(name) if NO_MEMORY.search(str(error)) else damaged(name, reason)) from error


def open_image(data: np.ndarray, name: str) -> ImageFile.ImageFile:
    """A file's bytes, (N,) uint8, as a PIL image whose pixels are not decoded yet. The only place that opens one.

    Raises UserError, naming it, as `check_header` does, and whatever PIL raises, see DAMAGE.
    """
    image_format = check_header(data, name)
    if max_pixels() != Image.MAX_IMAGE_PIXELS:  # or PIL warns at half of what is allowed
        Image.MAX_IMAGE_PIXELS = max_pixels()
    image = _pil_open(io.BytesIO(data.data), formats=(image_format,))
    check_pixels(name, *image.size)
    return image


def _decode_with_pil(data: np.ndarray, name: str, exif: bool) -> Tensor:
    with open_image(data, name) as image:
        _check_mode(image)
        image.load()  # after which TIFFs are upright already, and say so
        turn = _TURNS.get(orientation_of(image)) if exif else None
        return from_pil(image if turn is None else image.transpose(turn))


def orientation_of(image: Image.Image) -> int:
    """What a PIL image's EXIF tells; 1, upright, where it tells nothing or is damaged."""
    if len(image.info.get("exif") or b"") > MOST_EXIF:
        return 1
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except DAMAGE:
        return 1
    return orientation if orientation in range(1, 9) else 1


def _check_mode(image: Image.Image) -> None:
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers; expected whole ones of 8 or 16 bits")


def from_pil(image: Image.Image) -> Tensor:
    """A PIL image as RGB, (3, H, W) uint8; of 16 bits a pixel the upper eight are kept.

    Raises ValueError where the range of its pixels is not known.
    """
    _check_mode(image)
    if image.mode.startswith("I"):
        levels = np.asarray(image)
        if levels.min() < 0 or levels.max() >= 1 << 16:
            raise ValueError("its pixels are numbers of 32 bits; expected 8 or 16")
        image = Image.fromarray((levels >> 8).astype(np.uint8))
    return v2.functional.pil_to_tensor(image.convert("RGB"))


class OnCorrupt:
    """What happens to images that are missing or unreadable: an error, or they are left out and named once each.

    choice: the key `data.on_corrupt`.
    """

    def __init__(self, choice: str):
        if choice not in ON_CORRUPT:
            raise UserError(f"data.on_corrupt={choice!r}; expected one of {', '.join(ON_CORRUPT)}")
        self.skip = choice == "skip"
        self.left_out: set[str] = set()

    def handle(self, name: str, error: UserError) -> None:
        if not self.skip:
            raise UserError(f"{error}; data.on_corrupt=skip leaves such images out") from error
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
    # By pixels first: as a batch of one, an image that is channels last already would have strides of neither layout.
    whole = image.permute(1, 2, 0).contiguous()[None].permute(0, 3, 1, 2)
    return F.interpolate(whole, (height, width), mode="bilinear", antialias=True)[0]


def square(image: Tensor, resolution: int) -> Tensor:
    """Squash (3, H, W) uint8 to (3, resolution, resolution), bilinear with antialiasing."""
    return resize_to(image, resolution, resolution)


def check_resize(resize: str, key: str) -> None:
    if resize not in RESIZES:
        raise ValueError(f"{key}={resize!r}; expected one of {', '.join(RESIZES)}")


def fitted_size(height: int, width: int, resolution: int, resize: str) -> tuple[int, int]:
    """Height and width that an image gets in its square of `resolution` pixels, in whose upper left corner it lies.

    resize: "square" squashes it to the whole square; "keep_aspect" scales it until its longer side fits.
    """
    if resize == "square":
        return resolution, resolution
    scale = resolution / max(height, width)
    return max(round(height * scale), 1), max(round(width * scale), 1)


def fit_scale(height: int, width: int, resolution: int, resize: str) -> Tensor:
    """(4,): boxes xyxy in pixels of an image of height x width, times this, are in pixels of its square."""
    fitted_height, fitted_width = fitted_size(height, width, resolution, resize)
    return torch.tensor([fitted_width / width, fitted_height / height]).repeat(2)


def fit(image: Tensor, resolution: int, resize: str) -> Tensor:
    """An image (3, H, W) uint8 in its square (3, resolution, resolution), see `fitted_size`; the rest is grey."""
    if resize == "square":
        return square(image, resolution)
    height, width = fitted_size(image.shape[-2], image.shape[-1], resolution, resize)
    image = resize_to(image, height, width)
    return F.pad(image, (0, resolution - width, 0, resolution - height), value=GREY)


def collate_images(images: list[Tensor]) -> Tensor:
    """Images of one size as a batch (B, 3, H, W), channels last in memory."""
    return torch.stack([image.permute(1, 2, 0) for image in images]).permute(0, 3, 1, 2)
