"""The drawn samples: CelebA's and LFW's own layouts, people on one side, the same every time."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.shared.errors import UserError
from tasks.shared.faces import sample
from tasks.shared.faces.data import celeba, celeba_sample, lfw, lfw_sample
from tasks.shared.faces.drawn.person import ATTRIBUTES
from tasks.shared.faces.sample import EACH, draw_celeba_sample, draw_lfw_sample
from tests.tasks.shared.faces.conftest import OPTIONS
from tests.tasks.shared.faces.thumbnails import attribute_precision, val_at_far, verification
from tests.tasks.shared.folders import contents

TRAIN, VAL = 20, 8
PEOPLE, OTHERS, IMAGES, VAL_IMAGES = 3, 4, 3, 4


@pytest.fixture(scope="module")
def celeba_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("celeba") / "s"
    draw_celeba_sample(root, TRAIN, VAL)
    return root


@pytest.fixture(scope="module")
def lfw_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("lfw") / "s"
    draw_lfw_sample(root, PEOPLE, OTHERS, IMAGES, VAL_IMAGES)
    return root


def rows(file: Path) -> list[list[str]]:
    return [line.split() for line in file.read_text().splitlines()]


def test_celebas_layout(celeba_root: Path) -> None:
    count, names, *labels = rows(celeba_root / "list_attr_celeba.txt")
    files = [f"{k + 1:06d}.jpg" for k in range(TRAIN + VAL)]
    assert count == [str(TRAIN + VAL)] and tuple(names) == ATTRIBUTES and [row[0] for row in labels] == files
    assert all(len(row) == 1 + len(names) and set(row[1:]) <= {"1", "-1"} for row in labels)
    sides, people = (rows(celeba_root / name) for name in ("list_eval_partition.txt", "identity_CelebA.txt"))
    assert sides == [[file, str(int(k >= TRAIN))] for k, file in enumerate(files)]
    who = [{row[1] for row in part} for part in (people[:TRAIN], people[TRAIN:])]
    assert [len(part) for part in who] == [-(-TRAIN // EACH), -(-VAL // EACH)] and not who[0] & who[1]
    assert [row[0] for row in people] == files
    assert sorted(p.name for p in (celeba_root / "img_align_celeba").iterdir()) == files
    for file in files:
        with Image.open(celeba_root / "img_align_celeba" / file) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (178, 218))


def test_what_stays_with_a_person(celeba_root: Path) -> None:
    """Of the attributes only those that people put on and off differ between images of one."""
    _, names, *labels = rows(celeba_root / "list_attr_celeba.txt")
    people = [row[1] for row in rows(celeba_root / "identity_CelebA.txt")]
    for name, column in zip(names, np.array([row[1:] for row in labels]).T, strict=True):
        if name not in ("Bangs", "Eyeglasses", "Smiling", "Wearing_Earrings", "Wearing_Hat"):
            assert all(len(set(column[np.array(people) == who])) == 1 for who in set(people)), name


def test_lfws_layout(lfw_root: Path) -> None:
    folders = {side: sorted(p.name for p in (lfw_root / side).iterdir() if p.is_dir()) for side in ("train", "test")}
    assert [len(found) for found in folders.values()] == [PEOPLE, OTHERS] and not set(folders["train"]) & set(
        folders["test"]
    )
    for side, each in (("train", IMAGES), ("test", VAL_IMAGES)):
        for name in folders[side]:
            files = sorted(p.name for p in (lfw_root / side / name).iterdir())
            assert files == [f"{name}_{k + 1:04d}.jpg" for k in range(each)]
            with Image.open(lfw_root / side / name / files[0]) as image:
                assert image.size == (250, 250)


@pytest.mark.parametrize(("people", "each"), [(4, 4), (2, 2), (41, 3), (60, 8)])
def test_pairs_are_lfws(people: int, each: int) -> None:
    """As many of either kind, none twice, and nobody in two folds."""
    header, *lines = (line.split() for line in sample._pairs(people, each, 0))
    folds, count = map(int, header)
    assert folds == min(10, people // 2) and len(lines) == 2 * folds * count
    if people == 60:
        assert count == 150
    seen, who = set(), []
    for fold in range(folds):
        part = lines[2 * count * fold : 2 * count * (fold + 1)]
        assert [len(row) for row in part] == [3] * count + [4] * count
        pairs = [((row[0], row[1]), (row[-2] if len(row) == 4 else row[0], row[-1])) for row in part]
        assert all((a[0] == b[0]) == (len(row) == 3) and a != b for (a, b), row in zip(pairs, part, strict=True))
        assert all(1 <= int(number) <= each for pair in pairs for _, number in pair)
        seen |= {frozenset(pair) for pair in pairs}
        who.append({name for pair in pairs for name, _ in pair})
    assert len(seen) == len(lines) and not any(a & b for a, b in combinations(who, 2))


def test_the_one_reader_reads_them(celeba_root: Path, lfw_root: Path) -> None:
    faces = celeba(str(celeba_root), **OPTIONS)
    assert faces.num_classes == len(ATTRIBUTES) and len(faces.images["train"].labels) == TRAIN
    assert len(next(iter(faces.val_loader())).targets) == 3
    pairs = lfw(str(lfw_root / "test"), train={"root": str(lfw_root / "train")}, **OPTIONS)
    assert pairs.num_classes == 0 and pairs.pairs is not None and set(pairs.pairs[:, 2]) == {0, 1}
    people = pairs.identities("val")
    assert people is not None
    assert all((people[a] == people[b]) == same for a, b, same in pairs.pairs.tolist())


def test_default_arguments_of_the_samples(tmp_path: Path) -> None:
    data = celeba_sample(str(tmp_path / "a b, c=d"), train=2, val=1, **OPTIONS)
    assert data.data_type == "faces" and len(data.images["val"].labels) == 1
    pairs = lfw_sample(str(tmp_path / "e"), train=1, val=2, train_pictures=1, val_pictures=2, **OPTIONS)
    assert len(pairs.images["train"].labels) == 1 and pairs.pairs is not None and len(pairs.pairs) == 4


def test_the_same_again_another_seed_and_more(celeba_root: Path, lfw_root: Path, tmp_path: Path) -> None:
    draw_celeba_sample(tmp_path / "again", TRAIN, VAL)
    assert contents(tmp_path / "again") == contents(celeba_root)
    draw_celeba_sample(tmp_path / "other", 2, 1, seed=1)
    draw_celeba_sample(tmp_path / "few", 2, 1)
    few, other, many = contents(tmp_path / "few"), contents(tmp_path / "other"), contents(celeba_root)
    assert few.keys() == other.keys() and all(few[name] != other[name] for name in few if name.endswith(".jpg"))
    for k, place in ((0, 0), (1, 1), (2, TRAIN)):  # the same people first, so that sizes compare like with like
        assert few[f"img_align_celeba/{k + 1:06d}.jpg"] == many[f"img_align_celeba/{place + 1:06d}.jpg"]
    draw_lfw_sample(tmp_path / "lfw", PEOPLE, OTHERS, IMAGES, VAL_IMAGES)
    assert contents(tmp_path / "lfw") == contents(lfw_root)


def test_a_complete_set_is_left_alone_and_another_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_celeba_sample(tmp_path / "c", 2, 1)
    draw_lfw_sample(tmp_path / "l", 1, 2, 1, 2)
    with monkeypatch.context() as patch:
        patch.setattr(sample, "_draw", lambda *_: pytest.fail("drawn again"))
        draw_celeba_sample(tmp_path / "c", 2, 1)
        draw_lfw_sample(tmp_path / "l", 1, 2, 1, 2)
    draw_celeba_sample(tmp_path / "c", 1, 1)
    draw_lfw_sample(tmp_path / "l", 1, 2, 2, 2)
    assert len(list((tmp_path / "c").rglob("*.jpg"))) == 2 and len(list((tmp_path / "l").rglob("*.jpg"))) == 6
    (tmp_path / "c/notes.txt").write_text("mine")
    with pytest.raises(UserError, match="holds files that are not part of a drawn CelebA sample"):
        draw_celeba_sample(tmp_path / "c", 2, 1)


def test_numbers_out_of_range_are_refused(tmp_path: Path) -> None:
    for numbers in ({"train": 0}, {"val": 0}, {"seed": -1}):
        with pytest.raises(UserError, match=r"data\.train=.*, data\.val=.*, data\.draw_seed="):
            draw_celeba_sample(tmp_path / "s", **{"train": 1, "val": 1} | numbers)
    for numbers in ({"train": 0}, {"val": 1}, {"images": 0}, {"val_pictures": 1}, {"seed": -1}):
        with pytest.raises(UserError, match=r"data\.train_pictures=.*, data\.val_pictures="):
            draw_lfw_sample(tmp_path / "s", **{"train": 1, "val": 2} | numbers)
    assert not list(tmp_path.iterdir())


def test_is_silent_without_a_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    draw_celeba_sample(tmp_path / "c", 1, 1)
    draw_lfw_sample(tmp_path / "l", 1, 2, 1, 2)
    assert capfd.readouterr() == ("", "")


def test_thumbnails_hardly_tell_people_apart(tmp_path: Path) -> None:
    """A network does, see docs/facenet.md. The same distances find people whose features are told."""
    found = verification(str(tmp_path / "s"), train=1, val=16, train_pictures=1, val_pictures=5)
    assert max(found.values()) < 0.3, found
    people, rng = np.repeat(np.arange(16), 5), np.random.default_rng(0)
    told = rng.normal(size=(16, 8))[people] + 0.2 * rng.normal(size=(80, 8))
    assert val_at_far(told, people) > 0.8


@pytest.mark.slow
def test_thumbnails_say_little_of_the_default_samples(tmp_path: Path) -> None:
    precision = attribute_precision(str(tmp_path / "c"), 3000, 600)
    assert np.mean(list(precision.values())) < 0.8, precision
    assert max(verification(str(tmp_path / "l")).values()) < 0.15
