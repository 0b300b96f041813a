"""Images of which nothing is known: folders, lists and shards give the same, and mistakes are told."""

import io
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.shared.errors import UserError
from tasks.shared.faces.data import unlabelled_faces
from tasks.shared.faces.dataset import FaceData
from tasks.shared.faces.unlabelled import read_unlabelled, short_names
from tests.tasks.planet.conftest import write_shard
from tests.tasks.shared.faces.conftest import OPTIONS, image, pixels, write_face_shard, write_lines


def make(source: Path | str, tmp_path: Path, **options: Any) -> FaceData:
    return unlabelled_faces(str(source), **{"cache": str(tmp_path / "cache"), **OPTIONS, **options})


def write_folder(root: Path, count: int = 12) -> Path:
    for k in range(count):
        file = root / ("deep/er" if k % 2 else ".") / f"{k:02d} ä,=.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        image(k).save(file)
    return root


def read(source: Path | str, tmp_path: Path, on_corrupt: str = "error") -> set[bytes]:
    """The pixels of all images of a source."""
    images = read_unlabelled(str(source), "data.unlabelled", tmp_path / "cache", on_corrupt)
    assert (images.labels == -1).all()
    return {images.read(k).numpy().tobytes() for k in range(len(images.labels))}


def test_folders_lists_and_shards_hold_the_same(tmp_path: Path) -> None:
    wanted = {pixels(k).tobytes() for k in range(12)}
    folder = write_folder(tmp_path / "folder")
    assert read(folder, tmp_path) == wanted
    names = sorted(folder.rglob("*.png"))
    relative = write_lines(folder / "list.txt", [str(name.relative_to(folder)) for name in names] + ["", "  "])
    whole = write_lines(tmp_path / "whole.txt", [str(name.resolve()) for name in names])
    assert read(relative, tmp_path) == read(whole, tmp_path) == wanted
    for k in range(3):
        write_face_shard(tmp_path / f"shards/faces-{k}.tar", range(4 * k, 4 * k + 4))
    for source in (tmp_path / "shards", tmp_path / "shards/faces-*.tar", tmp_path / "sh*/faces-[012].tar"):
        assert read(source, tmp_path) == wanted
    assert read(tmp_path / "shards/faces-1.tar", tmp_path) == {pixels(k).tobytes() for k in range(4, 8)}


def test_a_share_is_evaluated_on(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "folder")
    data = make(folder, tmp_path, val_share=0.25)
    assert data.data_type == "faces" and data.num_classes == 0 and data.info == {} and data.identities("val") is None
    names = {s: {data.images[s].name(k) for k in range(len(data.images[s].labels))} for s in ("train", "val")}
    assert len(names["val"]) == 3 and len(names["train"]) == 9 and not names["train"] & names["val"]
    for split in ("train", "val"):
        for k in range(len(data.images[split].labels)):
            number = int(Path(data.images[split].name(k)).name[:2])
            assert np.array_equal(data.images[split].read(k), pixels(number))
    assert all(t.keys() == {"index", "file", "size"} for b in data.val_loader() for t in b.targets)
    folder.rename(tmp_path / "moved")
    moved = make(tmp_path / "moved", tmp_path, val_share=0.25, splits=("val",)).images["val"]
    assert {Path(moved.name(k)).name for k in range(3)} == {Path(name).name for name in names["val"]}


def test_names_do_not_tell_where_a_folder_is(tmp_path: Path) -> None:
    shard = write_face_shard(tmp_path / "a/0.tar", range(3))
    found = read_unlabelled(str(shard), "x", tmp_path / "c", "error")
    assert short_names(found) == [f"0.tar/{k:04d}.png" for k in range(3)]


