"""Images with their aspect kept: data, network and answers mean the same square."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tasks.faster_rcnn import FasterRCNN
from tasks.shared.config.compose import compose_config, plain
from tasks.shared.detection.boxes import encode
from tasks.shared.detection.data import CocoData
from tasks.shared.errors import UserError
from tasks.shared.images.decode import GREY
from tests.tasks.faster_rcnn.conftest import make_task, outputs_of

R = 96
BOX = [20.0, 10, 30, 25]  # x, y, width, height
SHAPES = {"wide": (150, 60), "tall": (50, 140), "square": (80, 80)}  # width, height


@pytest.fixture
def places(tmp_path: Path) -> dict[str, str]:
    """One image of each shape with one object at the same place."""
    images, annotations = [], []
    for number, (name, (width, height)) in enumerate(SHAPES.items(), 1):
        image = Image.new("RGB", (width, height), (30, 30, 30))
        image.paste((250, 40, 40), (20, 10, 50, 35))
        image.save(tmp_path / f"{name}.png")
        images.append({"id": number, "file_name": f"{name}.png", "width": width, "height": height})
        annotations.append({"id": number, "image_id": number, "category_id": 1, "bbox": BOX, "area": 750, "iscrowd": 0})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "a"}]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    return {"images": str(tmp_path), "annotations": str(tmp_path / "a.json")}


def make_data(places: dict[str, str], **options: Any) -> CocoData:
    settings: dict[str, Any] = {"batch_size": 3, "val_batch_size": 3, "workers": 0, "augment": False} | options
    return CocoData(places, places, resolution=R, **settings)


def answer(task: FasterRCNN, targets: list[dict[str, Any]]) -> list[Any]:
    """What it answers if its second stage encodes the truth against some proposal."""
    proposals = torch.tensor([[[5.0, 5, 60, 45]]]).expand(len(targets), 1, 4)
    truth = torch.stack([t["boxes"] for t in targets])
    offsets = encode(truth, proposals)[:, :, None]
    logits = torch.tensor([-9.0, 9]).expand(len(targets), 1, 2)
    sizes = torch.tensor([t["size"] for t in targets])
    return task.predict(outputs_of(proposals, logits, offsets), sizes)


@pytest.mark.parametrize("resize", ["square", "keep_aspect"])
def test_predicting_the_encoded_truth_gives_the_truth_back(places, resize):
    task = make_task(1, R, resize=resize)
    (batch,) = make_data(places, resize=resize).val_loader()
    for found in answer(task, batch.targets):
        torch.testing.assert_close(found.boxes, torch.tensor([[20.0, 10, 50, 35]]), rtol=0, atol=1e-3)


@pytest.mark.parametrize("resize", ["square", "keep_aspect"])
def test_prediction_sees_what_evaluation_saw(places, resize):
    task, data = make_task(1, R, resize=resize), make_data(places, resize=resize)
    (batch,) = data.val_loader()
    for image, target in zip(batch.images, batch.targets, strict=True):
        assert torch.equal(task.prepare(data.image(target)), image)
        x1, y1, x2, y2 = target["boxes"][0].round().int().tolist()
        assert (image[0, y1 + 2 : y2 - 2, x1 + 2 : x2 - 2] > 200).all(), "the object is where its box says"
        width, height = SHAPES[Path(target["file"]).stem]
        aspect = (x2 - x1) / (y2 - y1) / (30 / 25)
        assert aspect == pytest.approx(1.0 if resize == "keep_aspect" else height / width, rel=0.1)


def test_beside_the_image_it_is_grey(places):
    (batch,) = make_data(places, resize="keep_aspect").val_loader()
    wide, tall, even = batch.images
    assert (wide[:, 39:] == GREY).all() and (wide[0, 37] != GREY).all()  # 60 * 96 / 150 = 38.4
    assert (tall[:, :, 34:] == GREY).all() and (tall[0, :, 33] != GREY).all()  # 50 * 96 / 140 = 34.3
    assert (even != GREY).all()


def test_augmented_images_keep_their_aspect_too(places):
    data = make_data(places, resize="keep_aspect", augment=True, crop_share=0.0)
    (batch,) = data.train_loader(0)
    for target in batch.targets:
        width, height = (target["boxes"][0, 2:] - target["boxes"][0, :2]).tolist()
        assert width / height == pytest.approx(30 / 25, rel=0.05)


def test_boxes_end_where_the_image_does():
    task = make_task(1, R, resize="keep_aspect", postprocess={"score_threshold": 0.01})
    proposals = torch.tensor([[[10.0, 10, 80, 90], [50, 60, 90, 90]]])  # the second lies beside the image
    logits = torch.tensor([-9.0, 9]).expand(1, 2, 2)
    outputs = outputs_of(proposals, logits, torch.zeros(1, 2, 1, 4))
    (found,) = task.predict(outputs, torch.tensor([[100, 200]]))  # 48 pixels of the square are image
    torch.testing.assert_close(found.boxes, torch.tensor([[10.0, 10, 80, 48]]) * 200 / 96)
    assert found.proposals[:, 3].max() <= 100.001


def test_what_is_drawn_of_the_truth_is_where_it_is(places, monkeypatch):
    task, data = make_task(1, R, resize="keep_aspect"), make_data(places, resize="keep_aspect")
    (batch,) = data.val_loader()
    results = answer(task, batch.targets)
    for result, target in zip(results, batch.targets, strict=True):
        nothing = result._replace(boxes=result.boxes[:0], scores=result.scores[:0], labels=result.labels[:0])
        drawn = task.draw(Image.open(target["file"]), nothing, data.info, target)
        assert drawn.getpixel((20, 20)) == drawn.getpixel((30, 10)) == drawn.getpixel((45, 35)) == (255, 255, 255)


@pytest.mark.parametrize("data", ["coco", "coco_json", "coco_sample"])
def test_the_data_follow_the_task(data):
    for task, expected in (
        (["task=faster_rcnn"], "square"),
        (["task=faster_rcnn", "task.resize=keep_aspect"], "keep_aspect"),
        (["task=ssd"], "square"),
    ):
        assert compose_config("train", [*task, f"data={data}"]).data.resize == expected
    composed = plain(compose_config("train", ["task=faster_rcnn", "task.resize=keep_aspect"]))
    assert composed["data"]["resize"] == composed["task"]["resize"] == "keep_aspect"


def test_data_that_mean_another_square_are_refused(places):
    data = make_data(places, resize="keep_aspect")
    with pytest.raises(UserError, match=r"data\.resize=keep_aspect, but this network .*resize=square"):
        make_task(1, R).evaluator(data, data.info)
    make_task(1, R, resize="keep_aspect").evaluator(data, data.info)
    with pytest.raises(ValueError, match=r"data\.resize .*='pad'; expected one of square, keep_aspect"):
        make_data(places, resize="pad")
