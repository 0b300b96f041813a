"""Images that are decoded smaller, or no further down than is needed: against all pixels decoded, and PIL."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import ImageOps

from tasks.shared.errors import UserError
from tasks.shared.images.crops import TrainCrop, random_crop_of
from tasks.shared.images.decode import read_image
from tasks.shared.images.encoded import SCALES, EncodedImage, upright
from tasks.shared.images.jpeg_rows import upper_part
from tasks.shared.samples.drawn_photos import draw_photo
from tests.tasks.shared.encoded_photos import apart, encode, photo, pixels


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize(
    ("mode", "subsampling"), [("RGB", "4:2:0"), ("RGB", "4:4:4"), ("RGB", "4:2:2"), ("L", "4:4:4")]
)
def test_with_all_its_pixels_it_is_the_whole_image_to_the_last_bit(
    mode: str, subsampling: str, orientation: int
) -> None:
    options = {} if mode == "L" else {"subsampling": subsampling}
    image = encode(photo(157, 93).convert(mode), orientation, **options)
    same = image.decode_scaled(8)
    assert same is not None and torch.equal(same, image.decode())


@pytest.mark.parametrize("n", SCALES)
@pytest.mark.parametrize("orientation", range(10))
def test_a_smaller_decode_is_the_image_made_smaller(orientation: int, n: int) -> None:
    image = encode(photo(160, 96), orientation)
    small, whole = image.decode_scaled(n), image.decode()
    assert small is not None
    expected = F.interpolate(whole[None].float(), scale_factor=n / 8, mode="area")[0].round().to(torch.uint8)
    assert apart(small, expected) < 3 < 20 < apart(small, expected.flip(-1))
    assert image.orientation == (orientation if orientation in range(1, 9) else 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_pil_turns_them(orientation: int) -> None:
    stored = photo(30, 20)
    stored.getexif()[0x0112] = orientation
    assert torch.equal(upright(pixels(stored), orientation), pixels(ImageOps.exif_transpose(stored)))


@pytest.mark.parametrize("size", [(157, 93), (160, 93), (157, 96)])
def test_sides_that_are_no_multiples_of_eight_round_up_and_are_not_turned(size: tuple[int, int]) -> None:
    width, height = size
    small = encode(photo(*size)).decode_scaled(3)
    assert small is not None and small.shape == (3, -(-height * 3 // 8), -(-width * 3 // 8))
    assert encode(photo(*size), orientation=6).decode_scaled(3) is None


def test_without_exif_images_stay_as_stored() -> None:
    image = EncodedImage(encode(photo(160, 96), orientation=6).data, "x.jpg", exif=False)
    small = image.decode_scaled(2)
    assert small is not None and small.shape == (3, 24, 40) and image.decode().shape == (3, 96, 160)


def test_grey_images_get_three_channels() -> None:
    small = encode(photo(160, 96).convert("L")).decode_scaled(4)
    assert small is not None and small.shape == (3, 48, 80)
    assert torch.equal(small[0], small[1]) and torch.equal(small[0], small[2])


def test_what_cannot_be_decoded_smaller_is_left_to_decode() -> None:
    png, cmyk = encode(photo(160, 96), kind="PNG"), encode(photo(160, 96).convert("CMYK"))
    assert png.stored_size is cmyk.stored_size is None
    for image in (png, cmyk):
        assert image.decode_scaled(2) is None
        assert apart(image.decode(), pixels(photo(160, 96))) < 1


def test_colours_in_rare_samplings_are_left_to_decode() -> None:
    image = encode(photo(160, 96), subsampling="4:4:4")
    frame = image.data.tobytes().index(b"\xff\xc0")
    image.data[frame + 11] = 0x14  # brightness has four rows to one of the colours'
    assert image.stored_size is None


def test_of_damaged_files_decode_says_what_is_wrong() -> None:
    whole = encode(photo(1600, 1200)).data
    for data in (whole[: len(whole) // 2], whole[:40], whole[:3]):
        image = EncodedImage(data, "holiday.jpg", exif=True)
        assert image.decode_scaled(1) is None
        with pytest.raises(UserError, match=r"holiday\.jpg: not a readable image, or truncated"):
            random_crop_of(image, 32, np.random.default_rng(0), TrainCrop())


@pytest.mark.parametrize("n", [*SCALES, 8])
@pytest.mark.parametrize(
    ("mode", "subsampling"), [("RGB", "4:2:0"), ("RGB", "4:4:4"), ("RGB", "4:2:2"), ("L", "4:4:4")]
)
def test_the_rows_that_are_needed_are_those_of_the_whole_image(mode: str, subsampling: str, n: int) -> None:
    options: dict[str, Any] = {} if mode == "L" else {"subsampling": subsampling}
    image = encode(draw_photo(157, 250, 1.1, np.random.default_rng(0)).convert(mode), **options)
    whole = image.decode_scaled(n)
    assert whole is not None
    for rows in (1, 16, 100, 128, 199, 210, 250):
        part = image.decode_scaled(n, rows)
        assert part is not None and part.shape[-1] == whole.shape[-1]
        kept, needed = part.shape[-2], -(-rows * n // 8)
        assert needed <= kept <= min(whole.shape[-2], -(-(rows + 31) * n // 8)), "little more than is needed"
        assert torch.equal(part[:, :needed], whole[:, :needed])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_images_keep_the_rows_that_are_needed(orientation: int) -> None:
    image = encode(photo(160, 96), orientation)
    part, whole = image.decode_scaled(8, rows=20), image.decode()
    assert part is not None and torch.equal(part[:, :20], whole[:, :20])
    assert (part.shape == whole.shape) == (orientation != 1)


def test_nothing_below_the_rows_that_are_needed_is_looked_at() -> None:
    """And where that is not known to be allowed, all of it is."""
    image = encode(photo(160, 320), restart_marker_rows=2)
    needed = image.decode()[:, :100]
    image.data[-600:-300] = 17  # damage, far below
    part = image.decode_scaled(8, rows=100)
    assert part is not None and torch.equal(part[:, :100], needed)
    assert image.decode_scaled(8) is None

    progressive = encode(photo(160, 320), progressive=True)
    part = progressive.decode_scaled(8, rows=100)
    assert part is not None and torch.equal(part, progressive.decode())

    cut_off = EncodedImage(encode(photo(160, 320)).data[:-40], "cut.jpg")
    assert cut_off.decode_scaled(8, rows=100) is None
    with pytest.raises(UserError, match=r"cut\.jpg"):
        cut_off.decode()


def test_headers_that_end_early_are_left_alone() -> None:
    data = encode(photo(160, 320)).data
    assert upper_part(data, 100) is not None
    header = data.tobytes().index(b"\xff\xda")
    for length in range(header + 4):
        ended = np.concatenate([data[:length], np.frombuffer(b"\xff\xd9", np.uint8)])
        assert upper_part(ended, 100) is None


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.jpg: cannot be read \(no such file\)"):
        EncodedImage.read(tmp_path / "none.jpg")


def test_reading_a_file_is_decoding_its_bytes(tmp_path: Path) -> None:
    file = tmp_path / "ö.jpg"
    file.write_bytes(encode(photo(70, 50), orientation=8).data.tobytes())
    assert torch.equal(EncodedImage.read(file, exif=True).decode(), read_image(file, exif=True))
