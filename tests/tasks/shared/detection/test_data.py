"""Data sets in COCO's format: targets worked by hand, augmentation, and what is refused before the first step."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tasks.shared.contract import Batch
from tasks.shared.detection.annotations import CocoAnnotations, read_annotations
from tasks.shared.detection.augment import flip_and_crop, random_crop
from tasks.shared.detection.data import CocoData, CocoDataset, coco, collate, detection_sample
from tasks.shared.errors import UserError
from tasks.shared.images import read_image

R = 64


@pytest.fixture
def places(tmp_path, write_coco) -> tuple[dict[str, str], dict[str, str]]:
    return write_coco(tmp_path, "train2017"), write_coco(tmp_path, "val2017", pictures=4)


def make_data(places: tuple[dict[str, str], dict[str, str]], **options: Any) -> CocoData:
    return CocoData(*places, resolution=R, **{"batch_size": 2, "val_batch_size": 3, "workers": 0} | options)


def dataset(place: dict[str, str], augment: bool = False, seed: int = 0, table: CocoAnnotations | None = None):
    table = table or read_annotations(Path(place["annotations"]))
    return CocoDataset(Path(place["images"]), table, R, augment=augment, seed=seed)


def epoch_of(data: CocoData, epoch: int, seed: int = 0) -> list[Batch]:
    loader: Any = data.train_loader(seed)
    loader.sampler.set_epoch(epoch)
    return list(loader)


def ids(batches: list[Batch]) -> list[int]:
    return [target["image_id"] for batch in batches for target in batch.targets]


@contextmanager
def edited(place: dict[str, str]) -> Iterator[dict[str, Any]]:
    """The annotation file's content, written back as changed."""
    path = Path(place["annotations"])
    content = json.loads(path.read_text())
    yield content
    path.write_text(json.dumps(content))


def files(place: dict[str, str]) -> list[Path]:
    return sorted(Path(place["images"]).iterdir())


def test_boxes_are_in_pixels_of_the_squashed_picture(tmp_path):
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


def color_of_the_last(image: torch.Tensor, boxes: torch.Tensor) -> int:
    """0 red, 1 green, 2 blue, as the labels: of the object that was drawn last, so on top."""
    x1, y1, x2, y2 = boxes[-1].round().int().tolist()
    return int(image[:, y1 + 2 : y2 - 2, x1 + 2 : x2 - 2].float().mean((1, 2)).argmax())


def test_the_object_is_where_its_box_says(places):
    for index in range(5):
        image, target = dataset(places[0])[0, index]
        assert color_of_the_last(image, target["boxes"]) == target["labels"][-1]


def test_crowds_are_no_targets_and_an_empty_picture_has_none(places):
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


def test_a_batch_stacks_pictures_and_lists_targets(places):
    data = make_data(places)
    batches = list(data.val_loader())
    assert [batch.images.shape for batch in batches] == [(3, 3, R, R), (1, 3, R, R)]
    assert ids(batches) == [5001, 5004, 5007, 5010]
    assert batches[0].images.dtype == torch.uint8
    assert batches[0].images.is_contiguous(memory_format=torch.channels_last)


def test_classes_come_from_the_file(places):
    data = make_data(places)
    assert data.info == {"class_names": ["red", "green", "blue"], "category_ids": [1, 3, 17]}
    assert (data.num_classes, data.kind) == (3, "detection")


def test_annotations_hold_no_python_objects_per_picture(places):
    data = make_data(places)
    for table in data.tables.values():
        lists = {name: value for name, value in vars(table).items() if isinstance(value, list | dict | tuple)}
        assert sorted(lists) == ["category_ids", "class_names", "remarks"]
        arrays = [value for value in vars(table).values() if isinstance(value, np.ndarray)]
        assert len(arrays) == 6
        assert all(array.dtype != object for array in arrays)


# Augmentation


def same(first: list[Batch], second: list[Batch]) -> bool:
    return ids(first) == ids(second) and all(
        torch.equal(a.images, b.images)
        and all(torch.equal(s["boxes"], t["boxes"]) for s, t in zip(a.targets, b.targets, strict=True))
        for a, b in zip(first, second, strict=True)
    )


def test_an_epoch_depends_on_seed_and_epoch_alone(places):
    first = epoch_of(make_data(places), epoch=3)
    torch.rand(7)  # the global generator stands elsewhere
    assert same(first, epoch_of(make_data(places), epoch=3))
    assert not same(first, epoch_of(make_data(places), epoch=4))
    assert not same(first, epoch_of(make_data(places), epoch=3, seed=1))


