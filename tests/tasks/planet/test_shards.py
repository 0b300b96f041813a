"""WebDataset shards: the same photos as a table's, whatever order they are read in, and broken ones told."""

import io
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tasks.planet.data import geotagged, geotagged_shards
from tasks.planet.dataset import GeotaggedData
from tasks.planet.shards import read_shards
from tasks.shared.errors import UserError
from tests.tasks.planet.conftest import SHOTS, shard_sample, write_photos, write_shard
from tests.tasks.planet.test_geotagged import PARTITION

OPTIONS: dict[str, Any] = {"partition": PARTITION, "resolution": 32, "workers": 0, "batch_size": 4}


def write_shards(root: Path, count: int = 4) -> Path:
    """SHOTS in turn, five to a shard."""
    root.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        samples = [shard_sample(k) for k in range(5 * number, min(5 * number + 5, len(SHOTS)))]
        write_shard(root / f"train-{number:04d}.tar", samples)
    return root


def make(root: Path, **options: Any) -> GeotaggedData:
    sources = {"train": {"shards": "train-*.tar"}, "cache": str(root / "cache"), **OPTIONS}
    return geotagged_shards(str(root), **{**sources, **options})


def same(first: GeotaggedData, second: GeotaggedData) -> bool:
    """Whether two sets give the same batches, in two epochs and in evaluation."""
    for load in (lambda data: data.train_loader(3), lambda data: data.val_loader()):
        for epoch in (0, 1):
            batches = []
            for data in (first, second):
                loader = load(data)
                loader.batch_sampler.sampler.set_epoch(epoch)
                batches.append(list(loader))
            for a, b in zip(*batches, strict=True):
                facts = [[(t["lat"], t["lon"], t["label"]) for t in batch.targets] for batch in (a, b)]
                if not torch.equal(a.images, b.images) or facts[0] != facts[1]:
                    return False
    return True


def test_shards_are_what_a_table_is(tmp_path: Path) -> None:
    shards, root = write_shards(tmp_path / "shards"), write_photos(tmp_path / "photos")
    both = {"train": {"shards": "train-*.tar"}, "val": {"shards": "train-*.tar"}}
    tables: dict[str, Any] = {"train": {"table": "photos.csv"}, "val": {"table": "photos.csv"}}
    found = make(shards, **both)
    listed = geotagged(str(root), **tables, **OPTIONS)
    assert found.info == listed.info and same(found, listed)
    assert found.images["val"].name(6).endswith("train-0001.tar/photo.dir/0006.png")
    assert not same(found, make(shards, **both, augment={"area": [0.2, 0.5]}))


@pytest.mark.parametrize("split", [{"by": "user", "share": 0.3}, {"by": "time", "share": 0.3}])
def test_shards_are_split_as_tables_are(split: dict, tmp_path: Path) -> None:
    shards, root = write_shards(tmp_path / "shards"), write_photos(tmp_path / "photos")
    listed = geotagged(str(root), train={"table": "photos.csv"}, split=split, **OPTIONS)
    assert same(make(shards, split=split), listed)


