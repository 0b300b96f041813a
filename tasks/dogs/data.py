"""Stanford Dogs, and dogs from the web to train on before it (Sec. 4.3)."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.dogs.sample import draw_dogs_sample, draw_web_sample
from tasks.dogs.stanford import StanfordDogs, read_stanford_dogs
from tasks.dogs.web import Guard, keep_clean, list_folders, list_index
from tasks.shared.classification.data import ClassificationData
from tasks.shared.data.image_data import SPLITS, splits_to_read
from tasks.shared.errors import UserError

log = logging.getLogger(__name__)
SEEN = (
    "Stanford Dogs was taken from ImageNet: these weights have seen part of its test images, and accuracy on them is "
    "too high to compare with the paper's, which had not (docs/dogs.md)"
)


def stanford_dogs(
    root: str,
    *,
    official: bool = True,
    box_crop: bool = False,
    splits: Sequence[str] = SPLITS,
    **options: Any,
) -> ClassificationData:
    """Stanford Dogs as it is distributed; "val" is its test list. See `tasks.dogs.stanford.read_stanford_dogs`."""
    dogs = read_stanford_dogs(Path(root), tuple(splits_to_read(splits, options)), official=official, box_crop=box_crop)
    return _with_breeds(dogs, dict(dogs.images), options)


def web_dogs(
    root: str,
    test_root: str,
    *,
    official: bool = True,
    index: str | None = None,
    guard: dict[str, Any] | None = None,
    min_side: int = 32,
    cache: str = "data/cache",
    splits: Sequence[str] = SPLITS,
    **options: Any,
) -> ClassificationData:
    """Noisy images to train on; evaluated on the test images of Stanford Dogs in `test_root`, none of which, nor a
    near-duplicate, is trained on.

    Args:
        root: class folders, or what the paths of `index` are relative to.
        official: of `test_root`, see `read_stanford_dogs`.
        index: a CSV or Parquet file with the columns path and label, instead of class folders.
        guard: `distance` and `mirrored`, see `Guard`; None compares with nothing.
        min_side: in pixels; images with a shorter side are left out.
        cache: folder that keeps what was found out about each file.
    """
    if not isinstance(min_side, int) or min_side < 1:
        raise UserError(f"data.min_side={min_side!r}; expected a whole number of pixels from 1")
    dogs = read_stanford_dogs(Path(test_root), ("val",), official=official, key="data.test_root")
    images, reports = dict(dogs.images), {}
    if "train" in splits or options.get("evaluate_on") == "train":
        if not Path(root).is_dir():
            raise UserError(f"data.root={root}: no such folder; expected class folders, or what data.index names")
        listed = list_folders(Path(root), dogs.breeds) if index is None else list_index(
            Path(root), Path(index), dogs.breeds
        )  # fmt: skip
        kept = keep_clean(Path(root), *listed, dogs.images["val"], _checked(guard), min_side, Path(cache))
        images["train"], reports = kept.images, kept.reports
    return _with_breeds(dogs, images, options, reports=reports)


def dogs_sample(root: str, *, train: int = 30, val: int = 30, draw_seed: int = 0, **options: Any) -> ClassificationData:
    """The drawn sample in Stanford Dogs' layout, in `root`/stanford; train, val: images a class."""
    path = Path(root) / "stanford"
    draw_dogs_sample(path, train, val, draw_seed)
    log.info("data: drawn sample images in %s (%d + %d a class); yours: data=stanford_dogs", path, train, val)
    return stanford_dogs(str(path), official=False, **options)


def web_dogs_sample(
    root: str, *, train: int = 30, val: int = 30, web: int = 300, draw_seed: int = 0, **options: Any
) -> ClassificationData:
    """Its noisy part, written to `root`/web; web: files a class."""
    test, path = Path(root) / "stanford", Path(root) / "web"
    draw_dogs_sample(test, train, val, draw_seed)
    draw_web_sample(path, train, val, web, draw_seed)
    log.info("data: drawn noisy images in %s (%d a class); yours: data=web_dogs", path, web)
    return web_dogs(str(path), str(test), official=False, **options)


def _with_breeds(dogs: StanfordDogs, images: dict[str, Any], options: dict[str, Any], **more: Any) -> Any:
    ids, names = [breed.id for breed in dogs.breeds], [breed.name for breed in dogs.breeds]
    return ClassificationData(images, ids, names, leak_warnings={"imagenet": SEEN}, **options, **more)


def _checked(guard: dict[str, Any] | None) -> Guard | None:
    if guard is None:
        return None
    if not isinstance(guard, dict) or set(guard) - set(Guard._fields):
        raise UserError(f"data.guard={guard!r}; expected null, or {' and '.join(Guard._fields)}")
    made = Guard(**guard)
    if not isinstance(made.distance, int) or not 0 <= made.distance <= 128 or not isinstance(made.mirrored, bool):
        raise UserError(f"data.guard={guard!r}; expected distance from 0 to 128 bits, and mirrored true or false")
    return made
