"""HDF5 files that lie, or reach for what is not theirs."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from backbone import read_weights
from tests.limits import assert_refused


def external(file: h5py.File, folder: Path) -> None:
    (folder / "secret").write_bytes(b"password" * 100)
    file.create_dataset("a", (100,), "u1", external=[(str(folder / "secret"), 0, 100)])


def virtual(file: h5py.File, folder: Path) -> None:
    with h5py.File(folder / "other.h5", "w") as other:
        other["x"] = np.arange(9.0)
    layout = h5py.VirtualLayout((9,), "f8")
    layout[:] = h5py.VirtualSource(folder / "other.h5", "x", (9,))
    file.create_virtual_dataset("a", layout)


def compressed(file: h5py.File, folder: Path) -> None:
    file.create_dataset("a", (1 << 28,), "u1", compression="gzip", chunks=(1 << 24,))[: 1 << 24] = 0


def never_written(file: h5py.File, folder: Path) -> None:
    file.create_dataset("a", (1 << 40,), "f4", chunks=(1 << 10,))


def large_chunk(file: h5py.File, folder: Path) -> None:
    file.create_dataset("a", (4,), "f4", chunks=(1 << 29,), maxshape=(None,))


def deep(file: h5py.File, folder: Path) -> None:
    group: h5py.Group = file
    for _ in range(3000):
        group = group.create_group("g")


def crowded(file: h5py.File, folder: Path) -> None:
    for number in range(10_001):
        file.create_group(f"g{number}")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (external, "lies in other files"),
        (virtual, "lies in other files"),
        (compressed, "is compressed"),
        (never_written, "longer than what the file holds"),
        (large_chunk, "longer than what the file holds"),
        (deep, "groups in each other"),
        (crowded, "objects"),
    ],
)
def test_it_is_refused(make: Callable[[h5py.File, Path], None], words: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w", libver="latest") as file:
        make(file, tmp_path)
    assert_refused(lambda: read_weights(tmp_path / "x.h5"), f"{tmp_path / 'x.h5'}: ", words)


def test_links_are_not_followed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["x"] = np.arange(9.0)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["outside"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "x")
        file["lost"] = h5py.SoftLink("/nowhere")
        file["mine"], file["again"] = np.ones(3, "f4"), h5py.SoftLink("/mine")
        file["circle"] = file["/"]
    assert_refused(lambda: read_weights(tmp_path / "x.h5"), "no MobileNet of Keras", "and holds mine")


def test_compact_numbers_and_chunks_that_are_whole_are_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("chunked", data=np.arange(100.0), chunks=(10,))
        file.create_dataset("empty", data=np.zeros((0, 3)))
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((4,))
        h5py.h5d.create(file.id, b"compact", h5py.h5t.IEEE_F32LE, space, plist).write(
            h5py.h5s.ALL, h5py.h5s.ALL, np.ones(4, "f4")
        )
    assert_refused(lambda: read_weights(tmp_path / "x.h5"), "no MobileNet of Keras", "chunked, compact, empty")
