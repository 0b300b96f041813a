"""Images that promise too much are refused by their headers: no decoder sees them, whatever their format."""

import ast
import os
import re
import struct
import time
import tracemalloc
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tasks.dogs.scan import scan
from tasks.shared.data.decoded_cache import DecodedImageCache
from tasks.shared.data.image_set import CroppedDataset, FolderImages
from tasks.shared.errors import UserError
from tasks.shared.images import decode as images
from tasks.shared.images.crops import TrainCrop, random_crop_of
from tasks.shared.images.decode import OnCorrupt, decode_image, open_image, read_image
from tasks.shared.images.encoded import EncodedImage
from tasks.shared.images.files import SUFFIXES
from tasks.shared.images.headers import FORMATS, MOST_EXIF, MOST_SEGMENTS, check_header
from tasks.shared.images.limits import MOST_SCANS
from tests.tasks.shared.image_bombs import (
    PROMISING,
    bmp,
    chunk,
    gif,
    jpeg,
    png,
    ppm,
    saved,
    tiff,
    with_scans,
)

ROOT = Path(__file__).parents[4]
TOO_LARGE = r"is 900\.0 megapixels \(60,000 x 15,000\); more than max_megapixels=180 allows\. Raise the key"


def array(data: bytes) -> np.ndarray:
    return np.frombuffer(bytearray(data), np.uint8)


@pytest.fixture
def no_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    def used(*_: object, **__: object) -> None:
        raise AssertionError("a decoder was asked")

    for name in ("decode_jpeg", "_pil_open"):
        monkeypatch.setattr(images, name, used)
    monkeypatch.setattr("simplejpeg.decode_jpeg", used)
    monkeypatch.setattr("tasks.shared.images.encoded.decode_part", used)


@pytest.mark.parametrize("kind", PROMISING)
def test_a_bomb_is_refused_by_every_path_before_a_decoder_is_asked(kind: str, no_decoder: None, tmp_path: Path) -> None:
    small = kind in ("lossless webp", "lossy webp")  # which end at 16,384 pixels a side
    data = array(PROMISING[kind](*((16_000, 16_000) if small else (60_000, 15_000))))
    expected = r"is 256\.0 megapixels \(16,000 x 16,000\)" if small else TOO_LARGE
    assert len(data) < 10_000
    data.tofile(tmp_path / "x.jpg")
    encoded = EncodedImage(data, "x.jpg", exif=True)
    tracemalloc.start()
    for path in (
        lambda: check_header(data, "x.jpg"),
        lambda: decode_image(data, "x.jpg"),
        lambda: read_image(tmp_path / "x.jpg", exif=True),
        lambda: open_image(data, "x.jpg"),
        lambda: encoded.decode(),
        lambda: random_crop_of(encoded, 32, np.random.default_rng(0), TrainCrop()),
    ):
        with pytest.raises(UserError, match=rf"x\.jpg: {expected}"):
            path()
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()
    problem = scan(tmp_path, np.array([b"x.jpg"]), tmp_path / "cache.parquet").problem
    assert re.match(f"it: {expected}", problem[0])


@pytest.mark.parametrize("kind", PROMISING)
def test_sound_sizes_pass_the_headers(kind: str) -> None:
    """150 megapixels: what is promised is allowed, whether or not the file then holds it."""
    size = (15_000, 10_000)
    try:
        check_header(array(PROMISING[kind](*size)), "x")
    except UserError as error:
        assert "bytes for 15,000 x 10,000 pixels" in str(error), "truncated, but not too large"


@pytest.mark.parametrize("kind", ["png", "bmp", "ppm", "tiff"])
def test_files_shorter_than_they_promise_are_damaged_and_nothing_is_allocated_for_them(
    kind: str, no_decoder: None
) -> None:
    with pytest.raises(UserError, match=r"x: not a readable image, or truncated \([\d,]+ bytes for 15,000 x 10,000"):
        decode_image(array(PROMISING[kind](15_000, 10_000)), "x")


