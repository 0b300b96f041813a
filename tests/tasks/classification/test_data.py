"""Class folders, ImageNet's ids, torchvision's sets."""

import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tasks.classification.data import ClassificationData, image_folder, imagenet, names_of, torchvision_set
from tasks.shared.errors import UserError
from tests.tasks.classification.conftest import COLORS, write_folders

IDS = sorted(COLORS)
R = 32


def labels(loader: Any) -> list[tuple[str, int]]:
    """(class folder, label) of every picture."""
    return [(Path(t["file"]).parent.name, t["label"]) for batch in loader for t in batch.targets]


def test_every_picture_has_the_label_of_its_folder(folders: Path) -> None:
    data = image_folder(str(folders), resolution=R, batch_size=5, workers=0)
    assert data.info["class_ids"] == IDS and data.num_classes == 3
    assert sorted(labels(data.val_loader())) == [(name, label) for label, name in enumerate(IDS) for _ in range(2)]
    trained = labels(data.train_loader(0))
    assert len(trained) == 10, "the incomplete batch is dropped"
    assert all(IDS[label] == name for name, label in trained)


def test_training_pictures_change_with_the_epoch_and_repeat_with_the_seed(folders: Path) -> None:
    data = image_folder(str(folders), resolution=R, batch_size=12, workers=0, augment={})

    def images(epoch: int, seed: int) -> dict[str, torch.Tensor]:
        loader = data.train_loader(seed)
        loader.batch_sampler.sampler.set_epoch(epoch)  # type: ignore[union-attr]
        return {t["file"]: image for batch in loader for image, t in zip(batch.images, batch.targets, strict=True)}

    first, again, later, other = images(0, 0), images(0, 0), images(1, 0), images(0, 1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], later[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("policy", ["trivial", "rand"])
def test_torchvisions_policies_are_seeded_too(folders: Path, policy: str) -> None:
    augment = {"area": [1.0, 1.0], "aspect": [1.0, 1.0], "flip": 0.0, "policy": policy}
    with_policy, plain = (
        image_folder(str(folders), resolution=R, workers=0, augment=a).train_loader(0).dataset
        for a in (augment, augment | {"policy": None})
    )
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = [with_policy[0, index][0] for index in range(12)]
    assert torch.equal(before, torch.get_rng_state()), "the generator that training draws from is left alone"
    torch.manual_seed(1)
    assert all(torch.equal(first[index], with_policy[0, index][0]) for index in range(12))
    assert not all(torch.equal(first[index], plain[0, index][0]) for index in range(12))
    assert not all(torch.equal(first[index], with_policy[1, index][0]) for index in range(12))


def test_without_augmentation_training_sees_what_evaluation_sees(folders: Path) -> None:
    options: dict[str, Any] = {"resolution": R, "augment": None, "evaluate_on": "train", "workers": 0}
    data = image_folder(str(folders), batch_size=12, **options)
    trained, evaluated = (
        {t["file"]: image for batch in loader for image, t in zip(batch.images, batch.targets, strict=True)}
        for loader in (data.train_loader(0), data.val_loader())
    )
    assert trained.keys() == evaluated.keys() and len(trained) == 12
    assert all(torch.equal(trained[name], evaluated[name]) for name in trained)


@pytest.mark.parametrize(
    ("augment", "named"),
    [({"area": 0.5}, "area=0.5"), ({"area": [0.5]}, "area=[0.5]"), ({"flip": None}, "flip=None"), ("area", "'area'")],
)
def test_wrong_augmentation_is_named(folders: Path, augment: Any, named: str) -> None:
    with pytest.raises(UserError, match=re.escape(named)):
        image_folder(str(folders), resolution=R, augment=augment)
    assert image_folder(str(folders), resolution=R, augment=False).train_crop is None


def test_a_file_gives_the_order_of_the_classes(folders: Path, tmp_path: Path) -> None:
    order = ["n07753592", IDS[2], IDS[0], "n02124075", IDS[1]]
    (tmp_path / "classes.txt").write_text("\n".join(order) + "\n")
    data = imagenet(str(folders), classes=str(tmp_path / "classes.txt"), resolution=R, splits=("val",), workers=0)
    assert data.num_classes == 5
    assert all(order[label] == name for name, label in labels(data.val_loader()))


def test_wordnet_ids_get_their_names() -> None:
    assert names_of(["n01440764", "n02099712", "mine"]) == ["tench", "Labrador retriever", "mine"]
    assert names_of(["cat", "dog"]) == ["cat", "dog"]


def test_pictures_in_folders_below_count(folders: Path) -> None:
    (folders / "val" / IDS[0] / "more").mkdir()
    (folders / "val" / IDS[0] / "0.jpg").rename(folders / "val" / IDS[0] / "more" / "x.JPEG")
    (folders / "val" / IDS[0] / "notes.txt").write_text("no picture")
    data = image_folder(str(folders), resolution=R, splits=("val",), workers=0)
    assert len(labels(data.val_loader())) == 6


def spoil(folders: Path, change: str) -> dict[str, Any]:
    """Break the data set; returns arguments to open it with."""
    if change == "no val":
        for file in sorted((folders / "val").rglob("*"), reverse=True):
            file.unlink() if file.is_file() else file.rmdir()
        (folders / "val").rmdir()
    elif change == "empty class":
        (folders / "train" / "n02084072").mkdir()
    elif change == "class of val alone":
        write_folders(folders, "val", {"n09999999": 1})
    elif change == "flat":
        for file in list((folders / "val").rglob("*.jpg")):
            file.rename(folders / "val" / f"{file.parent.name}_{file.name}")
        for folder in list((folders / "val").iterdir()):
            if folder.is_dir():
                folder.rmdir()
    elif change == "doubled id":
        (folders / "classes.txt").write_text("\n".join([*IDS, IDS[0]]))
        return {"classes": str(folders / "classes.txt")}
    elif change == "no classes":
        return {"classes": str(folders / "nothing.txt")}
    elif change == "empty list":
        (folders / "classes.txt").write_text("\n")
        return {"classes": str(folders / "classes.txt")}
    elif change == "policy":
        return {"augment": {"policy": "wild"}}
    return {}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("no val", r"holds no val/, but train; expected class folders under train/ and val/"),
        ("empty class", r"1 class folders hold no pictures .*: n02084072"),
        ("class of val alone", r"1 of its 4 folders are none of the 3 classes: n09999999"),
        ("flat", r"val: holds no folders; expected one for each class"),
        ("doubled id", r"names 1 classes twice: n01440764"),
        ("no classes", r"nothing\.txt: no such file"),
        ("empty list", r"classes\.txt: is empty"),
        ("policy", r"data\.augment\.policy='wild'; .*trivial, rand"),
    ],
)
def test_broken_folders(folders: Path, change: str, expected: str) -> None:
    options = spoil(folders, change)
    with pytest.raises(UserError, match=expected):
        imagenet(str(folders), resolution=R, **options)


