"""Hashes, their cache, and the search for near-duplicates."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from tasks.dogs import scan as scanning
from tasks.dogs.leak_guard import near_duplicates
from tasks.dogs.scan import scan
from tasks.shared.errors import UserError
from tests.tasks.dogs.conftest import image


def test_nearest_as_a_slow_loop_has_it() -> None:
    rng = np.random.default_rng(0)
    hashes, test = (rng.integers(0, 256, (count, 32), dtype=np.uint8) for count in (5000, 70))
    hashes[7], hashes[4999] = test[3], test[69]
    hashes[4999, 5] ^= 0b101
    nearest, distance = near_duplicates(hashes, test)
    assert (nearest[7], distance[7], nearest[4999], distance[4999]) == (3, 0, 69, 2)
    for index in range(0, 5000, 97):
        bits = [sum(int(a ^ b).bit_count() for a, b in zip(hashes[index], other, strict=True)) for other in test]
        assert distance[index] == min(bits) == bits[nearest[index]]


# Of imagehash 4.3.2, by seed: what caches hold.
HASHES = {
    0: "a6fe23456ed5ac370d251ce096386e9969587e841dd3edefeea443330432e215",
    1: "f260d22718077ca73c443c2a536999353276a5e637205e9125f75bc7e1f3a527",
}


@pytest.mark.parametrize("seed", HASHES)
def test_hashes_are_imagehashs_and_what_cosines_by_hand_give(seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (60, 80, 3), np.uint8)
    image = Image.fromarray(pixels).resize((120, 90), Image.Resampling.BICUBIC)
    assert scanning.perceptual_hash(image).hex() == HASHES[seed]
    small = np.asarray(image.convert("L").resize((64, 64), Image.Resampling.LANCZOS), float)
    k, n = np.arange(16)[:, None], np.arange(64)
    cosines = np.cos(np.pi * k * (2 * n + 1) / 128)
    low = cosines @ small @ cosines.T
    assert np.packbits(low > np.median(low)).tobytes().hex() == HASHES[seed]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An image in many guises, others, and files that are none."""
    root = tmp_path / "pictures"
    root.mkdir()
    own = image(1, (300, 240))
    own.save(root / "own.jpg", quality=95)
    own.resize((150, 120)).save(root / "small.png")
    own.save(root / "again.jpg", quality=40)
    ImageEnhance.Brightness(own).enhance(1.2).save(root / "bright.webp")
    own.crop((6, 5, 296, 236)).save(root / "cropped.jpg")
    ImageOps.mirror(own).save(root / "mirrored.jpg")
    for seed in range(2, 12):
        image(seed, (300, 240)).save(root / f"other_{seed}.jpg")
    whole = (root / "own.jpg").read_bytes()
    (root / "cut.jpg").write_bytes(whole[: len(whole) // 3])
    (root / "empty.jpg").touch()
    (root / "page.jpg").write_text("<html>")
    return root


def names_of(root: Path) -> np.ndarray:
    return np.array(sorted(file.name.encode() for file in root.iterdir()))


def test_guises_are_close_and_strangers_far(folder: Path, tmp_path: Path) -> None:
    names = names_of(folder)
    found = scan(folder, names, tmp_path / "cache.parquet")
    own = list(names).index(b"own.jpg")
    both = np.stack([found.hashes[own], found.mirrored[own]])
    _, distance = near_duplicates(found.hashes, both)
    guises = np.isin(names, (b"own.jpg", b"small.png", b"again.jpg", b"bright.webp", b"cropped.jpg", b"mirrored.jpg"))
    fine = found.problem == ""
    assert fine.sum() == 16 and set(names[~fine]) == {b"cut.jpg", b"empty.jpg", b"page.jpg"}
    assert all(problem for problem in found.problem[~fine])
    assert distance[fine & guises].max() <= 64 < 82 <= distance[fine & ~guises].min()
    assert found.sides[list(names).index(b"small.png")].tolist() == [150, 120]


def test_what_was_seen_is_not_looked_at_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "there/cache.parquet"
    names = names_of(folder)
    first = scan(folder, names, cache)
    looked: list[str] = []
    really = scanning._look

    def look(path: Path) -> tuple:
        looked.append(path.name)
        return really(path)

    monkeypatch.setattr(scanning, "_look", look)
    again = scan(folder, names, cache)
    assert not looked and all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))

    image(50).save(folder / "new.jpg")
    image(51).save(folder / "own.jpg")  # changed
    (folder / "page.jpg").unlink()
    renewed = scan(folder, names_of(folder), cache)
    assert sorted(looked) == ["new.jpg", "own.jpg"]
    kept = np.isin(names, names_of(folder)) & (names != b"own.jpg")
    place = {name: row for row, name in enumerate(names_of(folder))}
    assert all(np.array_equal(first.hashes[row], renewed.hashes[place[names[row]]]) for row in np.flatnonzero(kept))
    assert not np.array_equal(renewed.hashes[place[b"own.jpg"]], first.hashes[list(names).index(b"own.jpg")])


def test_an_interrupted_scan_goes_on(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, names = tmp_path / "cache.parquet", names_of(folder)
    whole = scan(folder, names, tmp_path / "other.parquet")
    monkeypatch.setattr(scanning, "BLOCK", 4)
    monkeypatch.setattr(scanning.os, "cpu_count", lambda: 1)
    really, count = scanning._look, 0

    def stop_at_ten(path: Path):
        nonlocal count
        count += 1
        if count == 11:
            raise KeyboardInterrupt
        return really(path)

    monkeypatch.setattr(scanning, "_look", stop_at_ten)
    with pytest.raises(KeyboardInterrupt):
        scan(folder, names, cache)
    before = count
    assert scan(folder, names, cache).problem.tolist() == whole.problem.tolist()
    assert count - before == len(names) - 8, "two blocks of four were kept"
    assert not list(tmp_path.glob("*.part"))


def test_a_file_that_is_no_cache(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache.parquet"
    cache.write_bytes(b"PAR1 nothing")
    with pytest.raises(UserError, match=r"cache.parquet: not readable"):
        scan(folder, names_of(folder), cache)


def test_a_missing_file_is_a_problem_of_its_own(folder: Path, tmp_path: Path) -> None:
    found = scan(folder, np.array([b"gone.jpg", b"own.jpg"]), tmp_path / "cache.parquet")
    assert "no such file" in found.problem[0] and found.problem[1] == ""


def test_hashes_of_a_jpeg_hardly_depend_on_its_size(tmp_path: Path) -> None:
    """JPEGs are decoded at an eighth where they are large."""
    big = image(3, (3000, 2400))
    big.save(tmp_path / "big.jpg")
    big.resize((300, 240), Image.Resampling.LANCZOS).save(tmp_path / "small.png")
    found = scan(tmp_path, np.array([b"big.jpg", b"small.png"]), tmp_path / "cache.parquet")
    assert near_duplicates(found.hashes[:1], found.hashes[1:])[1][0] <= 20
    assert found.sides[0].tolist() == [3000, 2400]