def test_a_picture_is_augmented_alike_in_whatever_order_it_comes(places):
    data = dataset(places[0], augment=True)
    forwards = [data[2, index][0] for index in range(5)]
    backwards = [data[2, index][0] for index in reversed(range(5))][::-1]
    assert all(torch.equal(a, b) for a, b in zip(forwards, backwards, strict=True))
    assert not all(torch.equal(a, data[1, index][0]) for index, a in enumerate(forwards))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning", "ignore:This DataLoader will create:UserWarning")
def test_worker_processes_change_nothing(places):
    assert same(epoch_of(make_data(places, workers=0), 1), epoch_of(make_data(places, workers=2), 1))


def test_augmentation_leaves_the_global_generator_and_the_annotations_alone(places):
    table = read_annotations(Path(places[0]["annotations"]))
    boxes, labels = table.boxes.copy(), table.labels.copy()
    state = torch.get_rng_state()
    data = dataset(places[0], augment=True, table=table)
    for epoch in range(10):
        for index in range(len(data)):
            data[epoch, index]
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(table.boxes, boxes)
    np.testing.assert_array_equal(table.labels, labels)


def test_augmented_boxes_lie_in_the_picture_and_on_their_objects(places):
    plain, augmented = dataset(places[0]), dataset(places[0], augment=True)
    changed = looked_at = 0
    for epoch, index in ((e, i) for e in range(12) for i in range(5)):
        (_, before), (image, target) = plain[0, index], augmented[epoch, index]
        boxes, labels = target["boxes"], target["labels"]
        assert image.shape == (3, R, R)
        assert boxes.dtype == torch.float32
        assert len(boxes) == len(labels) > 0
        assert (boxes >= 0).all()
        assert (boxes <= R).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        changed += not torch.equal(boxes, before["boxes"])
        if len(boxes) == len(before["boxes"]) and (boxes[-1, 2:] - boxes[-1, :2] > 8).all():
            assert color_of_the_last(image, boxes) == labels[-1]
            looked_at += 1
    assert changed > 40
    assert looked_at > 20


def seeds(count: int) -> Iterator[np.random.Generator]:
    return (np.random.default_rng(seed) for seed in range(count))


def test_boxes_whose_centre_is_cropped_away_go_with_their_labels():
    boxes = torch.tensor([[0.0, 0, 30, 30], [35, 35, 65, 65], [70, 70, 100, 100]])
    plane = torch.zeros(100, 100, dtype=torch.uint8)
    for (x1, y1, x2, y2), label in zip(boxes.int().tolist(), (7, 8, 9), strict=True):
        plane[y1:y2, x1:x2] = label
    seen = set()
    for rng in seeds(100):
        image, kept, labels = flip_and_crop(plane.expand(3, -1, -1), boxes, torch.tensor([7, 8, 9]), rng)
        seen.add(tuple(labels.tolist()))
        assert len(kept) == len(labels) > 0
        for (x1, y1, x2, y2), label in zip(kept.int().tolist(), labels.tolist(), strict=True):
            assert (image[:, y1:y2, x1:x2] == label).all()  # the box is all of what is left of the object
            assert (image == label).sum() == 3 * (y2 - y1) * (x2 - x1)
    assert {(7, 8, 9), (7, 8), (8, 9), (8,)} < seen


@pytest.mark.parametrize(("width", "height"), [(300, 200), (90, 100), (40, 40)])
def test_crops_lie_in_the_picture_keep_a_centre_and_are_neither_small_nor_narrow(width, height):
    boxes = np.array([[0.1, 0.1, 0.3, 0.5], [0.4, 0.3, 0.9, 0.8]]) * (width, height, width, height)
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    whole = 0
    for rng in seeds(150):
        crop = random_crop(boxes, height, width, rng)
        if crop is None:
            whole += 1
            continue
        left, top, right, bottom = crop
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        assert right - left >= 0.3 * width - 1
        assert bottom - top >= 0.3 * height - 1
        assert 0.45 < (right - left) / (bottom - top) < 2.2  # 0.5 to 2, before it is rounded to whole pixels
        assert any(left < x < right and top < y < bottom for x, y in centers)
    assert 0 < whole < 90


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (10, 1000), (1000, 10)])
def test_tiny_and_narrow_pictures_survive_augmentation(height, width):
    boxes = torch.tensor([[0.0, 0, width, height]])
    for rng in seeds(20):
        image, kept, labels = flip_and_crop(torch.zeros(3, height, width), boxes, torch.tensor([1]), rng)
        assert kept.tolist() == [[0, 0, image.shape[-1], image.shape[-2]]]
        assert labels.tolist() == [1]


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0, 0), (0.5, 50, 110), (1.0, 140, 190)])
def test_only_a_share_of_the_pictures_is_cropped(share, low, high):
    boxes = torch.tensor([[20.0, 20, 80, 80]])
    cropped = 0
    for rng in seeds(200):
        image, kept, _ = flip_and_crop(torch.zeros(3, 100, 100), boxes, torch.tensor([1]), rng, share)
        cropped += image.shape != (3, 100, 100)
        assert image.shape != (3, 100, 100) or torch.equal(kept, boxes)  # symmetric: a flip leaves the box where it is
    assert low <= cropped <= high  # 6 of 7 are cropped at share 1, some of them by nothing


