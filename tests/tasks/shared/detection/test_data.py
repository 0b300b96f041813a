"""Data sets in COCO's format: targets worked by hand, batches, and what is refused before the first step."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tasks.shared.errors import UserError
from tasks.shared.images.decode import read_image
from tests.tasks.shared.detection.conftest import R, color_of_the_last, dataset, epoch_of, ids, make_data, same


@contextmanager
def edited(place: dict[str, str]) -> Iterator[dict[str, Any]]:
    """The annotation file's content, written back as changed."""
    path = Path(place["annotations"])
    content = json.loads(path.read_text())
    yield content
    path.write_text(json.dumps(content))


def files(place: dict[str, str]) -> list[Path]:
    return sorted(Path(place["images"]).iterdir())


def test_boxes_are_in_pixels_of_the_squashed_image(tmp_path):
    Image.new("RGB", (100, 50), "red").save(tmp_path / "a.png")
    content = {
        "images": [{"id": 5, "file_name": "a.png", "width": 100, "height": 50}],
        "annotations": [{"id": 1, "image_id": 5, "category_id": 9, "bbox": [10, 20, 50, 25]}],
        "categories": [{"id": 4, "name": "x"}, {"id": 9, "name": "y"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    image, target = dataset({"images": str(tmp_path), "annotations": str(tmp_path / "a.json")})[0, 0]
    assert (image.shape, image.dtype) == ((3, R, R), torch.uint8)
    assert image[:, 30, 30].tolist() == [255, 0, 0]
    torch.testing.assert_close(target.pop("boxes"), torch.tensor([[6.4, 25.6, 38.4, 57.6]]))  # x * 0.64, y * 1.28
    assert target.pop("labels").tolist() == [1]
    assert target == {"image_id": 5, "size": (50, 100), "file": str(tmp_path / "a.png")}


def test_a_png_of_16_bits_becomes_8(tmp_path):
    Image.fromarray(np.full((8, 8), 0x8040, dtype=np.uint16)).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert (image.dtype, image.shape) == (torch.uint8, (3, 8, 8))
    assert image.unique().tolist() == [0x80]


def test_the_object_is_where_its_box_says(places):
    for index in range(5):
        image, target = dataset(places[0])[0, index]
        assert color_of_the_last(image, target["boxes"]) == target["labels"][-1]


def test_crowds_are_no_targets_and_an_empty_image_has_none(places):
    content = json.loads(Path(places[0]["annotations"]).read_text())
    counted = [a["image_id"] for a in content["annotations"] if not a["iscrowd"]]
    assert len(counted) == len(content["annotations"]) - 1
    for augment in (False, True):
        data = dataset(places[0], augment)
        plain = [len(dataset(places[0])[0, index][1]["boxes"]) for index in range(6)]
        assert plain == [counted.count(image["id"]) for image in content["images"]]
        _, target = data[0, 5]
        assert (target["boxes"].shape, target["boxes"].dtype) == ((0, 4), torch.float32)
        assert (target["labels"].shape, target["labels"].dtype) == ((0,), torch.int64)


def test_a_batch_stacks_images_and_lists_targets(places):
    data = make_data(places)
    batches = list(data.val_loader())
    assert [batch.images.shape for batch in batches] == [(3, 3, R, R), (1, 3, R, R)]
    assert ids(batches) == [5001, 5004, 5007, 5010]
    assert batches[0].images.dtype == torch.uint8
    assert batches[0].images.is_contiguous(memory_format=torch.channels_last)


def test_classes_come_from_the_file(places):
    data = make_data(places)
    assert data.info == {"class_names": ["red", "green", "blue"], "category_ids": [1, 3, 17]}
    assert (data.num_classes, data.data_type) == (3, "detection")


def test_annotations_hold_no_python_objects_per_image(places):
    data = make_data(places)
    for table in data.tables.values():
        lists = {name: value for name, value in vars(table).items() if isinstance(value, list | dict | tuple)}
        assert sorted(lists) == ["category_ids", "class_names", "remarks"]
        arrays = [value for value in vars(table).values() if isinstance(value, np.ndarray)]
        assert len(arrays) == 6
        assert all(array.dtype != object for array in arrays)


def test_an_epoch_depends_on_seed_and_epoch_alone(places):
    first = epoch_of(make_data(places), epoch=3)
    torch.rand(7)  # the global generator stands elsewhere
    assert same(first, epoch_of(make_data(places), epoch=3))
    assert not same(first, epoch_of(make_data(places), epoch=4))
    assert not same(first, epoch_of(make_data(places), epoch=3, seed=1))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning", "ignore:This DataLoader will create:UserWarning")
def test_worker_processes_change_nothing(places):
    assert same(epoch_of(make_data(places, workers=0), 1), epoch_of(make_data(places, workers=2), 1))


# What is refused, and what is skipped


@pytest.mark.parametrize("split", [0, 1])
def test_a_missing_image_is_named_before_the_first_step(places, split):
    lost = files(places[split])[1]
    lost.unlink()
    with pytest.raises(UserError, match=rf"1 of \d images .*are missing.*{lost.name}.*on_corrupt=skip"):
        make_data(places)


def test_a_missing_folder_is_named(places):
    Path(places[0]["images"]).rename(Path(places[0]["images"]).with_name("elsewhere"))
    with pytest.raises(UserError, match=r"train2017: no such folder"):
        make_data(places, on_corrupt="skip")


def test_a_folder_without_any_of_the_images_is_no_skip(places):
    for file in files(places[1]):
        file.unlink()
    with pytest.raises(UserError, match=r"4 of 4 images"):
        make_data(places, on_corrupt="skip")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])


def enlarge(path: Path) -> None:
    Image.new("RGB", (50, 60)).save(path)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (truncate, "truncated"),
        (enlarge, r"is 50x60 pixels, but instances_val2017\.json says \d+x\d+"),
        (lambda path: path.write_text("<html>not found</html>"), "not a readable image"),
        (lambda path: path.write_bytes(b""), "not a readable image|cannot be read"),
    ],
    ids=["truncated", "another-size", "html", "empty-file"],
)
def test_an_unreadable_image_is_named_or_skipped(places, spoil, reason, caplog):
    bad = files(places[1])[1]
    spoil(bad)
    with pytest.raises(UserError, match=rf"{bad.name}: .*({reason}).*data\.on_corrupt=skip"):
        list(make_data(places).val_loader())
    caplog.clear()
    batches = list(make_data(places, on_corrupt="skip").val_loader())
    assert ids(batches) == [5001, 5007, 5010]
    assert [len(batch.images) for batch in batches] == [2, 1]
    assert sum(bad.name in record.getMessage() for record in caplog.records) == 1


