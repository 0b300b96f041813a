"""Reading images; images in their squares: where they lie, what is beside them, and the way back."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision.transforms import v2

from tasks.shared.errors import UserError
from tasks.shared.images.decode import (
    GREY,
    check_resize,
    collate_images,
    fit,
    fit_scale,
    fitted_size,
    read_image,
    resize_to,
    square,
)

LEVELS = np.random.default_rng(0).integers(0, 1 << 16, (20, 30)).astype(np.uint16)


def test_of_16_bits_the_upper_eight_are_kept(tmp_path: Path) -> None:
    for name in ("grey.tif", "grey.png"):
        Image.fromarray(LEVELS).save(tmp_path / name)
    (tmp_path / "grey.pgm").write_bytes(b"P5 30 20 65535\n" + LEVELS.astype(">u2").tobytes())
    Image.fromarray(LEVELS.astype(np.int32)).save(tmp_path / "wide.tif")
    (tmp_path / "big.tif").write_bytes(big_endian_tiff(LEVELS))
    expected = torch.from_numpy((LEVELS // 256).astype(np.uint8)).expand(3, -1, -1)
    for file in tmp_path.iterdir():
        assert torch.equal(read_image(file), expected), file


def big_endian_tiff(levels: np.ndarray) -> bytes:
    """One strip of 16-bit grey behind the shortest directory that TIFF 6.0 allows, which PIL opens as `I;16B`."""
    height, width = levels.shape
    tags = {256: width, 257: height, 258: 16, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: 2 * levels.size}
    pixels = levels.astype(">u2").tobytes()
    entries = b"".join(tag.to_bytes(2) + b"\0\4" + (1).to_bytes(4) + value.to_bytes(4) for tag, value in tags.items())
    start = (8 + len(pixels)).to_bytes(4)
    return b"MM\0*" + start + pixels + len(tags).to_bytes(2) + entries + bytes(4)


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [(LEVELS.astype(np.float32), "floating-point numbers"), (LEVELS.astype(np.int32) * 4, "numbers of 32 bits")],
)
def test_pixels_of_an_unknown_range_are_refused(pixels: np.ndarray, expected: str, tmp_path: Path) -> None:
    Image.fromarray(pixels).save(tmp_path / "x.tif")
    with pytest.raises(UserError, match=rf"x\.tif: not a readable image.*{expected}.*expected .*8 or 16"):
        read_image(tmp_path / "x.tif")


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif"])
def test_exif_turns_a_image_as_pil_does(kind: str, orientation: int, tmp_path: Path) -> None:
    exif, image = Image.Exif(), Image.fromarray(LEVELS.astype(np.uint8)).convert("RGB")
    exif[0x0112] = orientation
    image.save(tmp_path / f"x.{kind}", exif=exif, lossless=True)  # which WebP alone looks at
    with Image.open(tmp_path / f"x.{kind}") as stored:
        stored.load()
        upright = np.asarray(ImageOps.exif_transpose(stored).convert("RGB")).transpose(2, 0, 1)
        as_stored = np.asarray(stored.convert("RGB")).transpose(2, 0, 1)
    assert np.array_equal(read_image(tmp_path / f"x.{kind}", exif=True).numpy(), upright)
    assert np.array_equal(read_image(tmp_path / f"x.{kind}").numpy(), as_stored)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    """Each with one bit turned in the middle of its pixels, or half of it: no crash, and a message that names it."""
    image, refused = Image.fromarray(LEVELS.astype(np.uint8)).resize((200, 160)).convert("RGB"), 0
    for kind in ("png", "jpg", "webp", "gif", "tif", "bmp"):
        image.save(tmp_path / f"x.{kind}")
        whole = (tmp_path / f"x.{kind}").read_bytes()
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 16
        for number, content in enumerate((bytes(flipped), whole[: len(whole) // 2], whole[:3], b"")):
            (tmp_path / f"{number}.{kind}").write_bytes(content)
            try:
                read_image(tmp_path / f"{number}.{kind}", exif=True)
            except UserError as error:
                refused += 1
                assert f"{number}.{kind}: not a readable image, or truncated" in str(error)
            else:
                assert number == 0 and kind != "png", "nothing in those formats tells that a bit is another"
    assert refused >= 6 * 3 + 1


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "circle.jpg").symlink_to(tmp_path / "circle.jpg")
    for name in ("folder.jpg", "circle.jpg", "none.jpg", os.fsdecode(b"\xe9.jpg")):
        with pytest.raises(UserError, match="no such file") as caught:
            read_image(tmp_path / name)
        str(caught.value).encode()


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((100, 200), (48, 96)),
        ((200, 100), (96, 48)),
        ((37, 37), (96, 96)),
        ((31, 93), (32, 96)),
        ((480, 640), (72, 96)),
        ((3, 2000), (1, 96)),  # never less than a row
    ],
)
def test_the_longer_side_fits(size, expected):
    height, width = size
    assert fitted_size(height, width, 96, "keep_aspect") == expected
    assert fitted_size(height, width, 96, "square") == (96, 96)


@pytest.mark.parametrize("size", [(50, 100), (100, 50), (60, 61), (300, 40)])
def test_a_image_lies_in_the_upper_left_corner_and_the_rest_is_grey(size):
    image = torch.randint(256, (3, *size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    fitted = fit(image, 64, "keep_aspect")
    assert (fitted.shape, fitted.dtype) == ((3, 64, 64), torch.uint8)
    height, width = fitted_size(image.shape[1], image.shape[2], 64, "keep_aspect")
    assert max(height, width) == 64
    assert (fitted[:, height:] == GREY).all() and (fitted[:, :, width:] == GREY).all()
    assert fitted[:, :height, :width].float().std() > 5
    assert fitted[:, :height, :width].float().mean() == pytest.approx(image.float().mean().item(), abs=3)


def test_square_squashes():
    image = torch.randint(256, (3, 50, 100), dtype=torch.uint8)
    assert torch.equal(fit(image, 64, "square"), square(image, 64))


@pytest.mark.parametrize("resize", ["square", "keep_aspect"])
@pytest.mark.parametrize("size", [(50, 100), (120, 40), (64, 64), (33, 77)])
def test_boxes_go_where_the_pixels_go(size, resize):
    image = torch.zeros(3, *size, dtype=torch.uint8)
    x1, y1, x2, y2 = 8, 4, 36, 30
    image[:, y1:y2, x1:x2] = 255
    fitted = fit(image, 512, resize)  # large, so that blurred edges are thin in its pixels
    scale = fit_scale(image.shape[1], image.shape[2], 512, resize)
    box = torch.tensor([x1, y1, x2, y2]) * scale
    rows, columns = ((fitted[0] > 190).any(dim).nonzero() for dim in (1, 0))
    found = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    torch.testing.assert_close(found.float(), box, rtol=0, atol=6)
    torch.testing.assert_close(box / scale, torch.tensor([x1, y1, x2, y2]).float())


def test_an_unknown_resize_is_named():
    with pytest.raises(ValueError, match=r"task\.resize='pad'; expected one of square, keep_aspect"):
        check_resize("pad", "task.resize")


@pytest.mark.parametrize("layout", ["channels first", "channels last", "a part"])
@pytest.mark.parametrize(
    "sizes", [(75, 100, 33, 41), (33, 41, 75, 100), (300, 20, 7, 64), (1, 90, 5, 9), (64, 64, 64, 64)]
)
def test_resizing_is_torchvisions_to_the_last_bit(sizes: tuple[int, int, int, int], layout: str) -> None:
    height, width, new_height, new_width = sizes
    image = torch.randint(256, (3, height + 2, width + 3), dtype=torch.uint8)
    if layout == "channels last":
        image = image.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    image = image[:, 1 : 1 + height, 2 : 2 + width]
    if layout != "a part":
        image = image.clone(memory_format=torch.preserve_format)
    resized = resize_to(image, new_height, new_width)
    assert resized.permute(1, 2, 0).is_contiguous(), "channels last, as it says"
    assert torch.equal(resized, v2.functional.resize(image, [new_height, new_width], antialias=True))


def test_a_batch_is_channels_last_whatever_its_images_are() -> None:
    first = torch.randint(256, (2, 3, 8, 9), dtype=torch.uint8)
    last = first.contiguous(memory_format=torch.channels_last)
    for images in (list(first), list(last), [first[0], last[1]], [first[0].flip(-1).flip(-1), last[1]]):
        batch = collate_images(images)
        assert torch.equal(batch, first) and batch.is_contiguous(memory_format=torch.channels_last)
