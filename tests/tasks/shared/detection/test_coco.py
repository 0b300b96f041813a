"""COCO's own trees, the paper's split of them, and the sample."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.shared.detection.data import CocoData, coco, detection_sample
from tasks.shared.errors import UserError
from tests.tasks.shared.detection.conftest import R, dataset, epoch_of, ids


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
    write_coco(tmp_path, "val2014", images=10)
    return tmp_path


def paper(root: Path, held_out: str, count: int = 3, **options: Any) -> CocoData:
    (root / "minival.txt").write_text(held_out)
    minival = str(root / "minival.txt")
    settings = {"resolution": R, "batch_size": 1, "workers": 0} | options
    return coco(str(root), split="paper", minival=minival, minival_count=count, **settings)


def test_the_papers_split_trains_on_all_of_2014_but_the_held_out_images(root):
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
        ("5004\n5005\n1001", {}, "2 of its ids are no val2014 images: 1001, 5005"),
        ("5004\n5007", {}, "2 ids; expected about 3 (data.minival_count)"),
        ("", {}, "0 ids; expected about 3"),
        ("5004\n5007\nfive", {}, "line 3: 'five' is no image id"),
        ("5004\n-5007\n5010", {}, "line 2: '-5007' is no image id"),
        ("5004\n²\n5010", {}, "line 2: '²' is no image id"),
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