def test_a_set_leaves_them_out_and_names_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "good.png").write_bytes(saved("PNG"))
    (tmp_path / "huge.jpg").write_bytes(jpeg(60_000, 15_000))
    (tmp_path / "huge.png").write_bytes(png(30_000, 30_000))
    names, labels = np.array([b"good.png", b"huge.jpg", b"huge.png"]), np.zeros(3, np.int64)
    images = FolderImages(tmp_path, names, labels)
    for source in (images, DecodedImageCache(images, 32, 1 << 20)):
        for train in (TrainCrop(), None):
            skip = OnCorrupt("skip")
            data = CroppedDataset(source, ["0"], 32, skip, train=train)
            assert [data[0, index] is not None for index in range(3)] == [True, False, False]
            assert len(skip.left_out) == 2 and "huge.jpg: is 900.0 megapixels" in caplog.text
            with pytest.raises(UserError, match=r"huge\.jpg: is 900.*; data\.on_corrupt=skip leaves such images out"):
                CroppedDataset(source, ["0"], 32, OnCorrupt("error"), train=train)[0, 1]


def test_scans_are_counted_in_the_images_own_data() -> None:
    sound = with_scans(MOST_SCANS)
    assert torch.isfinite(decode_image(array(sound), "x").float()).all()
    too_many = with_scans(MOST_SCANS + 1)
    for data in (too_many, too_many.replace(b"\xff\xda", b"\xff\xff\xff\xda")):  # with bytes that fill
        for read in (lambda d: decode_image(d, "x"), lambda d: EncodedImage(d, "x").stored_size):
            with pytest.raises(UserError, match=rf"x: is a JPEG in {MOST_SCANS + 1} scans.*up to {MOST_SCANS}"):
                read(array(data))
    behind = sound + b"\xff\xda" * 5000  # what a phone puts behind an image, such as a film
    preview = sound[:2] + b"\xff\xe5" + (2 + 2000).to_bytes(2) + b"\xff\xda" * 1000 + sound[2:]
    for data in (behind, preview):
        assert torch.equal(decode_image(array(data), "x"), decode_image(array(sound), "x"))
    # Colours one after the other in a file that is not progressive: also several scans.
    split = saved("JPEG", subsampling=0)
    scan_at = split.index(b"\xff\xda")
    one = split[:scan_at] + b"\xff\xda\0\x08\x01\x01\0\0\x3f\0" * (MOST_SCANS + 1) + b"\xff\xd9"
    with pytest.raises(UserError, match=f"{MOST_SCANS + 1} scans"):
        decode_image(array(one), "x")


def test_segments_before_the_pixels_have_a_limit() -> None:
    data = saved("JPEG")
    for many, sound in ((b"\xff\xfe\0\2" * MOST_SEGMENTS, False), (b"\xff\xfe\0\2" * (MOST_SEGMENTS - 20), True),
                        (b"\xff\xe1\0\x08Exif\0\0" * (MOST_EXIF + 1), False)):  # fmt: skip
        changed = array(data[:2] + many + data[2:])
        if sound:
            assert decode_image(changed, "x").shape == (3, 30, 40)
        else:
            with pytest.raises(UserError, match=r"x: not a readable image.*segments"):
                decode_image(changed, "x", exif=True)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (tiff(100, 100, t259=34925), "TIFF of compression 34925; expected one of none, CCITT.*Zstandard"),  # LZMA
        (tiff(100, 100, t259=8, t322=60_000, t323=60_000), "is 3,600.0 megapixels"),  # one tile of it all
        (tiff(100, 100, t259=8, t322=0, t323=16), "tiles are of no size"),
        (tiff(1, 150_000, t259=8, t278=1), "150,000 strips or tiles"),
        (tiff(100, 100, t259=8, t279=1 << 30), "longer than the file"),
        (tiff(100, 100, t277=5000), "5,000 samples of 8 bits"),
        (tiff(100, 100)[:20], "directory is cut off"),
        (tiff(0, 100), "width or height is missing"),
        (b"II*\0" + struct.pack("<I", 1 << 31), "directory is cut off"),
        (b"II+\0\x08\0\0\0" + struct.pack("<Q", 1 << 63), "directory is cut off"),
        (bmp(5000, 5000, packing=1, bits=8), "25.0 million values.*run-length encoded BMP, slow"),
        (ppm(5000, 5000, kind=2), "25.0 million values.*decimal numbers, slow"),
        (ppm(3000, 3000, kind=5, levels=1000, pixels=bytes(18_000_000)), "9.0 million values.*1,000 levels, slow"),
        (ppm(100, 100, kind=3, pixels=b"#\n" * 100_000), "4,096 comments"),
        (b"P6 #" + b"x" * 100_000 + b"\n1 1 255 abc", "header does not end within"),
        (png(10, 10)[:33] + chunk(b"teSt", b"") * 140_000, "131,072 chunks"),
        (gif(10, 10)[:13] + b"!\xfe" + b"\1x" * 70_000 + b"\0", "65,536 blocks"),
    ],
)  # fmt: skip
def test_other_bombs_are_refused_unread(data: bytes, expected: str, no_decoder: None) -> None:
    start = time.process_time()
    with pytest.raises(UserError, match=rf"x: .*{expected}"):
        decode_image(array(data), "x")
    assert time.process_time() - start < 2