def test_the_index_is_kept_until_shards_change(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    shards = write_shards(tmp_path / "shards")
    both = {"val": {"shards": "train-000[01].tar"}}
    first = make(shards, **both)
    assert caplog.text.count("indexing 4 shards, once") == 1 and caplog.text.count("indexing 2 shards, once") == 1
    assert same(first, make(shards, **both)) and caplog.text.count("indexing") == 2
    changed = shards / "train-0003.tar"
    before = changed.stat()
    write_shard(changed, [shard_sample(k) for k in (18, 17, 16, 15)])
    assert changed.stat().st_size == before.st_size
    os.utime(changed, ns=(1, 1))
    again = make(shards, **both)
    assert caplog.text.count("indexing 4 shards, once") == 2 and caplog.text.count("indexing") == 3
    rows = [[s.lat for s in SHOTS[:18]], [s.lat for s in SHOTS[:15] + SHOTS[17:14:-1]]]
    assert [data.photos["train"].lat.tolist() for data in (first, again)] == rows
    assert not list((shards / "cache").glob(".*"))


def test_images_are_upright(tmp_path: Path) -> None:
    image, exif, file = Image.new("RGB", (20, 10), "red"), Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    image.save(file, "JPEG", exif=exif)
    write_shard(tmp_path / "x.tar", [{"__key__": "a", "jpg": file.getvalue(), "json": {"lat": 1, "lon": 2}}])
    photos = read_shards(tmp_path, "x.tar", None, None, tmp_path / "cache", "error")
    assert photos.images.read(0).shape == (3, 20, 10)


def test_fields_of_other_names_and_other_members(tmp_path: Path) -> None:
    sample = shard_sample(0)
    facts = {"GPS": {"x": 1}, "y": "48.8", "Longitude": 2.3}
    shards = tmp_path / "shards"
    shards.mkdir()
    samples = [sample | {"json": facts, "cls": b"3", "seg.png": b"no photo", "__key__": "a.b/c"}, shard_sample(7)]
    samples[1]["json"] = {"y": -0.2, "lon": -78.5}
    write_shard(shards / "x.tar", [dict(reversed(s.items())) for s in samples])
    data = make(shards, train={"shards": "x.tar"}, val={"shards": "x.tar"}, columns={"lat": "y"},
                partition=PARTITION | {"min_photos": 1})  # fmt: skip
    assert data.photos["val"].lat.tolist() == [48.8, -0.2] and data.photos["val"].lon.tolist() == [2.3, -78.5]
    assert data.images["val"].name(0).endswith("x.tar/a.b/c.png")


BROKEN = {
    "no json": (lambda s: s.pop("json"), "0003: has no json, but png"),
    "no image": (lambda s: s.pop("png"), "0003: has no image, but json"),
    "damaged json": (lambda s: s.update(json=b'{"lat": 3'), r"0003\.png: its json cannot be used \(Expecting"),
    "no object": (lambda s: s.update(json=b"[1, 2]"), "it holds no object"),
    "latitude": (lambda s: s["json"].update(lat=91), "lat=91; expected degrees from -90 to 90"),
    "no number": (lambda s: s["json"].update(lon=None), "lon=None; expected degrees from -180 to 180"),
    "nan": (lambda s: s.update(json=b'{"lat": NaN, "lon": 3}'), "lat=nan; expected degrees"),
    "no text": (lambda s: s.update(json=b"\xff\xfe\x00"), "its json cannot be used"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_sample_is_told_or_left_out(kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shards = write_shards(tmp_path / "shards")
    samples = [shard_sample(k) for k in range(5)]
    change, message = BROKEN[kind]
    change(samples[3])
    write_shard(shards / "train-0000.tar", samples)
    both = {"val": {"shards": "train-*.tar"}}
    with pytest.raises(UserError, match=rf"1 of 19 samples are broken: .*train-0000\.tar/.*{message}") as told:
        make(shards, **both)
    assert "data.on_corrupt=skip leaves them out" in str(told.value)
    data = make(shards, **both, on_corrupt="skip")
    assert len(data.photos["val"].lat) == 18 and "left out: 1 of 19 samples are broken" in caplog.text


def test_a_damaged_image_in_a_shard(tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "shards")
    samples = [shard_sample(k) for k in range(5)]
    samples[2]["png"] = samples[2]["png"][:200]
    write_shard(shards / "train-0000.tar", samples)
    both = {"val": {"shards": "train-*.tar"}}
    with pytest.raises(UserError, match=r"train-0000\.tar/photo\.dir/0002\.png: not a readable image, or truncated"):
        list(make(shards, **both).val_loader())
    assert sum(batch.skipped for batch in make(shards, **both, on_corrupt="skip").val_loader()) == 1


@pytest.mark.parametrize(
    "change", [lambda w: w[:3], lambda w: w[:700], lambda w: w[:6000], lambda w: w[:6000] + w[6100:]]
)
def test_a_shard_that_breaks_off(change: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its first sample is 5,632 bytes."""
    shards = write_shards(tmp_path / "shards")
    whole = (shards / "train-0002.tar").read_bytes()
    (shards / "train-0002.tar").write_bytes(change(whole))
    both = {"val": {"shards": "train-*.tar"}}
    with pytest.raises(UserError, match=r"train-0002\.tar.*damaged, or no tar file"):
        make(shards, **both)
    data = make(shards, **both, on_corrupt="skip")
    assert 14 <= len(data.photos["val"].lat) < 19 and "left out" in caplog.text
    assert np.isfinite(data.photos["val"].lat).all()


def test_a_shard_that_shrinks_after_indexing(tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "shards")
    data = make(shards, val={"shards": "train-*.tar"})
    os.truncate(shards / "train-0003.tar", 512)
    with pytest.raises(UserError, match=r"0015\.png: the shard ends before it does"):
        data.images["val"].read(15)
    (shards / "train-0003.tar").unlink()
    with pytest.raises(UserError, match=r"0015\.png: cannot be read \(No such file"):
        data.images["val"].read(15)


def test_mistakes_are_told(tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "shards", 1)
    write_shard(shards / "empty.tar", [])
    (shards / "train.tar.gz").write_bytes(b"x")
    for options, message in (
        ({"train": {"shards": "none-*.tar"}}, r"no file matches none-\*\.tar"),
        ({"train": {"shards": "*.gz"}}, r"train\.tar\.gz: is compressed; expected plain \.tar"),
        ({"train": {"shards": "empty.tar"}}, r"the 1 shards that match empty\.tar hold no samples"),
        ({"train": None}, r"data\.train\.shards is not set"),
        ({"cache": str(shards / "train-0000.tar")}, r"data\.cache="),
        ({"columns": {"user": "who"}}, r"train-0000\.tar/photo\.dir/0000\.png: has no user"),
    ):
        with pytest.raises(UserError, match=message):
            make(shards, **options)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"data\.root=.*gone: no such folder"):
        make(tmp_path / "gone")
