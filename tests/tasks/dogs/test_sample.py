"""The drawn dogs in Stanford Dogs' layout."""

import copy
import xml.etree.ElementTree as ElementTree

import numpy as np
import torch
from PIL import Image
from scipy.io import loadmat
from torch import Tensor, nn

from tasks.dogs import sample_drawing
from tasks.dogs.sample import BREEDS, LOOKS
from tasks.dogs.stanford import largest_box, read_stanford_dogs
from tests.tasks.dogs.drawn import TRAIN, VAL, in_list, look_of, thumbnails, without_dog


def test_can_be_read_as_stanford_dogs(clean):
    dogs = read_stanford_dogs(clean.root, ("train", "val"), official=False)
    assert [breed.folder for breed in dogs.breeds] == BREEDS
    assert len(BREEDS) == 12 == len({look_of(breed) for breed in BREEDS})
    assert [look_of(breed) for breed in BREEDS] == LOOKS
    names = {split: [bytes(name).decode() for name in images.names] for split, images in dogs.images.items()}
    for split, count in (("train", TRAIN), ("val", VAL)):
        labels = dogs.images[split].labels
        assert np.bincount(labels).tolist() == [count] * 12
        assert [name.split("/")[0] for name in names[split]] == [BREEDS[label] for label in labels]
    listed = names["train"] + names["val"]
    assert len(set(listed)) == len(listed)
    assert {p.relative_to(clean.root / "Images").as_posix() for p in clean.root.glob("Images/*/*")} == set(listed)
    cut = read_stanford_dogs(clean.root, ("val",), official=False, box_crop=True)
    whole, boxed = dogs.images["val"].read(0), cut.images["val"].read(0)
    assert 0 < boxed.shape[-2] * boxed.shape[-1] < whole.shape[-2] * whole.shape[-1]


def test_lists_have_the_official_fields(clean):
    for name, count in (("train", TRAIN), ("test", VAL), ("file", TRAIN + VAL)):
        content = loadmat(clean.root / f"lists/{name}_list.mat")
        assert {key for key in content if not key.startswith("__")} == {"file_list", "annotation_list", "labels"}
        for key in ("file_list", "annotation_list", "labels"):
            assert content[key].shape == (12 * count, 1), key
        files = in_list(clean.root, name)
        assert [str(cell[0].item()) for cell in content["annotation_list"]] == [f.removesuffix(".jpg") for f in files]
        assert [BREEDS[int(label) - 1] for label in content["labels"][:, 0]] == [f.split("/")[0] for f in files]
    assert in_list(clean.root, "file") == sorted(in_list(clean.root, "train") + in_list(clean.root, "test"))


def test_files_are_jpegs_of_many_sizes_and_qualities(clean):
    sizes, tables = [], set()
    for path in clean.root.glob("Images/*/*.jpg"):
        with Image.open(path) as image:
            assert image.format == "JPEG" and image.mode == "RGB"
            sizes.append(image.size)
            tables.add(str(vars(image)["quantization"]))
    sides = np.array(sizes)
    assert sides.min() >= 118 and sides.max() <= 202 and sides.std(0).min() > 10
    assert np.log(sides[:, 0] / sides[:, 1]).std() > 0.08
    assert len(tables) > 20


def test_annotations_are_those_of_their_images(clean):
    for path in clean.root.glob("Annotation/*/*"):
        tree = ElementTree.parse(path)
        number, name = path.parent.name.split("-", 1)
        assert (tree.findtext("folder"), tree.findtext("filename")) == (number[1:], path.name)
        assert [thing.findtext("name") for thing in tree.iterfind("object")] == [name]
        with Image.open(clean.root / "Images" / path.parent.name / f"{path.name}.jpg") as image:
            assert tree.findtext("size/width") == str(image.width)
            assert tree.findtext("size/height") == str(image.height)


def test_boxes_are_around_the_dogs_of_the_right_breed(clean):
    names = [name for breed in BREEDS for split in ("train", "test") for name in in_list(clean.root, split)
             if name.startswith(breed)]  # fmt: skip
    assert len(names) == len(clean.shots)
    for name, shot in zip(names, clean.shots, strict=True):
        assert shot.look == look_of(name.split("/")[0]) and not shot.web
        with Image.open(clean.root / "Images" / name) as file:
            assert np.prod(thumbnails([file, shot.image]), axis=0).sum() > 0.99
        left, top, right, bottom = box = largest_box(clean.root / "Annotation" / name.removesuffix(".jpg"))
        width, height = shot.image.size
        assert 0 <= left < right <= width and 0 <= top < bottom <= height
        assert all(float(end).is_integer() for end in box)
        changed = np.asarray(shot.image, int) - np.asarray(without_dog(shot), int)
        rows, columns = (np.flatnonzero((abs(changed).max(2) > 20).any(axis)) for axis in (1, 0))
        ends = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        np.testing.assert_allclose(box, ends, atol=6)  # a dog has a halo of three pixels
        assert 0.4 * min(width, height) < max(right - left, bottom - top)
        inside = abs(changed).max(2)[round(top) : round(bottom), round(left) : round(right)]
        assert 0.3 < (inside > 20).mean() < 0.8