def test_only_what_the_suffixes_mean_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PIL would open these by their content, whatever they are called; of PostScript it starts Ghostscript."""
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n"
    others = {"eps": postscript, **{kind: saved(kind) for kind in ("ICNS", "JPEG2000", "ICO", "TGA", "PCX", "SGI")}}

    def start(*_: object, **__: object) -> None:
        raise AssertionError("Ghostscript was started")

    monkeypatch.setattr("subprocess.check_call", start)
    for kind, content in others.items():
        (tmp_path / "x.jpg").write_bytes(content)
        with pytest.raises(UserError, match=r"x\.jpg: not a readable image.*none of \.jpg"):
            read_image(tmp_path / "x.jpg")
        assert scan(tmp_path, np.array([b"x.jpg"]), tmp_path / f"{kind}.parquet").problem[0].startswith("it: not a")


def test_the_formats_are_those_of_the_suffixes() -> None:
    Image.init()
    assert {Image.EXTENSION[suffix] for suffix in SUFFIXES} == set(FORMATS)
    mpo = saved("MPO", save_all=True, append_images=[Image.new("RGB", (40, 30))])  # what phones write with depth
    assert decode_image(array(mpo), "x").shape == (3, 30, 40)
    with open_image(array(mpo), "x") as image:
        assert image.format == "MPO"


def test_no_other_place_opens_images() -> None:
    """By PIL or anything else: a call of `Image.open` without formats would open whatever PIL knows."""
    openers, readers = ("Image.open", "PIL.Image.open", "_pil_open"), ("imread", "imdecode", "decode_png", "decode_gif")
    for path in sorted(p for folder in ("tasks", "backbone", "tools") for p in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called, place = ast.unparse(node.func), f"{path.relative_to(ROOT)}:{node.lineno}"
            if called in openers:
                keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert keywords.get("formats") in ("FORMATS", "(image_format,)"), place
            assert called.split(".")[-1] not in readers, place


def test_hostile_exif_is_no_orientation() -> None:
    """Every byte of it turned, and directories that lead to themselves: an answer or a UserError, at once."""
    sound = saved("JPEG", exif=_exif())
    rng, start = np.random.default_rng(0), sound.index(b"Exif\0")
    began = time.process_time()
    for trial in range(300):
        data = bytearray(sound)
        for at in rng.integers(start, start + 60, 1 + trial % 4):
            data[at] = rng.integers(256)
        with suppress(UserError):
            assert EncodedImage(array(bytes(data)), "x", exif=True).orientation in range(1, 9)
    for kind in ("PNG", "WEBP", "TIFF"):
        for _ in range(100):
            changed = array(saved(kind, exif=_exif()))
            at = rng.integers(len(changed) - 60, len(changed), 2) if kind != "TIFF" else rng.integers(4, 200, 2)
            changed[at] = rng.integers(0, 256, 2)
            try:
                decode_image(changed, "x", exif=True)
            except UserError as error:
                assert str(error).startswith("x: ")
    assert time.process_time() - began < 20


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "an image"
    return exif


def test_a_pipe_is_no_image_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.jpg")
    with pytest.raises(UserError, match=r"x\.jpg: cannot be read \(no"):
        read_image(tmp_path / "x.jpg")


def test_without_memory_the_image_and_the_key_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> None:
        raise MemoryError

    def none_of_torch(*_: object, **__: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried")

    told = r"holiday: there is not enough memory to decode it; a smaller max_megapixels \(now 180\)"
    for failing in (none, none_of_torch):
        monkeypatch.setattr(images, "decode_jpeg", failing)
        with pytest.raises(UserError, match=told):
            decode_image(array(saved("JPEG")), "holiday")
    monkeypatch.setattr(images, "from_pil", none)
    with pytest.raises(UserError, match=told):
        decode_image(array(saved("PNG")), "holiday")
    monkeypatch.setattr("simplejpeg.decode_jpeg", none)
    with pytest.raises(UserError, match=told):
        EncodedImage(array(saved("JPEG")), "holiday").decode_scaled(8)
    monkeypatch.setattr(np, "empty", none)
    with pytest.raises(UserError, match=r"there is not enough memory"):
        read_image(ROOT / "README.md")