def test_other_members_of_shards_are_passed_over(tmp_path: Path) -> None:
    content = io.BytesIO()
    image(5).save(content, "PNG")
    samples: list[dict[str, Any]] = [{"__key__": "a", "txt": b"a face", "png": content.getvalue(), "json": {"x": 1}}]
    write_shard(tmp_path / "x.tar", samples)
    assert read(tmp_path / "x.tar", tmp_path) == {pixels(5).tobytes()}
    write_shard(tmp_path / "y.tar", [*samples, {"__key__": "b", "txt": b"no face"}])
    with pytest.raises(UserError, match=r"1 of 2 samples are broken: .*y\.tar/b: has no image, but txt"):
        read(tmp_path / "y.tar", tmp_path)
    assert read(tmp_path / "y.tar", tmp_path, "skip") == {pixels(5).tobytes()}


def test_an_index_is_made_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    shard = write_face_shard(tmp_path / "x.tar", range(3))
    for _ in range(2):
        read(shard, tmp_path)
    assert caplog.text.count("indexing 1 shards, once") == 1


def test_a_shard_that_breaks_off(tmp_path: Path) -> None:
    shard = write_face_shard(tmp_path / "x.tar", range(3))
    shard.write_bytes(shard.read_bytes()[:9000])
    with pytest.raises(UserError, match=r"x\.tar.*the shard is damaged, or no tar file"):
        read(shard, tmp_path)
    assert read(shard, tmp_path, "skip") == {pixels(0).tobytes()}


def test_a_list_that_names_what_is_not_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_folder(tmp_path / "folder", 2)
    file = write_lines(folder / "list.txt", ["00 ä,=.png", "", "gone.png"])
    message = r"list\.txt: of 2 images that were looked for 1 are not there, such as line 3, gone\.png; expected paths"
    with pytest.raises(UserError, match=message):
        read(file, tmp_path)
    data = make(file, tmp_path, val_share=0.5, on_corrupt="skip")
    batches = [*data.val_loader(), *data.train_loader(0)]
    assert sum(batch.skipped for batch in batches) == 1 and sum(len(batch.targets) for batch in batches) == 1
    write_lines(file, ["gone.png"])
    with pytest.raises(UserError, match="of 1 images that were looked for 1 are not there"):
        read(file, tmp_path, "skip")


def test_mistakes_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/a.doc").write_text("x")
    (tmp_path / "a.csv").write_text("x")
    (tmp_path / "a.txt").write_text("\n \n")
    (tmp_path / "a.tar.gz").write_bytes(b"x")
    write_shard(tmp_path / "none.tar", [])
    for source, message in (
        ("empty", r"the folder holds neither images \(\.jpg.*\) nor shards \(\.tar\)$"),
        ("notes", r"nor shards \(\.tar\), but 1 \.doc"),
        ("gone", r"no such file or folder; expected a folder, a list of paths \(\.txt\), or shards"),
        ("gone.txt", r"cannot be read \(No such file"),
        ("gone-*.tar", r"no such file or folder; expected"),
        ("a.csv", r"matches .*a\.csv and 0 more; expected a folder"),
        ("a.txt", r"is empty; expected a path a line"),
        ("a.tar.gz", r"a\.tar\.gz: is compressed; expected plain \.tar files"),
        ("none.tar", r"the 1 shards hold no samples"),
    ):
        with pytest.raises(UserError, match=message):
            read(tmp_path / source, tmp_path)
    folder = write_folder(tmp_path / "folder", 3)
    for share, message in (
        (1, "3 images; data.val_share=1 leaves none for train"),
        (2, "expected a number from 0 to 1"),
    ):
        with pytest.raises(UserError, match=message):
            make(folder, tmp_path, val_share=share)
    (folder / "b.doc").write_text("x")
    make(folder, tmp_path)
    assert "left out 1 files, 1 .doc" in caplog.text


def test_a_pipe_is_no_shard(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    os.mkfifo(tmp_path / "set/a.tar")
    with pytest.raises(UserError, match=r"a\.tar: is no plain file"):
        read_unlabelled(str(tmp_path / "set"), "data.unlabelled", tmp_path / "cache", "skip")
