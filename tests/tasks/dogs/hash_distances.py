"""How far apart perceptual hashes lie: `python -m tests.tasks.dogs.hash_distances FOLDER`, docs/dogs.md's figures.

Bits of 256 in which the hashes of the folder's images differ: those of strangers, and those of the same image after
it was changed as images are on the web.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from tasks.dogs.leak_guard import near_duplicates
from tasks.dogs.scan import scan
from tasks.shared.images.files import find_images

CHANGED = 150  # images that are changed


def crop(share: float) -> Callable[[np.random.Generator, Image.Image], Image.Image]:
    def cut(rng: np.random.Generator, image: Image.Image) -> Image.Image:
        left, top, right, bottom = rng.uniform(0, share, 4) * (image.size * 2)
        return image.crop((round(left), round(top), round(image.width - right), round(image.height - bottom)))

    return cut


CHANGES: dict[str, Callable[[np.random.Generator, Image.Image], Image.Image]] = {
    "saved anew": lambda rng, image: image,
    "half the size": lambda rng, image: image.resize((image.width // 2, image.height // 2)),
    "squashed to a square": lambda rng, image: image.resize((160, 160)),
    "mirrored": lambda rng, image: ImageOps.mirror(image),
    "brightened by 40 %": lambda rng, image: ImageEnhance.Brightness(image).enhance(1.4),
    "less contrast, 60 %": lambda rng, image: ImageEnhance.Contrast(image).enhance(0.6),
    **{f"cropped by up to {share} % a side": crop(share / 100) for share in (2, 3, 5, 10)},
}


def main(folder: Path) -> None:
    files = find_images(str(folder), "FOLDER")
    names = np.array([str(file.relative_to(folder)).encode() for file in files])
    with tempfile.TemporaryDirectory() as scratch:
        found = scan(folder, names, Path(scratch) / "all.parquet")
        distances = np.bitwise_count(found.hashes[:, None] ^ found.hashes[None]).sum(-1, dtype=np.int64)
        pairs = np.sort(distances[np.triu_indices(len(names), 1)])
        print(f"{len(names)} images; the closest pairs: {pairs[:12].tolist()}")
        for number, (title, change) in enumerate(CHANGES.items()):
            rng = np.random.default_rng(number)
            place = Path(scratch) / str(number)
            place.mkdir()
            for index, file in enumerate(files[:CHANGED]):
                with Image.open(file) as image:
                    changed = change(rng, image.convert("RGB"))
                changed.save(place / f"{index}.jpg", quality=int(rng.choice([40, 60, 80])))
            own = [f"{index}.jpg".encode() for index in range(len(files[:CHANGED]))]
            after = scan(place, np.array(own), Path(scratch) / f"{number}.parquet")
            both = np.stack([found.hashes[: len(own)], found.mirrored[: len(own)]], 1)
            bits = np.bitwise_count(both ^ after.hashes[:, None]).sum(-1).min(1)
            print(f"{title}: median {np.median(bits):.0f}, 99 % {np.percentile(bits, 99):.0f}, most {bits.max()}")
    rng = np.random.default_rng(0)
    many, test = (rng.integers(0, 256, (count, 32), dtype=np.uint8) for count in (100_000, 2 * 8_580))
    start = time.monotonic()
    near_duplicates(many, test)
    print(f"100,000 hashes against 8,580 and their mirror images: {time.monotonic() - start:.1f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