def test_unreadable_pictures_are_named_or_left_out(folders: Path) -> None:
    broken = folders / "val" / IDS[1] / "0.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    data = image_folder(str(folders), resolution=R, workers=0)
    with pytest.raises(UserError, match=rf"{IDS[1]}/0\.jpg.*data\.on_corrupt=skip"):
        list(data.val_loader())
    skipping = image_folder(str(folders), resolution=R, workers=0, on_corrupt="skip")
    batches = list(skipping.val_loader())
    assert sum(len(b.targets) for b in batches) == 5 and sum(b.skipped for b in batches) == 1


def write_mnist(root: Path) -> None:
    """MNIST's own files: a header and bytes."""
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for prefix, count in (("train", 20), ("t10k", 10)):
        pictures = rng.integers(0, 256, (count, 28, 28), np.uint8)
        digits = (np.arange(count) % 10).astype(np.uint8)
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(
            struct.pack(">IIII", 2051, count, 28, 28) + pictures.tobytes()
        )
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, count) + digits.tobytes())


def mnist(root: Path, **options: Any) -> ClassificationData:
    return torchvision_set(str(root), name="MNIST", download=False, resolution=R, workers=0, **options)


def test_torchvisions_sets(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    data = mnist(tmp_path, batch_size=8, val_batch_size=10)
    assert data.num_classes == 10 and data.info["class_names"][3] == "3 - three"
    batch = next(iter(data.val_loader()))
    assert batch.images.shape == (10, 3, R, R) and [t["label"] for t in batch.targets] == list(range(10))
    assert len(data.train_loader(0)) == 2
    picture = data.picture(batch.targets[4])
    assert picture.shape == (3, 28, 28)
    stored = (tmp_path / "MNIST/raw/t10k-images-idx3-ubyte").read_bytes()[16 + 4 * 784 : 16 + 5 * 784]
    assert picture[0].numpy().tobytes() == stored


def test_sets_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.name=MNIST, data\.root=.*not found"):
        mnist(tmp_path)
    for name in ("MNISTT", "CocoDetection", "os"):
        with pytest.raises(UserError, match=rf"data\.name='{name}'.*CIFAR10"):
            torchvision_set(str(tmp_path), name=name, resolution=R)


def test_grey_and_transparent_pictures_become_rgb(folders: Path) -> None:
    Image.new("L", (50, 40), 100).save(folders / "val" / IDS[0] / "0.jpg")
    Image.new("RGBA", (50, 40), (10, 20, 30, 128)).save(folders / "val" / IDS[0] / "z.png")
    data = image_folder(str(folders), resolution=R, splits=("val",), workers=0)
    assert next(iter(data.val_loader())).images.shape == (7, 3, R, R)