def test_without_crops_a_picture_is_at_most_flipped(places):
    data: Any = make_data(places, crop_share=0.0, batch_size=1).train_loader(0)
    for index in range(5):
        plain, before = dataset(places[0])[0, index]
        for epoch in range(4):
            image, target = data.dataset[epoch, index]
            flipped = not torch.equal(image, plain)
            x1, y1, x2, y2 = before["boxes"].unbind(1)
            expected = torch.stack([R - x2, y1, R - x1, y2], dim=1) if flipped else before["boxes"]
            torch.testing.assert_close(target["boxes"], expected)
            if flipped:
                assert (image.int() - plain.flip(-1).int()).abs().max() <= 2  # resizing rounds


def test_half_of_the_pictures_are_flipped_empty_ones_too():
    image = torch.zeros(3, 4, 8, dtype=torch.uint8)
    image[..., 0] = 255
    flipped = 0
    for rng in seeds(200):
        turned, boxes, labels = flip_and_crop(image, torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), rng)
        assert (boxes.shape, labels.shape) == ((0, 4), (0,))
        flipped += int(turned[0, 0, -1] == 255)
    assert 70 < flipped < 130


def test_validation_is_never_augmented(places):
    data = make_data(places, augment=True)
    assert same(list(data.val_loader()), list(data.val_loader()))
    plain = dataset(places[1])
    images = torch.cat([batch.images for batch in data.val_loader()])
    assert all(torch.equal(images[index], plain[0, index][0]) for index in range(4))


# What is refused, and what is skipped


@pytest.mark.parametrize("split", [0, 1])
def test_a_missing_picture_is_named_before_the_first_step(places, split):
    lost = files(places[split])[1]
    lost.unlink()
    with pytest.raises(UserError, match=rf"1 of \d pictures .*are missing.*{lost.name}.*on_corrupt=skip"):
        make_data(places)


def test_a_missing_folder_is_named(places):
    Path(places[0]["images"]).rename(Path(places[0]["images"]).with_name("elsewhere"))
    with pytest.raises(UserError, match=r"train2017: no such folder"):
        make_data(places, on_corrupt="skip")


def test_a_folder_without_any_of_the_pictures_is_no_skip(places):
    for file in files(places[1]):
        file.unlink()
    with pytest.raises(UserError, match=r"4 of 4 pictures"):
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
        (lambda path: path.write_text("<html>not found</html>"), "not a readable picture"),
        (lambda path: path.write_bytes(b""), "not a readable picture|cannot be read"),
    ],
    ids=["truncated", "another-size", "html", "empty-file"],
)
def test_an_unreadable_picture_is_named_or_skipped(places, spoil, reason, caplog):
    bad = files(places[1])[1]
    spoil(bad)
    with pytest.raises(UserError, match=rf"{bad.name}: .*({reason}).*data\.on_corrupt=skip"):
        list(make_data(places).val_loader())
    caplog.clear()
    batches = list(make_data(places, on_corrupt="skip").val_loader())
    assert ids(batches) == [5001, 5007, 5010]
    assert [len(batch.images) for batch in batches] == [2, 1]
    assert sum(bad.name in record.getMessage() for record in caplog.records) == 1


def test_missing_pictures_are_left_out_and_counted_on_demand(places, caplog):
    for file in files(places[0])[0:3:2]:
        file.unlink()
    data = make_data(places, on_corrupt="skip", batch_size=1)
    assert "2 of 6 pictures" in caplog.text
    assert sorted(ids(epoch_of(data, 0))) == [1004, 1010, 1013, 1016]


def test_a_batch_of_skipped_pictures_is_empty():
    assert collate([None, None]).targets == []
    assert len(collate([None, None]).images) == 0


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


def test_evaluating_on_train_takes_its_pictures_and_annotations_unaugmented(places):
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


# COCO's own trees, and the sample


