"""Reading COCO files: what is mended with a remark, what is refused, and how the arrays are laid out."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.shared.detection.annotations import (
    CocoAnnotations,
    check_same_categories,
    concatenate,
    load_coco_json,
    read_annotations,
)
from tasks.shared.errors import UserError


def content() -> dict[str, Any]:
    """Three images, the middle one without boxes; categories with gaps and out of order; a crowd."""
    return {
        "images": [
            {"id": 70, "file_name": "a/é.jpg", "height": 50, "width": 100},
            {"id": 8, "file_name": "b.jpg", "height": 60, "width": 60},
            {"id": 900, "file_name": "c.jpg", "height": 80, "width": 40},
        ],
        "annotations": [
            {"id": 11, "image_id": 900, "category_id": 17, "bbox": [5, 6, 10, 20], "area": 150.5, "iscrowd": 0},
            {"id": 12, "image_id": 70, "category_id": 1, "bbox": [0, 0, 100, 50], "area": 5000, "iscrowd": 0},
            {"id": 13, "image_id": 70, "category_id": 3, "bbox": [1, 1, 98, 48], "area": 4704, "iscrowd": 1},
            {"id": 14, "image_id": 70, "category_id": 3, "bbox": [10.5, 20.25, 30, 5]},
        ],
        "categories": [{"id": 17, "name": "cat"}, {"id": 1, "name": "person"}, {"id": 3, "name": "car"}],
    }


@pytest.fixture
def save(tmp_path) -> Callable[..., Path]:
    def write(what: Any, name: str = "instances.json") -> Path:
        path = tmp_path / name
        path.write_text(what if isinstance(what, str) else json.dumps(what))
        return path

    return write


def of_image(table: CocoAnnotations, index: int) -> tuple[list[list[float]], list[int]]:
    low, high = table.offsets[index : index + 2]
    return table.boxes[low:high].tolist(), table.labels[low:high].tolist()


def test_boxes_and_labels_are_packed_image_by_image_without_crowds(save):
    table = read_annotations(save(content()))
    assert len(table) == 3
    assert table.image_ids.tolist() == [70, 8, 900]
    assert [table.file_name(index) for index in range(3)] == ["a/é.jpg", "b.jpg", "c.jpg"]
    assert table.sizes.tolist() == [[50, 100], [60, 60], [80, 40]]
    assert of_image(table, 0) == ([[0, 0, 100, 50], [10.5, 20.25, 40.5, 25.25]], [0, 1])
    assert of_image(table, 1) == ([], [])
    assert of_image(table, 2) == ([[5, 6, 15, 26]], [2])
    assert table.remarks == []


def test_labels_count_the_categories_in_the_order_of_their_ids(save):
    table = read_annotations(save(content()))
    assert (table.category_ids, table.class_names) == ([1, 3, 17], ["person", "car", "cat"])


def test_everything_that_grows_with_the_images_is_an_array(save):
    table = read_annotations(save(content()))
    dtypes = {name: value.dtype.str[1:] for name, value in vars(table).items() if isinstance(value, np.ndarray)}
    assert dtypes == {
        **{"image_ids": "i8", "file_names": "S8", "sizes": "i4"},
        **{"offsets": "i8", "boxes": "f4", "labels": "i8"},
    }


def test_missing_area_and_iscrowd_are_filled_and_given_ones_kept(save):
    annotations = load_coco_json(save(content()))["annotations"]
    assert [(a["iscrowd"], a["area"]) for a in annotations] == [(0, 150.5), (0, 5000), (1, 4704), (0, 150)]


def test_boxes_that_stick_out_are_clipped_and_listed(save):
    changed = content()
    changed["annotations"][1]["bbox"] = [-3, -4, 200, 30]
    changed["annotations"][3]["bbox"] = [90, 0, 10.4, 10]  # less than half a pixel over: COCO's rounding
    table = read_annotations(save(changed))
    np.testing.assert_array_equal(table.boxes[:2], [[0, 0, 100, 26], [90, 0, 100, 10]])
    assert table.remarks == ["instances.json: 1 box(es) sticking out (ids 12) clipped"]


@pytest.mark.parametrize("size", [[0, 5], [5, 0], [0, 0], [-4, 5]])
def test_boxes_without_area_are_dropped_and_listed(save, size):
    changed = content()
    changed["annotations"][3]["bbox"] = [1, 2, *size]
    table = read_annotations(save(changed))
    assert of_image(table, 0) == ([[0, 0, 100, 50]], [0])
    assert table.remarks == ["instances.json: 1 box(es) without area (ids 14) dropped"]


def test_a_remark_lists_twenty_ids_at_most(save):
    changed = content()
    flat = {"image_id": 8, "category_id": 1, "bbox": [1, 1, 0, 0]}
    changed["annotations"] += [{"id": 100 + number} | flat for number in range(22)]
    (remark,) = read_annotations(save(changed)).remarks
    listed = ", ".join(map(str, range(100, 120)))
    assert f"22 box(es) without area (ids {listed}, ...)" in remark


def put(key: str, index: int, field: str, value: Any) -> Callable[[dict], object]:
    return lambda c: c[key][index].update({field: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("categories"), "expected lists images, annotations, categories; found images, annotations"),
        (lambda c: c.update(images={}), "not a COCO instances file"),
        (lambda c: c["images"][1].pop("height"), "images[1] lacks height"),
        (lambda c: c["annotations"][2].pop("bbox"), "annotations[2] lacks bbox"),
        (lambda c: c["annotations"][0].pop("image_id"), "annotations[0] lacks image_id"),
        (lambda c: c["categories"][2].pop("name"), "categories[2] lacks name"),
        (lambda c: c["images"].append("b.jpg"), "images[3] lacks id, file_name, height, width"),
        (put("images", 1, "id", "b"), "images[1]: id='b'; expected a whole number"),
        (put("images", 1, "id", 1.5), "images[1]: id=1.5; expected a whole number"),
        (put("images", 0, "width", None), "images[0]: width=None; expected a whole number"),
        (put("annotations", 3, "category_id", "car"), "annotations[3]: category_id='car'; expected a whole number"),
        (put("images", 2, "file_name", 900), "images[2]: file_name=900; expected a text"),
        (put("images", 2, "file_name", "\ud800.jpg"), "images[2]: file_name='\\ud800.jpg'; expected a text"),
        (put("annotations", 1, "bbox", [1, 2, 3]), "annotation 12: bbox=[1, 2, 3]; expected [x, y, width, height]"),
        (put("annotations", 1, "bbox", "1 2 3 4"), "annotation 12: bbox=1 2 3 4"),
        (put("annotations", 1, "bbox", [1, 2, None, 4]), "annotation 12: bbox=[1, 2, None, 4]"),
        (put("annotations", 1, "bbox", [1, 2, float("nan"), 4]), "1 annotation(s) with a non-finite box (ids 12)"),
        (put("annotations", 1, "bbox", [1, float("inf"), 3, 4]), "1 annotation(s) with a non-finite box (ids 12)"),
        (put("annotations", 0, "image_id", 71), "1 annotation(s) of an unknown image_id (ids 11)"),
        (put("annotations", 0, "category_id", 2), "1 annotation(s) of an unknown category_id (ids 11)"),
        (put("annotations", 3, "bbox", [100, 0, 5, 5]), "lies wholly outside its image (ids 14)"),
        (put("annotations", 3, "bbox", [-9, 0, 9, 5]), "lies wholly outside its image (ids 14)"),
        (put("images", 1, "id", 70), "1 doubled image id(s) (ids 70)"),
        (put("categories", 1, "id", 3), "1 doubled category id(s) (ids 3)"),
        (put("annotations", 3, "id", 12), "1 doubled annotation id(s) (ids 12)"),
        (lambda c: c.update(annotations=[c["annotations"][2]]), "holds no boxes at all (3 images)"),
        (lambda c: c.update(annotations=[], images=[]), "holds no boxes at all (0 images)"),
    ],
)
def test_a_broken_file_is_refused_by_name_and_id(save, change, message):
    changed = content()
    change(changed)
    path = save(changed)
    with pytest.raises(UserError) as error:
        read_annotations(path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{'images': []}", "not a json file"), ("", "not a json file"), ("[1, 2]", "found a list"), ("3", "found a int")],
)
def test_what_is_no_coco_json_is_refused_by_name(save, text, message):
    path = save(text)
    with pytest.raises(UserError, match=message) as error:
        read_annotations(path)
    assert str(path) in str(error.value)


def test_a_image_given_for_the_file_is_refused_by_name(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0 JFIF")
    with pytest.raises(UserError, match=r"a\.jpg: not a json file"):
        read_annotations(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.json: no such annotation file"):
        read_annotations(tmp_path / "nowhere.json")


def test_all_problems_come_in_one_message(save):
    changed = content()
    changed["annotations"][0]["image_id"] = 71
    changed["annotations"][1]["category_id"] = 2
    changed["annotations"][3]["bbox"] = [500, 500, 5, 5]
    with pytest.raises(UserError, match=r"unknown image_id.*unknown category_id.*wholly outside"):
        read_annotations(save(changed))


def test_whole_numbers_may_be_written_as_floats(save):
    changed = content()
    changed["images"][0] |= {"width": 100.0, "id": 70.0}
    table = read_annotations(save(changed))
    assert (table.image_ids[0], table.sizes[0].tolist()) == (70, [50, 100])
    assert of_image(table, 0)[1] == [0, 1]


@pytest.mark.parametrize("keep", [[True, False, True], [False, True, True], [True, True, True], [False, True, False]])
def test_select_keeps_each_image_with_its_boxes(save, keep):
    table = read_annotations(save(content()))
    part = table.select(np.array(keep))
    chosen = np.flatnonzero(keep).tolist()
    assert [part.file_name(index) for index in range(len(part))] == [table.file_name(index) for index in chosen]
    assert part.image_ids.tolist() == table.image_ids[chosen].tolist()
    assert part.sizes.tolist() == table.sizes[chosen].tolist()
    assert [of_image(part, index) for index in range(len(part))] == [of_image(table, index) for index in chosen]


def test_concatenate_appends_images_with_their_boxes_and_remarks(save):
    other = content()
    other["images"] = [{"id": 1, "file_name": "d.jpg", "height": 9, "width": 9}]
    other["annotations"] = [
        {"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 1, 2, 2]},
        {"id": 2, "image_id": 1, "category_id": 3, "bbox": [1, 1, 0, 2]},
    ]
    first, second = read_annotations(save(content())), read_annotations(save(other, "other.json"))
    joined = concatenate(first, second)
    assert [joined.file_name(index) for index in range(4)] == ["a/é.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert [of_image(joined, index) for index in range(3)] == [of_image(first, index) for index in range(3)]
    assert of_image(joined, 3) == ([[1, 1, 3, 3]], [1])
    assert joined.remarks == ["other.json: 1 box(es) without area (ids 2) dropped"]


def test_below_puts_a_folder_before_every_name(save):
    table = read_annotations(save(content()))
    moved = table.below("train2014")
    assert [moved.file_name(i) for i in range(3)] == ["train2014/a/é.jpg", "train2014/b.jpg", "train2014/c.jpg"]
    assert table.file_name(0) == "a/é.jpg"


def add_dog(c: dict[str, Any]) -> None:
    c["categories"].append({"id": 18, "name": "dog"})


@pytest.mark.parametrize("change", [put("categories", 0, "name", "dog"), add_dog])
def test_files_of_different_categories_are_not_mixed(save, change):
    changed = content()
    change(changed)
    first, second = read_annotations(save(content())), read_annotations(save(changed, "other.json"))
    for check in (check_same_categories, concatenate):
        with pytest.raises(UserError, match=r"instances\.json and .*other\.json.*different categories.*dog"):
            check(first, second)


BAD = (
    "1e999", "NaN", "Infinity", "-Infinity", "1e400", str(1 << 63), str(-(1 << 63)), str(1 << 64), "9" * 4000, '"5"',
    "null", "[]", "{}", "1.5", "true", '"²"',
)  # fmt: skip


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("images", "id"), ("images", "height"), ("images", "width"), ("annotations", "id"), ("categories", "id"),
        ("annotations", "image_id"), ("annotations", "category_id"), ("annotations", "bbox"), ("annotations", "area"),
        ("annotations", "iscrowd"),
    ],
)  # fmt: skip
def test_numbers_that_are_none_are_told_with_their_place(part: str, name: str, value: str, save) -> None:
    made = content()
    made[part][0][name] = ["HERE", 0, 10, 10] if name == "bbox" else "HERE"
    path = save(json.dumps(made).replace('"HERE"', value))
    fine = {("bbox", "1.5"), ("area", "1.5"), ("bbox", "true"), ("area", "true"), ("iscrowd", "true")}
    numeric = name == "area" and value in ("1e999", "NaN", "Infinity", "-Infinity", "1e400")
    if (name, value) in fine or numeric or (value == "true" and name not in ("bbox", "area", "iscrowd")):
        return
    with pytest.raises(UserError) as error:
        read_annotations(path)
    told = str(error.value)
    assert told.startswith(f"{path}: ") and "\n" not in told and len(told) < 400


@pytest.mark.parametrize(("name", "value"), [("height", 1 << 31), ("width", 10**18), ("height", 0), ("width", -4)])
def test_sizes_that_no_image_has_are_told(name: str, value: int, save) -> None:
    made = content()
    made["images"][1][name] = value
    with pytest.raises(UserError, match=rf"images\[1\]: {name}={value}"):
        read_annotations(save(made))
