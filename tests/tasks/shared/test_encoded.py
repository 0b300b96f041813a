"""Pictures that are decoded smaller, and crops of them: against all pixels decoded, and against PIL."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps

from tasks.shared import crops
from tasks.shared.crops import SPARE, TrainCrop, in_blocks, random_crop, random_crop_of
from tasks.shared.drawn_photos import draw_photo
from tasks.shared.encoded import SCALES, EncodedImage, upright
from tasks.shared.errors import UserError
from tasks.shared.images import read_image
from tasks.shared.jpeg_rows import upper_part

SMOOTH = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)


def photo(width: int, height: int) -> Image.Image:
    """Smooth colours, no two corners alike."""
    return Image.fromarray(SMOOTH).resize((width, height), Image.Resampling.BICUBIC)


def pixels(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def encoded(image: Image.Image, orientation: int | None = None, kind: str = "JPEG", **options: Any) -> EncodedImage:
    if orientation is not None:
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = orientation
    file = io.BytesIO()
    image.save(file, kind, **{"quality": 95} | options)
    return EncodedImage(np.frombuffer(bytearray(file.getvalue()), np.uint8), f"x.{kind}", exif=True)


def apart(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Mean levels of 255."""
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype == torch.uint8
    return (ours.float() - theirs.float()).abs().mean().item()


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize(
    ("mode", "subsampling"), [("RGB", "4:2:0"), ("RGB", "4:4:4"), ("RGB", "4:2:2"), ("L", "4:4:4")]
)
def test_with_all_its_pixels_it_is_the_whole_picture_to_the_last_bit(
    mode: str, subsampling: str, orientation: int
) -> None:
    options = {} if mode == "L" else {"subsampling": subsampling}
    picture = encoded(photo(157, 93).convert(mode), orientation, **options)
    same = picture.decode_scaled(8)
    assert same is not None and torch.equal(same, picture.decode())