def test_coco_2017_is_read_from_its_root(tmp_path, places):
    data = coco(str(tmp_path), resolution=R, batch_size=3, workers=0)
    assert sorted(ids(epoch_of(data, 0))) == [1001, 1004, 1007, 1010, 1013, 1016]
    assert ids(list(data.val_loader())) == [5001, 5004, 5007, 5010]
    assert data.val_annotations == tmp_path / "annotations" / "instances_val2017.json"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": "2014"}, "data.split='2014'; expected '2017' or 'paper'"),
        ({"root": "/nowhere"}, "data.root=/nowhere: no such folder"),
    ],
)
def test_coco_refuses_unknown_roots_and_splits(tmp_path, places, change, message):
    with pytest.raises(UserError) as error:
        coco(**{"root": str(tmp_path), "resolution": R} | change)
    assert message in str(error.value)


@pytest.fixture
def root(tmp_path, write_coco) -> Path:
    """COCO 2014: train 1001, 1004 ... 1016, val 5001, 5004 ... 5028."""
    write_coco(tmp_path, "train2014")
    write_coco(tmp_path, "val2014", pictures=10)
    return tmp_path


def paper(root: Path, held_out: str, count: int = 3, **options: Any) -> CocoData:
    (root / "minival.txt").write_text(held_out)
    minival = str(root / "minival.txt")
    settings = {"resolution": R, "batch_size": 1, "workers": 0} | options
    return coco(str(root), split="paper", minival=minival, minival_count=count, **settings)


def test_the_papers_split_trains_on_all_of_2014_but_the_held_out_pictures(root):
    data = paper(root, "5004\n\n 5010 \n5028\n")
    trained, evaluated = ids(epoch_of(data, 0)), ids(list(data.val_loader()))
    assert evaluated == [5004, 5010, 5028]
    assert sorted(trained) == [*range(1001, 1017, 3), 5001, 5007, *range(5013, 5028, 3)]
    folders = {Path(target["file"]).parent.name for batch in epoch_of(data, 0) for target in batch.targets}
    assert folders == {"train2014", "val2014"}
    assert data.val_annotations.name == "instances_val2014.json"


def test_the_papers_targets_are_those_of_the_plain_files(root):
    plain = dataset({"images": str(root / "val2014"), "annotations": str(root / "annotations/instances_val2014.json")})
    for epoch in epoch_of(paper(root, "5004\n5010\n5028", augment=False), 0):
        (target,) = epoch.targets
        if target["image_id"] > 5000:
            image, expected = plain[0, (target["image_id"] - 5001) // 3]
            assert torch.equal(epoch.images[0], image)
            assert torch.equal(target["boxes"], expected["boxes"])
            assert torch.equal(target["labels"], expected["labels"])


def test_the_papers_split_is_evaluated_without_opening_train(root):
    (root / "annotations" / "instances_train2014.json").unlink()
    assert ids(list(paper(root, "5004\n5010\n5028", splits=("val",)).val_loader())) == [5004, 5010, 5028]


@pytest.mark.parametrize(
    ("held_out", "options", "message"),
    [
        ("5004\n5005\n1001", {}, "2 of its ids are no val2014 pictures: 1001, 5005"),
        ("5004\n5007", {}, "2 ids; expected about 3 (data.minival_count)"),
        ("", {}, "0 ids; expected about 3"),
        ("5004\n5007\nfive", {}, "line 3: 'five' is no picture id"),
        ("5004\n-5007\n5010", {}, "line 2: '-5007' is no picture id"),
        ("5004\n²\n5010", {}, "line 2: '²' is no picture id"),
        ("5004\n5007\n5010", {"evaluate_on": "train"}, "expected data.evaluate_on=val"),
    ],
)
def test_a_minival_that_does_not_fit_is_refused(root, held_out, options, message):
    with pytest.raises(UserError) as error:
        paper(root, held_out, **options)
    assert message in str(error.value)


@pytest.mark.parametrize("minival", [None, "/nowhere/ids.txt"])
def test_the_papers_split_needs_its_list(root, minival):
    with pytest.raises(UserError, match=r"data\.minival"):
        coco(str(root), split="paper", minival=minival, resolution=R)


def test_about_as_many_ids_as_expected_will_do(root):
    held_out = "".join(f"{number}\n" for number in range(5001, 5028, 3))
    assert len(ids(list(paper(root, held_out, count=10).val_loader()))) == 9


def test_the_sample_is_drawn_once_and_read_like_any_other(tmp_path):
    data = detection_sample(str(tmp_path / "set"), train=3, val=2, resolution=R, workers=0)
    (batch,) = epoch_of(data, 0)
    assert sorted(ids([batch])) == [1, 2, 3]
    assert Path(batch.targets[0]["file"]).parent == tmp_path / "set" / "train"
    assert ids(list(data.val_loader())) == [1, 2]
    assert data.val_annotations.parent == tmp_path / "set" / "annotations"
    assert data.num_classes == len(data.info["category_ids"]) == 6
