"""Parts of JPEGs, against the same pixels of the whole, which simplejpeg decodes."""

import importlib.machinery
import importlib.util
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tasks.shared import jpeg_part
from tasks.shared.drawn_photos import draw_photo
from tasks.shared.encoded import SCALES, EncodedImage
from tasks.shared.jpeg_part import decode_part, decoder
from tests.tasks.shared.encoded_photos import encode, photo

SOURCE = Path(jpeg_part.__file__).with_suffix(".cpp")
compiled = pytest.mark.skipif(decoder() is None, reason="libjpeg-turbo's headers were missing when this was installed")


def detailed(width: int = 157, height: int = 250, mode: str = "RGB", **options: Any) -> EncodedImage:
    """Neighbours differ, so that pixels which are smoothed from others would tell."""
    return encode(draw_photo(width, height, 0.8, np.random.default_rng(0)).convert(mode), **options)


def test_where_there_are_a_compiler_and_the_headers_it_was_compiled(tmp_path: Path) -> None:
    if platform.system() != "Linux" or shutil.which("g++") is None:
        pytest.skip("no g++")
    command = ["g++", "-std=c++17", "-shared", "-fPIC", str(SOURCE), "-o", str(tmp_path / "part.so"), "-ljpeg"]
    can_be = subprocess.run(command, capture_output=True).returncode == 0
    assert (decoder() is not None) == can_be, "libjpeg-turbo came or went since: run pip install -e . again"


@compiled
@pytest.mark.parametrize("n", [*SCALES, 8])
@pytest.mark.parametrize(
    "options",
    [
        {"subsampling": "4:2:0"},
        {"subsampling": "4:2:2"},
        {"subsampling": "4:4:4"},
        {"subsampling": "4:2:0", "progressive": True},
        {"subsampling": "4:2:0", "restart_marker_rows": 1},
        {"mode": "L"},
    ],
    ids=str,
)
def test_a_part_is_that_part_of_the_whole(options: dict[str, Any], n: int) -> None:
    picture = detailed(**options)
    whole = picture.decode_scaled(n)
    assert whole is not None
    (height, width), rng = whole.shape[1:], np.random.default_rng(n)
    boxes = [(0, 0, width, height), (0, 0, 1, 1), (width - 1, height - 1, 1, 1), (width // 2, 0, 1, height)]
    boxes += [(0, 0, 1, height), (width - 1, 0, 1, height)]
    for _ in range(60):
        left, top = int(rng.integers(width)), int(rng.integers(height))
        boxes.append((left, top, int(rng.integers(1, width - left + 1)), int(rng.integers(1, height - top + 1))))
    for left, top, w, h in boxes:
        part = decode_part(picture.data, n, (left, top, w, h))
        assert part is not None
        assert np.array_equal(part, whole[:, top : top + h, left : left + w].permute(1, 2, 0).numpy())


@pytest.mark.parametrize("there", [True, False], ids=["as installed", "without libjpeg-turbo's headers"])
@pytest.mark.parametrize("n", [2, 8])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_parts_are_those_of_the_upright_picture(
    orientation: int, n: int, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not there:
        monkeypatch.setattr(jpeg_part, "decoder", lambda: None)
    picture = detailed(160, 248, orientation=orientation)
    whole = picture.decode_scaled(n)
    assert whole is not None
    for left, top, w, h in [(0, 0, 30, 30), (7, 3, 20, 31), (whole.shape[2] - 21, whole.shape[1] - 30, 21, 30)]:
        part = picture.decode_part(n, (left, top, w, h))
        assert part is not None and torch.equal(part, whole[:, top : top + h, left : left + w])


@compiled
def test_nothing_below_the_part_is_looked_at_and_damage_above_its_end_is_seen() -> None:
    picture = encode(photo(160, 320), restart_marker_rows=2)
    data, needed = picture.data, decode_part(picture.data, 8, (20, 10, 100, 90))
    data[-600:-300] = 17  # damage, far below
    again = decode_part(data, 8, (20, 10, 100, 90))
    assert needed is not None and again is not None and np.array_equal(again, needed)
    assert decode_part(data, 8, (20, 10, 100, 310)) is None
    assert picture.decode_part(8, (20, 10, 100, 310)) is None, "decode says what is wrong, or does what it can"


@compiled
def test_of_progressive_files_without_their_last_scans_the_whole_is_decoded() -> None:
    """What is missing is smoothed from blocks around, of which a part has fewer."""
    data = detailed(progressive=True).data
    scans = [place for place in range(len(data) - 1) if data[place] == 0xFF and data[place + 1] == 0xDA]
    assert decode_part(data, 8, (20, 20, 30, 30)) is not None and len(scans) > 3
    for scan in scans[1:]:
        ended = np.concatenate([data[:scan], np.array([0xFF, 0xD9], np.uint8)])
        assert decode_part(ended, 8, (20, 20, 30, 30)) is None


def test_of_what_is_cut_off_decode_says_so() -> None:
    whole = detailed()
    assert whole.decode_part(8, (0, 0, 50, 20)) is not None
    assert EncodedImage(whole.data[:-40], "cut.jpg").decode_part(8, (0, 0, 50, 20)) is None


@compiled
@pytest.mark.parametrize("box", [(-1, 0, 9, 9), (0, 0, 0, 9), (0, 0, 158, 9), (150, 0, 9, 9), (0, 242, 9, 9)])
def test_there_are_no_parts_beyond_the_picture(box: jpeg_part.Box) -> None:
    assert decode_part(detailed().data, 8, box) is None


@compiled
def test_what_is_no_such_jpeg_has_no_parts() -> None:
    cmyk, png = encode(photo(160, 96).convert("CMYK")), encode(photo(160, 96), kind="PNG")
    for data in (cmyk.data, png.data, np.empty(0, np.uint8), detailed().data[:300]):
        assert decode_part(data, 8, (0, 0, 9, 9)) is None
    assert cmyk.decode_part(8, (0, 0, 9, 9)) is png.decode_part(8, (0, 0, 9, 9)) is None


@compiled
@pytest.mark.parametrize("progressive", [False, True])
def test_any_bytes_can_be_changed(progressive: bool) -> None:
    """A part or none, but no crash."""
    whole, rng = detailed(progressive=progressive).data, np.random.default_rng(0)
    found = 0
    for _ in range(400):
        data = whole.copy()
        places = rng.integers(2, len(data) if rng.random() < 0.5 else 700, rng.integers(1, 6))
        data[places] = rng.integers(0, 256, len(places))
        part = decode_part(data, int(rng.choice([1, 2, 4, 8])), (3, 5, 15, 21))
        assert part is None or part.shape == (21, 15, 3)
        found += part is not None
    assert 0 < found < 400


def test_a_decoder_that_cannot_be_loaded_is_told_of_and_done_without(tmp_path: Path, monkeypatch: Any) -> None:
    broken = tmp_path / "_jpeg.so"
    broken.write_bytes(b"no library")
    spec = importlib.machinery.ModuleSpec("tasks.shared._jpeg", None, origin=str(broken))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.warns(UserWarning, match=r"_jpeg\.so: cannot be loaded .*decode"):
        assert decoder.__wrapped__() is None
