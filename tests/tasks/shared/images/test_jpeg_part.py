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

from tasks.shared.images import jpeg_part
from tasks.shared.images.encoded import SCALES, EncodedImage
from tasks.shared.images.jpeg_part import decode_part, decoder
from tasks.shared.samples.drawn_photos import draw_photo
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
    image = detailed(**options)
    whole = image.decode_scaled(n)
    assert whole is not None
    (height, width), rng = whole.shape[1:], np.random.default_rng(n)
    boxes = [(0, 0, width, height), (0, 0, 1, 1), (width - 1, height - 1, 1, 1), (width // 2, 0, 1, height)]
    boxes += [(0, 0, 1, height), (width - 1, 0, 1, height)]
    for _ in range(60):
        left, top = int(rng.integers(width)), int(rng.integers(height))
        boxes.append((left, top, int(rng.integers(1, width - left + 1)), int(rng.integers(1, height - top + 1))))
    for left, top, w, h in boxes:
        part = decode_part(image.data, n, (left, top, w, h))
        assert part is not None
        assert np.array_equal(part, whole[:, top : top + h, left : left + w].permute(1, 2, 0).numpy())


@pytest.mark.parametrize("there", [True, False], ids=["as installed", "without libjpeg-turbo's headers"])
@pytest.mark.parametrize("n", [2, 8])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_parts_are_those_of_the_upright_image(
    orientation: int, n: int, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not there:
        monkeypatch.setattr(jpeg_part, "decoder", lambda: None)
    image = detailed(160, 248, orientation=orientation)
    whole = image.decode_scaled(n)
    assert whole is not None
    for left, top, w, h in [(0, 0, 30, 30), (7, 3, 20, 31), (whole.shape[2] - 21, whole.shape[1] - 30, 21, 30)]:
        part = image.decode_part(n, (left, top, w, h))
        assert part is not None and torch.equal(part, whole[:, top : top + h, left : left + w])


@compiled
def test_nothing_below_the_part_is_looked_at_and_damage_above_its_end_is_seen() -> None:
    image = encode(photo(160, 320), restart_marker_rows=2)
    data, needed = image.data, decode_part(image.data, 8, (20, 10, 100, 90))
    data[-600:-300] = 17  # damage, far below
    again = decode_part(data, 8, (20, 10, 100, 90))
    assert needed is not None and again is not None and np.array_equal(again, needed)
    assert decode_part(data, 8, (20, 10, 100, 310)) is None
    assert image.decode_part(8, (20, 10, 100, 310)) is None, "decode says what is wrong, or does what it can"


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
def test_there_are_no_parts_beyond_the_image(box: jpeg_part.Box) -> None:
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


WRONG = (-(2**70), -(2**32), -(2**31), -1, 0, 65501, 2**31 - 1, 2**31, 2**32, 2**32 + 1, 2**63, 2**70)


@compiled
@pytest.mark.parametrize("at", range(4))
def test_numbers_that_no_int_holds_are_no_box(at: int) -> None:
    data = detailed().data
    for number in WRONG:
        box = [0, 0, 9, 9]
        box[at] = number
        part = decode_part(data, 8, (box[0], box[1], box[2], box[3]))
        assert (part is not None) == (number == 0 and at < 2)


@pytest.mark.parametrize("n", [-1, 0, 9, 16, 2**32 + 8])
def test_other_sizes_than_eighths(n: int) -> None:
    with pytest.raises(ValueError, match="expected 1 to 8"):
        decode_part(detailed().data, n, (0, 0, 9, 9))


def test_what_are_no_bytes() -> None:
    data = detailed().data
    others: list[Any] = [data.tobytes(), data.view(np.int8), data[None], data.astype(np.uint16), torch.from_numpy(data)]
    for other in [*others, None, data[0], list(data)]:
        with pytest.raises(TypeError, match="uint8"):
            decode_part(other, 8, (0, 0, 9, 9))
    for n, box in ((8.0, (0, 0, 9, 9)), (8, (0.0, 0, 9, 9)), (8, (None, 0, 9, 9)), ("8", (0, 0, 9, 9))):
        with pytest.raises(TypeError):
            decode_part(data, n, box)  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        decode_part(data, 8, (0, 0, 9))  # type: ignore[arg-type]


@compiled
def test_bytes_may_lie_anywhere() -> None:
    data = detailed().data
    expected = decode_part(data, 8, (3, 4, 50, 60))
    spread, fixed = np.zeros(2 * len(data), np.uint8), data.copy()
    spread[::2], fixed.flags.writeable = data, False
    crooked = np.concatenate([data[:1], data])[1:]
    for other in (spread[::2], fixed, crooked, data.view(np.memmap)):
        part = decode_part(other, np.int64(8), (np.int32(3), 4, np.uint8(50), 60))  # type: ignore[arg-type]
        assert part is not None and expected is not None and np.array_equal(part, expected)


@compiled
def test_other_frames_than_those_that_can_be_cut() -> None:
    """Arithmetic, lossless, hierarchical ones and those of 12 bits: in the header alone, so that all else is damage."""
    whole = detailed(subsampling="4:2:0").data
    frame = int(np.flatnonzero((whole[:-1] == 0xFF) & (whole[1:] == 0xC0))[0])
    for kind in (0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF):
        for bits in (8, 12, 16, 0, 255):
            data = whole.copy()
            data[frame + 1], data[frame + 4] = kind, bits
            part = decode_part(data, 8, (3, 5, 15, 21))
            assert part is None or part.shape == (21, 15, 3)
    for sides in ((0, 0), (0, 9), (65500, 65500), (65535, 65535)):
        data = whole.copy()
        data[frame + 5 : frame + 9] = np.array(sides, ">u2").view(np.uint8)
        part = decode_part(data, 1, (3, 5, 15, 9))
        assert part is None or part.shape == (9, 15, 3)


@compiled
def test_errors_leave_no_memory_behind() -> None:
    resource = pytest.importorskip("resource")
    whole = detailed(160, 160, progressive=True).data
    for times in (50, 150):
        for _ in range(times):
            assert decode_part(whole[: len(whole) // 2], 8, (0, 0, 9, 9)) is None
            assert decode_part(whole, 8, (155, 155, 9, 9)) is None
        if times == 50:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8_000  # kB; one image's numbers are 150


def library_at(path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    loader = importlib.machinery.ExtensionFileLoader("tasks.shared.images._jpeg", str(path))
    spec = importlib.machinery.ModuleSpec("tasks.shared.images._jpeg", loader, origin=str(path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    return decoder.__wrapped__()


def test_a_decoder_that_cannot_be_loaded_is_told_of_and_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "_jpeg.so"
    broken.write_bytes(b"no library")
    assert library_at(broken, monkeypatch) is None
    assert "_jpeg.so: cannot be loaded" in caplog.text and "decode" in caplog.text


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
def test_a_decoder_of_another_version_is_never_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "old.c").write_text("int jpeg_part() { __builtin_trap(); }", encoding="utf-8")
    library = tmp_path / "_jpeg.so"
    subprocess.run(["gcc", "-shared", "-fPIC", str(tmp_path / "old.c"), "-o", str(library)], check=True)
    assert library_at(library, monkeypatch) is None and "compiled for another version" in caplog.text