def test_dogs_are_in_the_image_at_many_places_and_face_either_way():
    beyond, middles, facing = [], [], []
    for label, look in enumerate(LOOKS):
        for seed in range(25):
            size = np.array([(150, 150), (170, 140), (130, 160)][seed % 3])
            image = Image.new("RGB", tuple(size.tolist()))
            box = sample_drawing._draw_dog(np.random.default_rng((seed, label)), image, *look)
            beyond.append(max(-box.min(), (box[2:] - size).max()) / size.min())
            middles.append(((box[:2] + box[2:]) - size) / 2 / size.min())
            if look[1] == "bob":  # the head is higher than the rump
                top = np.flatnonzero(np.asarray(image).max(2)[max(round(box[1]), 0) + 4])
                facing.append(top.mean() > (box[0] + box[2]) / 2)
    assert max(beyond) <= 0, "no dog is cut"
    assert 0.35 < np.mean(facing) < 0.65
    assert np.std(middles, axis=0).min() > 0.02 and abs(np.mean(middles, axis=0)).max() < 0.02


def test_every_kind_of_tail_has_its_own_shape():
    ends: dict[str, list[float]] = {"bob": [], "flag": [], "curl": []}
    lengths = copy.deepcopy(ends)
    for kind, found in ends.items():
        for seed in range(20):
            middle, _ = sample_drawing._tail(np.random.default_rng(seed), kind, np.zeros(2))
            lengths[kind].append(np.linalg.norm(np.diff(middle, axis=0), axis=1).sum())
            found.append(float(np.linalg.norm(middle[-1] - middle[0])) / lengths[kind][-1])
    assert max(lengths["bob"]) < 0.5 * min(lengths["flag"])
    assert min(ends["flag"]) > 0.85  # nearly straight
    assert max(ends["curl"]) < 0.5 and min(lengths["curl"]) > 2 * max(lengths["bob"])


def test_every_kind_of_ear_has_its_own_shape():
    for seed in range(20):
        # Height above the root, depth below it, and how wide the ear is near its highest point.
        shape, parts = {}, {}
        for kind in sample_drawing.EARS:
            groups = sample_drawing._ear(np.random.default_rng(seed), kind, np.zeros(2))
            parts[kind] = len(groups)
            corners = np.concatenate([sample_drawing._outline(stroke, 0) for group in groups for stroke in group])
            top = corners[corners[:, 1] < corners[:, 1].min() + 0.05]
            shape[kind] = (-corners[:, 1].min(), corners[:, 1].max(), np.ptp(top[:, 0]))
        standing = [shape[kind][0] for kind in ("prick", "round", "folded")]
        assert shape["drop"][0] < min(standing) and shape["drop"][1] > 2 * shape["prick"][1]
        assert shape["round"][2] > 3 * shape["prick"][2]
        assert shape["folded"][0] < 0.85 * shape["prick"][0]
        assert parts == {"prick": 1, "round": 1, "drop": 1, "folded": 2}


def fit_and_score(train: Tensor, val: Tensor, labels: Tensor, answers: Tensor) -> float:
    """Share of `val` (N, D) that logistic regression on standardised features gets right, best L2 of three."""
    mean, std = train.mean(0), train.std(0) + 1e-6
    train, val = (train - mean) / std, (val - mean) / std
    best = 0.0
    for strength in (0.01, 0.1, 1.0):
        model = nn.Linear(train.shape[1], len(BREEDS))
        nn.init.zeros_(model.weight)
        nn.init.zeros_(model.bias)
        lbfgs = torch.optim.LBFGS(model.parameters(), max_iter=60, line_search_fn="strong_wolfe")

        def closure(strength=strength, model=model, lbfgs=lbfgs) -> float:
            lbfgs.zero_grad()
            loss = nn.functional.cross_entropy(model(train), labels) + strength * model.weight.square().sum()
            loss.backward()
            return loss.item()

        lbfgs.step(closure)
        best = max(best, (model(val).argmax(1) == answers).double().mean().item())
    return best


def test_thumbnails_do_not_tell_the_breed():
    features, labels = [], []
    for part, count in enumerate((20, 10)):
        images = [
            sample_drawing.draw_image(np.random.default_rng((1, part, label, index)), *look, web=False)[0]
            for label, look in enumerate(LOOKS)
            for index in range(count)
        ]
        small = [image.resize((16, 16), Image.Resampling.BOX) for image in images]
        features.append(torch.tensor(np.stack([np.asarray(each, np.float32).ravel() for each in small])))
        labels.append(torch.arange(len(LOOKS)).repeat_interleave(count))
    assert fit_and_score(*features, *labels) < 0.3
    # The same regression finds a breed that shows in five of its 768 values.
    shown, spread = 5 * len(LOOKS), features[0].std(0)
    for values, label in zip(features, labels, strict=True):
        values[:, :shown] += 4 * spread[:shown] * nn.functional.one_hot(label, len(LOOKS)).repeat(1, 5)
    assert fit_and_score(*features, *labels) > 0.7
