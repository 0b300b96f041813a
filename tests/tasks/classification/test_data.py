"""Class folders and ImageNet's ids."""

import logging
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tasks.classification.data import image_folder, imagenet
from tasks.shared.classification.names import imagenet_ids, names_of
from tasks.shared.errors import UserError
from tests.tasks.classification.conftest import COLORS, write_folders

IDS = sorted(COLORS)
R = 32


def labels(loader: Any) -> list[tuple[str, int]]:
    """(class folder, label) of every image."""
    return [(Path(t["file"]).parent.name, t["label"]) for batch in loader for t in batch.targets]


def test_every_image_has_the_label_of_its_folder(folders: Path) -> None:
    data = image_folder(str(folders), resolution=R, batch_size=5, workers=0)
    assert data.info["class_ids"] == IDS and data.num_classes == 3
    assert sorted(labels(data.val_loader())) == [(name, label) for label, name in enumerate(IDS) for _ in range(2)]
    trained = labels(data.train_loader(0))
    assert len(trained) == 10, "the incomplete batch is dropped"
    assert all(IDS[label] == name for name, label in trained)


def test_training_images_change_with_the_epoch_and_repeat_with_the_seed(folders: Path) -> None:
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
    assert names_of(["n02012849", "n03126707", "n01440764"]) == ["crane (n02012849)", "crane (n03126707)", "tench"]
    assert len(set(names_of(imagenet_ids()))) == 1000


def test_images_in_folders_below_count(folders: Path) -> None:
    (folders / "val" / IDS[0] / "more").mkdir()
    (folders / "val" / IDS[0] / "0.jpg").rename(folders / "val" / IDS[0] / "more" / "x.JPEG")
    (folders / "val" / IDS[0] / "notes.txt").write_text("no image")
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
    elif change == "other suffixes":
        (folders / "train" / "n02084072").mkdir()
        for number in range(3):
            (folders / "train" / "n02084072" / f"{number}.HEIC").write_bytes(b"x")
    elif change == "no UTF-8":
        (folders / "train" / os.fsdecode(b"b\xe9")).mkdir()
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
        ("empty class", r"1 class folders hold no images .*: n02084072"),
        ("class of val alone", r"1 of its 4 folders are none of the 3 classes: n09999999"),
        ("flat", r"val: holds 6 images, such as n01440764_0\.jpg, but no folders; expected one for each class"),
        ("other suffixes", r"1 class folders hold no images .*: n02084072; there are others: 3 \.heic"),
        ("no UTF-8", r"the folder b\\xe9 names a class, but is no UTF-8; rename it"),
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


def test_unreadable_images_are_named_or_left_out(folders: Path) -> None:
    broken = folders / "val" / IDS[1] / "0.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    data = image_folder(str(folders), resolution=R, workers=0)
    with pytest.raises(UserError, match=rf"{IDS[1]}/0\.jpg.*data\.on_corrupt=skip"):
        list(data.val_loader())
    skipping = image_folder(str(folders), resolution=R, workers=0, on_corrupt="skip")
    batches = list(skipping.val_loader())
    assert sum(len(b.targets) for b in batches) == 5 and sum(b.skipped for b in batches) == 1


def test_grey_and_transparent_images_become_rgb(folders: Path) -> None:
    Image.new("L", (50, 40), 100).save(folders / "val" / IDS[0] / "0.jpg")
    Image.new("RGBA", (50, 40), (10, 20, 30, 128)).save(folders / "val" / IDS[0] / "z.png")
    data = image_folder(str(folders), resolution=R, splits=("val",), workers=0)
    assert next(iter(data.val_loader())).images.shape == (7, 3, R, R)


def test_what_is_left_out_is_told_once_a_split(folders: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number, name in enumerate(("a.heic", "b.HEIC", "c.svg", ".hidden", "._a.jpg")):
        (folders / "train" / IDS[number % 3] / name).write_bytes(b"x")
    (folders / "val" / "loose.png").write_bytes(b"x")
    with caplog.at_level(logging.WARNING):
        data = image_folder(str(folders), resolution=R, workers=0)
    assert len(data.images["train"].labels) == 12 and len(data.images["val"].labels) == 6
    train, val = [record.getMessage() for record in caplog.records]
    assert "train: left out 3 files, 2 .heic, 1 .svg" in train
    assert "val: left out 1 images that lie in no class's folder, such as loose.png" in val


def test_folders_named_as_images_and_links_in_circles(folders: Path) -> None:
    place = folders / "val" / IDS[0]
    (place / "more.jpg").mkdir()
    (place / "0.jpg").rename(place / "more.jpg" / "0.jpg")
    (place / "more.jpg" / "up").symlink_to(place)
    (place / "more.jpg" / "self").symlink_to(place / "more.jpg" / "self")
    (folders / "val" / IDS[1] / "linked").symlink_to(place)  # not in a circle: its images count there too
    data = image_folder(str(folders), resolution=R, splits=("val",), workers=0)
    found = sorted(t["file"].removeprefix(f"{folders}/val/") for batch in data.val_loader() for t in batch.targets)
    assert found == [
        f"{IDS[0]}/1.jpg", f"{IDS[0]}/more.jpg/0.jpg", f"{IDS[1]}/0.jpg", f"{IDS[1]}/1.jpg", f"{IDS[1]}/linked/1.jpg",
        f"{IDS[1]}/linked/more.jpg/0.jpg", f"{IDS[2]}/0.jpg", f"{IDS[2]}/1.jpg",
    ]  # fmt: skip


def test_names_that_are_no_utf_8(folders: Path) -> None:
    place = folders / "val" / IDS[0]
    (place / "0.jpg").rename(place / os.fsdecode(b"b\xe9b\xe9.jpg"))
    (place / "1.jpg").rename(place / os.fsdecode(b"\xff.png"))
    (place / os.fsdecode(b"\xff.png")).write_bytes(b"no image")
    data = image_folder(str(folders), resolution=R, splits=("val",), workers=0, on_corrupt="skip")
    files = [Path(t["file"]).name for batch in data.val_loader() for t in batch.targets]
    assert "b\\xe9b\\xe9.jpg" in files and len(files) == 5
    strict = image_folder(str(folders), resolution=R, splits=("val",), workers=0)
    with pytest.raises(UserError, match=r"\\xff\.png: not a readable image") as caught:
        list(strict.val_loader())
    str(caught.value).encode()


def test_images_are_upright_and_drawn_so(folders: Path) -> None:
    """As prediction sees them: an image that its camera took on its side, against the same one stored upright."""
    upright = Image.radial_gradient("L").resize((48, 72)).convert("RGB")
    upright.paste((250, 0, 0), (0, 0, 48, 30))
    turned = Image.Exif()
    turned[0x0112] = 6  # "turn it by 90 degrees clockwise"
    upright.transpose(Image.Transpose.ROTATE_90).save(folders / "val" / IDS[0] / "0.jpg", quality=100, exif=turned)
    upright.save(folders / "val" / IDS[0] / "1.jpg", quality=100)
    data = image_folder(str(folders), resolution=R, splits=("val",), workers=0)
    batch = next(iter(data.val_loader()))
    assert batch.targets[0]["size"] == batch.targets[1]["size"] == (72, 48)
    assert (batch.images[0].int() - batch.images[1].int()).abs().max() <= 8
    assert data.image(batch.targets[0]).shape == (3, 72, 48)
