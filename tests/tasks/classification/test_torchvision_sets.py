"""torchvision's sets, each from files in its own format: labels, splits, names, and what is refused."""

import re
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

from tasks.classification.torchvision_sets import SETS, _labels_of, torchvision_set
from tasks.shared.classification.data import ClassificationData
from tasks.shared.errors import UserError

R = 32
COUNTS = {"train": 20, "t10k": 10}


def opened(root: Path, name: str, **options: Any) -> ClassificationData:
    return torchvision_set(str(root), name=name, **{"download": False, "resolution": R, "workers": 0} | options)


def labels(data: ClassificationData, split: str) -> list[int]:
    return data.images[split].labels.tolist()


def write_idx(folder: Path, images: str, targets: str, count: int, first: int, columns: int = 1) -> list[int]:
    """MNIST's format: a header and bytes; QMNIST's labels are rows of 32-bit numbers. Returns the classes."""
    folder.mkdir(parents=True, exist_ok=True)
    digits = [first + k % 10 for k in range(count)]
    pixels = np.random.default_rng(count).integers(0, 256, (count, 28, 28), np.uint8)
    (folder / images).write_bytes(struct.pack(">IIII", 0x803, count, 28, 28) + pixels.tobytes())
    if columns == 1:
        (folder / targets).write_bytes(struct.pack(">II", 0x801, count) + bytes(digits))
    else:
        rows = np.array([[digit, *range(100, 99 + columns)] for digit in digits], ">i4")
        (folder / targets).write_bytes(struct.pack(">III", 0xC02, count, columns) + rows.tobytes())
    return digits