def test_missing_images_are_left_out_and_counted_on_demand(places, caplog):
    for file in files(places[0])[0:3:2]:
        file.unlink()
    data = make_data(places, on_corrupt="skip", batch_size=1)
    assert "2 of 6 images" in caplog.text
    assert sorted(ids(epoch_of(data, 0))) == [1004, 1010, 1013, 1016]


def test_categories_of_both_splits_must_agree(places):
    with edited(places[1]) as content:
        content["categories"][0]["name"] = "violet"
    with pytest.raises(UserError, match=r"instances_train2017\.json and .*instances_val2017\.json.*17 blue, 17 violet"):
        make_data(places)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_corrupt": "ignore"}, "data.on_corrupt='ignore'; expected one of error, skip"),
        ({"evaluate_on": "test"}, "data.evaluate_on='test'; expected 'train' or 'val'"),
        ({"batch_size": 0}, "data.batch_size=0"),
        ({"crop_share": 1.5}, "data.crop_share=1.5; expected 0 to 1"),
        ({"val_batch_size": -1}, "data.val_batch_size=-1"),
    ],
)
def test_bad_options_are_named(places, options, message):
    with pytest.raises(UserError) as error:
        make_data(places, **options)
    assert message in str(error.value)


def test_evaluating_on_train_takes_its_images_and_annotations_unaugmented(places):
    data = make_data(places, evaluate_on="train")
    assert ids(list(data.val_loader())) == [1001, 1004, 1007, 1010, 1013, 1016]
    assert data.val_annotations == Path(places[0]["annotations"])
    assert same(list(data.val_loader()), list(data.val_loader()))


def test_only_the_wanted_split_is_opened(places):
    Path(places[0]["annotations"]).unlink()
    assert ids(list(make_data(places, splits=("val",)).val_loader())) == [5001, 5004, 5007, 5010]


def test_remarks_of_the_files_are_logged_once(places, caplog):
    caplog.set_level("INFO")
    with edited(places[0]) as content:
        content["annotations"][-1]["bbox"][2] = 0
    make_data(places, evaluate_on="train")
    assert [record.getMessage().count("without area") for record in caplog.records].count(1) == 1


def test_a_last_incomplete_batch_is_dropped_in_training_unless_it_is_all(places):
    assert [len(batch.targets) for batch in epoch_of(make_data(places, batch_size=4), 0)] == [4]
    assert [len(batch.targets) for batch in epoch_of(make_data(places, batch_size=50), 0)] == [6]
