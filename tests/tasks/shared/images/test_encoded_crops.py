"""Random crops of images that are still encoded: against crops of all their pixels."""

import numpy as np
import pytest
import torch

from tasks.shared.images import crops, encoded, jpeg_part
from tasks.shared.images.crops import SPARE, TrainCrop, at_eighths, random_crop, random_crop_of
from tasks.shared.images.encoded import SCALES, EncodedImage
from tasks.shared.images.jpeg_part import Box
from tasks.shared.samples.drawn_photos import draw_photo
from tests.tasks.shared.encoded_photos import apart, encode, photo


@pytest.fixture(params=["as installed", "without libjpeg-turbo's headers"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param != "as installed":
        monkeypatch.setattr(jpeg_part, "decoder", lambda: None)


def crops_of(decoded: EncodedImage, resolution: int, crop: TrainCrop, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the encoded image, and of all its pixels, with the same random numbers."""
    part, size = random_crop_of(decoded, resolution, np.random.default_rng(seed), crop)
    image = decoded.decode()
    assert size == image.shape[-2:]
    return part, random_crop(image, resolution, np.random.default_rng(seed), crop)


@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("size", [(1600, 1200), (1203, 1601)])
def test_large_photos_are_cropped_where_all_their_pixels_are(
    size: tuple[int, int], mode: str, orientation: int
) -> None:
    decoded = encode(photo(*size).convert(mode), orientation)
    for seed in range(6):
        part, expected = crops_of(decoded, 100, TrainCrop(), seed)
        assert apart(part, expected) < 4 < 20 < apart(part, expected.flip(-1))  # its edges move by up to 4 pixels


@pytest.mark.usefixtures("decoder")
def test_along_blocks_crops_are_the_same_to_some_tenths_of_a_level(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the way of decoding is all that differs."""
    decoded = encode(draw_photo(1600, 1200, 1.3, np.random.default_rng(0)), quality=85)
    for box in [(160, 80, 800, 640), (0, 0, 1600, 1200), (480, 0, 1120, 600)]:
        monkeypatch.setattr(crops, "random_box", lambda *_, box=box: box)
        part, expected = crops_of(decoded, 100, TrainCrop(), 0)
        assert 0 < apart(part, expected) < 1
        assert abs((part.float() - expected.float()).mean().item()) < 0.2


@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize(("kind", "large"), [("JPEG", encoded.LARGE), ("JPEG", 0), ("PNG", 0), ("WEBP", 0)])
def test_crops_of_small_images_are_the_same_to_the_last_bit(
    kind: str, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoded, "LARGE", large)
    decoded = encode(photo(280, 200), kind=kind)
    for seed in range(5):
        part, expected = crops_of(decoded, 100, TrainCrop(), seed)
        assert torch.equal(part, expected)


@pytest.mark.skipif(jpeg_part.decoder() is None, reason="libjpeg-turbo's headers were missing when this was installed")
@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("size", [(280, 200), (1600, 1200)])
def test_no_more_than_the_crop_is_decoded(
    size: tuple[int, int], orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for whole in ("decode", "decode_scaled"):
        monkeypatch.setattr(EncodedImage, whole, lambda *_: pytest.fail("decoded more"))
    crop, _ = random_crop_of(encode(photo(*size), orientation), 100, np.random.default_rng(0), TrainCrop())
    assert crop.shape == (3, 100, 100)


def test_no_crop_is_decoded_with_fewer_pixels_than_it_keeps_to_spare(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = encode(photo(1600, 1200))
    asked: list[int] = []
    part_of = EncodedImage.decode_part

    def decode(self: EncodedImage, n: int, box: Box) -> torch.Tensor | None:
        asked.append(n)
        return part_of(self, n, box)

    monkeypatch.setattr(EncodedImage, "decode_part", decode)
    box = (0, 0, 0, 0)
    monkeypatch.setattr(crops, "random_box", lambda *_: box)
    for side in range(100, 1201, 50):
        asked.clear()
        box = (0, 0, side, side)
        random_crop_of(decoded, 100, np.random.default_rng(0), TrainCrop())
        (n,) = asked
        assert side * n / 8 >= SPARE * 100 or n == 8
        assert all(side * fewer / 8 < SPARE * 100 for fewer in SCALES if fewer < n), "no more than are needed"


def test_boxes_go_to_the_nearest_blocks() -> None:
    assert at_eighths((0, 0, 800, 640), 1, 1600, 1200) == (0, 0, 100, 80)
    assert at_eighths((3, 5, 21, 30), 2, 1600, 1200) == (0, 2, 6, 6)  # 3..24 and 5..35 pixels
    assert at_eighths((90, 50, 34, 30), 4, 124, 80) == (44, 24, 18, 16), "not beyond the image, 62 pixels wide"
