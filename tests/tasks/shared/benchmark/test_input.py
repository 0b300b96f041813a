"""The suite `input` on few photos. How fast anything is, is asserted nowhere."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from tasks.shared.benchmark import input as benchmark_input
from tasks.shared.benchmark.input import Photos, are_alike, input_suite, your_photos
from tasks.shared.benchmark.suite import Options
from tasks.shared.errors import UserError
from tasks.shared.images import crops
from tasks.shared.samples.drawn_photos import draw_photo, encode_photo

DRAWN = {
    "small": Photos(130, 100, 9_000, "4:4:4", 1.1, files=2, crops=2),
    "large": Photos(640, 480, 70_000, "4:2:0", 1.3, files=1, crops=3),
}


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark_input, "DRAWN", DRAWN)


def test_every_peer_gets_our_crops() -> None:
    threads = torch.get_num_threads()
    results = input_suite(Options(rounds=1), resolution=64).results
    assert [result.case for result in results] == [f"{c}, {p}" for c in DRAWN for p in ("torchvision", "timm")]
    assert all(result.checks == {"same_images": True} for result in results)
    small, large = results[0].facts, results[2].facts
    assert small["levels_apart"] < 0.1 < large["levels_apart"] < 1, "the large one is decoded smaller"
    assert small["kB_a_photo"] in (8, 9) and large["kB_a_photo"] in range(60, 71)
    for result in results:
        photos = 4 if result.case.startswith("small") else 3
        assert result.facts["our_images_per_s"] == pytest.approx(1000 * photos / result.times.ours_ms, abs=0.5)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("case", ["moved", "mirrored", "brighter"])
def test_other_images_are_reported(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    resize = crops.resize_to
    wrong = {
        "moved": lambda image, *size: resize(image.roll(3, -1), *size),
        "mirrored": lambda image, *size: resize(image, *size).flip(-1),
        "brighter": lambda image, *size: resize(image, *size).clamp(max=254) + 1,
    }
    monkeypatch.setattr(crops, "resize_to", wrong[case])
    results = input_suite(Options(rounds=1), resolution=64).results
    assert not any(result.checks["same_images"] for result in results)


def test_how_alike_is_alike() -> None:
    assert are_alike(torch.full((9,), 0.09), smaller=False)
    assert not are_alike(torch.full((9,), 0.11), smaller=True)
    noise = torch.tensor([0.8, -0.8])
    assert are_alike(noise, smaller=True) and not are_alike(noise, smaller=False)


def test_your_own_photos(tmp_path: Path) -> None:
    folder = tmp_path / "my photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        draw_photo(150, 120, 1.1, rng).save(folder / f"{number}.JPG")
    draw_photo(150, 120, 1.1, rng).save(folder / "no.png")
    assert [photo.file.name for photo in your_photos(str(folder))] == ["0.JPG", "1.JPG", "2.JPG"]
    results = input_suite(Options(rounds=1, images=str(folder)), resolution=64).results
    assert [result.case for result in results] == ["yours, torchvision", "yours, timm"]
    assert all(result.checks["same_images"] for result in results)


def test_a_folder_without_photos_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"images=.*holds no images"):
        your_photos(str(tmp_path))
    Image.new("RGB", (9, 9)).save(tmp_path / "x.png")
    with pytest.raises(UserError, match=r"images=.*: holds no \.jpg or \.jpeg"):
        your_photos(str(tmp_path))


def test_of_many_photos_some_from_everywhere(tmp_path: Path) -> None:
    for number in range(150):
        (tmp_path / f"{number:03d}.jpg").touch()
    names = [photo.file.stem for photo in your_photos(str(tmp_path))]
    assert len(names) == 50 and names[0] == "000" and names[-1] == "147"


@pytest.mark.parametrize("falloff", [1.0, 1.3])
def test_drawn_photos_have_the_spectrum_of_photos(falloff: float) -> None:
    """The slope of amplitude over frequency, on logarithmic axes, by least squares."""
    photo = np.asarray(draw_photo(256, 256, falloff, np.random.default_rng(0)).convert("L"), float)
    assert photo.std() > 35 and 100 < photo.mean() < 135
    amplitude = np.abs(np.fft.fft2(photo - photo.mean()))[1:40, 1:40]
    frequency = np.hypot(*np.mgrid[1:40, 1:40])
    slope = np.polyfit(np.log(frequency.ravel()), np.log(amplitude.ravel()), 1)[0]
    assert slope == pytest.approx(-falloff, abs=0.1)


def test_files_are_as_large_as_was_asked_and_no_larger() -> None:
    photo = draw_photo(200, 150, 1.1, np.random.default_rng(0))
    for size in (8_000, 15_000, 25_000):
        data = encode_photo(photo, size, "4:2:0")
        assert 0.85 * size < len(data) <= size
    with Image.open(io.BytesIO(data)) as image:
        assert isinstance(image, JpegImageFile)
        assert image.size == (200, 150) and image.layer[0][1:3] == (2, 2)
    with Image.open(io.BytesIO(encode_photo(photo, 25_000, "4:4:4"))) as image:
        assert isinstance(image, JpegImageFile)
        assert image.layer[0][1:3] == (1, 1)