@pytest.mark.parametrize("n", SCALES)
@pytest.mark.parametrize("orientation", range(10))
def test_a_smaller_decode_is_the_picture_made_smaller(orientation: int, n: int) -> None:
    picture = encoded(photo(160, 96), orientation)
    small, whole = picture.decode_scaled(n), picture.decode()
    assert small is not None
    expected = F.interpolate(whole[None].float(), scale_factor=n / 8, mode="area")[0].round().to(torch.uint8)
    assert apart(small, expected) < 3 < 20 < apart(small, expected.flip(-1))
    assert picture.orientation == (orientation if orientation in range(1, 9) else 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_pil_turns_them(orientation: int) -> None:
    stored = photo(30, 20)
    stored.getexif()[0x0112] = orientation
    assert torch.equal(upright(pixels(stored), orientation), pixels(ImageOps.exif_transpose(stored)))


@pytest.mark.parametrize("size", [(157, 93), (160, 93), (157, 96)])
def test_sides_that_are_no_multiples_of_eight_round_up_and_are_not_turned(size: tuple[int, int]) -> None:
    width, height = size
    small = encoded(photo(*size)).decode_scaled(3)
    assert small is not None and small.shape == (3, -(-height * 3 // 8), -(-width * 3 // 8))
    assert encoded(photo(*size), orientation=6).decode_scaled(3) is None


def test_without_exif_pictures_stay_as_stored() -> None:
    picture = EncodedImage(encoded(photo(160, 96), orientation=6).data, "x.jpg", exif=False)
    small = picture.decode_scaled(2)
    assert small is not None and small.shape == (3, 24, 40) and picture.decode().shape == (3, 96, 160)


def test_grey_pictures_get_three_channels() -> None:
    small = encoded(photo(160, 96).convert("L")).decode_scaled(4)
    assert small is not None and small.shape == (3, 48, 80)
    assert torch.equal(small[0], small[1]) and torch.equal(small[0], small[2])


def test_what_cannot_be_decoded_smaller_is_left_to_decode() -> None:
    png, cmyk = encoded(photo(160, 96), kind="PNG"), encoded(photo(160, 96).convert("CMYK"))
    assert png.stored_size is cmyk.stored_size is None
    for picture in (png, cmyk):
        assert picture.decode_scaled(2) is None
        assert apart(picture.decode(), pixels(photo(160, 96))) < 1


def test_of_damaged_files_decode_says_what_is_wrong() -> None:
    whole = encoded(photo(1600, 1200)).data
    for data in (whole[: len(whole) // 2], whole[:40], whole[:3]):
        picture = EncodedImage(data, "holiday.jpg", exif=True)
        assert picture.decode_scaled(1) is None
        with pytest.raises(UserError, match=r"holiday\.jpg: not a readable picture, or truncated"):
            random_crop_of(picture, 32, np.random.default_rng(0), TrainCrop())


@pytest.mark.parametrize("n", [*SCALES, 8])
@pytest.mark.parametrize(
    ("mode", "subsampling"), [("RGB", "4:2:0"), ("RGB", "4:4:4"), ("RGB", "4:2:2"), ("L", "4:4:4")]
)
def test_the_rows_that_are_needed_are_those_of_the_whole_picture(mode: str, subsampling: str, n: int) -> None:
    options: dict[str, Any] = {} if mode == "L" else {"subsampling": subsampling}
    picture = encoded(draw_photo(157, 250, 1.1, np.random.default_rng(0)).convert(mode), **options)
    whole = picture.decode_scaled(n)
    assert whole is not None
    for rows in (1, 16, 100, 128, 199, 210, 250):
        part = picture.decode_scaled(n, rows)
        assert part is not None and part.shape[-1] == whole.shape[-1]
        kept, needed = part.shape[-2], -(-rows * n // 8)
        assert needed <= kept <= min(whole.shape[-2], -(-(rows + 31) * n // 8)), "little more than is needed"
        assert torch.equal(part[:, :needed], whole[:, :needed])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_pictures_keep_the_rows_that_are_needed(orientation: int) -> None:
    picture = encoded(photo(160, 96), orientation)
    part, whole = picture.decode_scaled(8, rows=20), picture.decode()
    assert part is not None and torch.equal(part[:, :20], whole[:, :20])
    assert (part.shape == whole.shape) == (orientation != 1)


def test_nothing_below_the_rows_that_are_needed_is_looked_at() -> None:
    """And where that is not known to be allowed, all of it is."""
    picture = encoded(photo(160, 320), restart_marker_rows=2)
    needed = picture.decode()[:, :100]
    picture.data[-600:-300] = 17  # damage, far below
    part = picture.decode_scaled(8, rows=100)
    assert part is not None and torch.equal(part[:, :100], needed)
    assert picture.decode_scaled(8) is None

    progressive = encoded(photo(160, 320), progressive=True)
    part = progressive.decode_scaled(8, rows=100)
    assert part is not None and torch.equal(part, progressive.decode())

    cut_off = EncodedImage(encoded(photo(160, 320)).data[:-40], "cut.jpg")
    assert cut_off.decode_scaled(8, rows=100) is None
    with pytest.raises(UserError, match=r"cut\.jpg"):
        cut_off.decode()


def test_headers_that_end_early_are_left_alone() -> None:
    data = encoded(photo(160, 320)).data
    assert upper_part(data, 100) is not None
    header = data.tobytes().index(b"\xff\xda")
    for length in range(header + 4):
        ended = np.concatenate([data[:length], np.frombuffer(b"\xff\xd9", np.uint8)])
        assert upper_part(ended, 100) is None


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.jpg: cannot be read \(no such file\)"):
        EncodedImage.read(tmp_path / "none.jpg")


def crops_of(picture: EncodedImage, resolution: int, crop: TrainCrop, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the encoded picture, and of all its pixels, with the same random numbers."""
    part, size = random_crop_of(picture, resolution, np.random.default_rng(seed), crop)
    image = picture.decode()
    assert size == image.shape[-2:]
    return part, random_crop(image, resolution, np.random.default_rng(seed), crop)


@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("size", [(1600, 1200), (1203, 1601)])
def test_large_photos_are_cropped_where_all_their_pixels_are(
    size: tuple[int, int], mode: str, orientation: int
) -> None:
    picture = encoded(photo(*size).convert(mode), orientation)
    for seed in range(6):
        part, expected = crops_of(picture, 100, TrainCrop(), seed)
        assert apart(part, expected) < 4 < 20 < apart(part, expected.flip(-1))  # its edges move by up to 4 pixels


def test_along_blocks_crops_are_the_same_to_some_tenths_of_a_level(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the way of decoding is all that differs."""
    picture = encoded(draw_photo(1600, 1200, 1.3, np.random.default_rng(0)), quality=85)
    for box in [(160, 80, 800, 640), (0, 0, 1600, 1200), (480, 0, 1120, 600)]:
        monkeypatch.setattr(crops, "random_box", lambda *_, box=box: box)
        part, expected = crops_of(picture, 100, TrainCrop(), 0)
        assert 0 < apart(part, expected) < 1
        assert abs((part.float() - expected.float()).mean().item()) < 0.2


@pytest.mark.parametrize(("kind", "large"), [("JPEG", crops.LARGE), ("JPEG", 0), ("PNG", 0), ("WEBP", 0)])
def test_crops_of_small_pictures_are_the_same_to_the_last_bit(
    kind: str, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crops, "LARGE", large)
    picture = encoded(photo(280, 200), kind=kind)
    for seed in range(5):
        part, expected = crops_of(picture, 100, TrainCrop(), seed)
        assert torch.equal(part, expected)


def test_no_crop_is_decoded_with_fewer_pixels_than_it_keeps_to_spare(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = encoded(photo(1600, 1200))
    asked: list[int] = []
    smaller = EncodedImage.decode_scaled

    def decode(self: EncodedImage, n: int, rows: int) -> torch.Tensor | None:
        asked.append(n)
        return smaller(self, n, rows)

    monkeypatch.setattr(EncodedImage, "decode_scaled", decode)
    box = (0, 0, 0, 0)
    monkeypatch.setattr(crops, "random_box", lambda *_: box)
    for side in range(100, 1201, 50):
        asked.clear()
        box = (0, 0, side, side)
        random_crop_of(picture, 100, np.random.default_rng(0), TrainCrop())
        (n,) = asked
        assert side * n / 8 >= SPARE * 100 or n == 8
        assert all(side * fewer / 8 < SPARE * 100 for fewer in SCALES if fewer < n), "no more than are needed"


def test_boxes_go_to_the_nearest_blocks() -> None:
    assert in_blocks((0, 0, 800, 640)) == (0, 0, 100, 80)
    assert in_blocks((3, 5, 21, 30)) == (0, 1, 3, 3)  # 3..24 and 5..35 pixels


def test_reading_a_file_is_decoding_its_bytes(tmp_path: Path) -> None:
    file = tmp_path / "ö.jpg"
    file.write_bytes(encoded(photo(70, 50), orientation=8).data.tobytes())
    assert torch.equal(EncodedImage.read(file, exif=True).decode(), read_image(file, exif=True))