def write_mnist(root: Path) -> None:
    for prefix, count in COUNTS.items():
        write_idx(root / "MNIST/raw", f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte", count, 0)


def test_mnist(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    data = opened(tmp_path, "MNIST", batch_size=8, val_batch_size=10)
    assert data.num_classes == 10 and data.info["class_names"][3] == "3 - three"
    batch = next(iter(data.val_loader()))
    assert batch.images.shape == (10, 3, R, R) and [t["label"] for t in batch.targets] == list(range(10))
    assert len(data.train_loader(0)) == 2
    image = data.image(batch.targets[4])
    assert image.shape == (3, 28, 28)
    stored = (tmp_path / "MNIST/raw/t10k-images-idx3-ubyte").read_bytes()[16 + 4 * 784 : 16 + 5 * 784]
    assert image[0].numpy().tobytes() == stored


def test_emnist_is_told_which_of_its_six_sets(tmp_path: Path) -> None:
    """Its argument `split` names the set, and is not what tells training from test."""
    for part, count in (("train", 20), ("test", 10)):
        prefix = f"emnist-letters-{part}"
        write_idx(tmp_path / "EMNIST/raw", f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte", count, 1)
    data = opened(tmp_path, "EMNIST", options={"split": "letters"})
    assert len(labels(data, "train")) == 20 and labels(data, "val") == list(range(1, 11))
    assert data.info["class_names"][:3] == ["N/A", "a", "b"] and data.num_classes == 27
    with pytest.raises(UserError, match=r"data\.name=EMNIST.*'split'; .*data\.options"):
        opened(tmp_path, "EMNIST")
    with pytest.raises(UserError, match=r"split=roman, .*Unknown value 'roman'.*letters"):
        opened(tmp_path, "EMNIST", options={"split": "roman"})


def test_qmnist_has_rows_of_labels(tmp_path: Path) -> None:
    for part, count in (("train", 20), ("test", 10)):
        files = f"qmnist-{part}-images-idx3-ubyte", f"qmnist-{part}-labels-idx2-int"
        write_idx(tmp_path / "QMNIST/raw", *files, count, first=0, columns=8)
    data = opened(tmp_path, "QMNIST")
    assert labels(data, "val") == list(range(10)) and labels(data, "train") == 2 * list(range(10))
    assert next(iter(data.val_loader())).images.shape == (10, 3, R, R)


def save(path: Path, color: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 36), (color, color, color)).save(path)


def test_imagenette_has_ids_and_a_val_split(tmp_path: Path) -> None:
    for split, count in (("train", 3), ("val", 2)):
        for place, name in enumerate(("n01440764", "n02102040")):
            for number in range(count):
                save(tmp_path / "imagenette2-160" / split / name / f"{number}.JPEG", 100 * place)
    for file in tmp_path.rglob("*.JPEG"):
        file.rename(file.with_suffix(".jpeg"))
    data = opened(tmp_path, "Imagenette", options={"size": "160px"})
    assert labels(data, "train") == [0, 0, 0, 1, 1, 1] and labels(data, "val") == [0, 0, 1, 1]
    assert data.info == {"class_ids": ["n01440764", "n02102040"], "class_names": ["tench", "English springer"]}


def test_labels_of_a_set_that_holds_no_list_are_those_of_its_images(tmp_path: Path) -> None:
    """As it would be with a torchvision that calls its list otherwise."""
    for number, name in enumerate(("n01440764", "n02102040", "n02102040")):
        for split in ("train", "val"):
            save(tmp_path / "imagenette2-160" / split / name / f"{number}.JPEG", 100)
    dataset: Any = opened(tmp_path, "Imagenette", options={"size": "160px"}).images["val"].dataset  # type: ignore[attr-defined]

    class Renamed:
        def __len__(self) -> int:
            return len(dataset)

        def __getitem__(self, index: int) -> Any:
            return dataset[index]

    assert _labels_of(Renamed(), "it").tolist() == _labels_of(dataset, "it").tolist() == [0, 1, 1]
    (next((tmp_path / "imagenette2-160/val").rglob("0.JPEG"))).write_bytes(b"none")
    with pytest.raises(UserError, match="it: image 0"):
        _labels_of(Renamed(), "it")


def test_gtsrb_lists_its_test_labels_in_a_table(tmp_path: Path) -> None:
    folder = tmp_path / "gtsrb"
    for label in range(3):
        save(folder / f"GTSRB/Training/{label:05d}/0.ppm", 80 * label)
    rows = ["Filename;Width;Height;ClassId"]
    for number, label in enumerate((2, 0)):
        save(folder / f"GTSRB/Final_Test/Images/{number:05d}.ppm", 80 * label)
        rows.append(f"{number:05d}.ppm;40;36;{label}")
    (folder / "GT-final_test.csv").write_text("\n".join(rows) + "\n")
    data = opened(tmp_path, "GTSRB")
    assert labels(data, "train") == [0, 1, 2] and labels(data, "val") == [2, 0] and data.num_classes == 3
    assert [int(image.float().mean()) for image in next(iter(data.val_loader())).images] == [160, 0]


@pytest.mark.parametrize("name", sorted(SETS))
def test_every_set_takes_its_splits(name: str, tmp_path: Path) -> None:
    """torchvision looks for the files first after it has checked its arguments."""
    assert hasattr(datasets, name)
    options = {"split": "letters"} if name == "EMNIST" else {}
    for split in ("train", "val"):
        with pytest.raises(UserError, match=f"data.name={name}") as caught:
            opened(tmp_path, name, options=options, splits=(split,))
        assert not re.search("Unknown value|argument", str(caught.value)), caught.value


def test_a_split_without_classes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    (folder / "unlabeled_X.bin").write_bytes(np.zeros((4, 3, 96, 96), np.uint8).tobytes())
    monkeypatch.setattr(datasets.STL10, "_check_integrity", lambda self: True)  # of the whole set
    with pytest.raises(UserError, match=r"data\.name=STL10, split=unlabeled: .* images without a class"):
        opened(tmp_path, "STL10", val_split="unlabeled", splits=("val",))


def test_a_package_that_is_absent_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("scipy.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(UserError, match=r"data\.name=ImageNet: .*package that is absent.*scipy"):
        opened(tmp_path, "ImageNet")


def test_sets_that_are_not_there_or_not_known(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.name=MNIST, data\.root=.*not found"):
        opened(tmp_path, "MNIST")
    for name in ("MNISTT", "CocoDetection", "Kinetics", "LFWPairs", "os", None, ["MNIST"]):
        with pytest.raises(UserError, match=rf"data\.name={re.escape(repr(name))}.*CIFAR10, .*Imagenette"):
            opened(tmp_path, name)  # type: ignore[arg-type]
    write_mnist(tmp_path)
    with pytest.raises(UserError, match=r"data\.options='letters'"):
        opened(tmp_path, "MNIST", options="letters")
    with pytest.raises(UserError, match="unexpected keyword argument 'size'"):
        opened(tmp_path, "MNIST", options={"size": 3})


def test_grey_images_of_16_bits_are_scaled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(tmp_path)
    data = opened(tmp_path, "MNIST", splits=("val",))
    grey = Image.fromarray(np.full((28, 28), 0x80FF, np.uint16))
    monkeypatch.setattr(datasets.MNIST, "__getitem__", lambda self, index: (grey, 0))
    assert torch.equal(data.images["val"].read(0), torch.full((3, 28, 28), 0x80, dtype=torch.uint8))
