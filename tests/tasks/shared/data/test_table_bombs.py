"""Parquet tables that stand for more than they hold."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.shared.data import parquet_sizes
from tasks.shared.data.parquet_pages import pages
from tasks.shared.data.table import read_columns
from tests.limits import assert_refused


def drain(file: Path) -> None:
    for _ in read_columns(file, {"path": "path"}):
        pass


def repeated(word: pa.Scalar | str | bytes, count: int) -> pa.Table:
    places = pa.array([0] * count, pa.int32())
    return pa.table({"path": pa.DictionaryArray.from_arrays(places, pa.array([word]))})


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("x" * 100_000, "the column path holds a text of 100,000 bytes"),
        ("x" * 8000, "its columns stand for 80"),  # too much of what is short enough each
        (b"x" * 100_000, "the column path holds bytes (binary)"),
        (pa.scalar(b"x" * 8000, pa.binary(8000)), "the column path holds bytes (fixed_size_binary[8000])"),
    ],
)
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_one_value_for_all_rows(word: Any, words: str, version: str, tmp_path: Path) -> None:
    file = tmp_path / "photos.parquet"
    count = 100_000 if isinstance(word, str) else 1000  # what are no texts, the writer makes all of
    pq.write_table(repeated(word, count), file, compression="zstd", store_schema=False, data_page_version=version)
    assert file.stat().st_size < 100_000
    assert_refused(lambda: drain(file), f"{file}: {words}")


def test_one_number_for_all_rows(tmp_path: Path) -> None:
    file, group = tmp_path / "photos.parquet", pa.table({"path": np.zeros(1_000_000)})
    with pq.ParquetWriter(file, group.schema) as writer:
        for _ in range(10):
            writer.write_table(group, 1_000_000)
    assert file.stat().st_size < 1_000_000
    assert_refused(lambda: drain(file), f"{file}: its columns stand for 160,0")


@pytest.mark.parametrize("length", [8000, 1_000_000])
def test_texts_that_begin_as_the_one_before(length: int, tmp_path: Path) -> None:
    file, texts = tmp_path / "photos.parquet", pa.array(["x" * length] * 100, pa.large_string())
    more: dict[str, Any] = {"use_dictionary": False, "column_encoding": {"path": "DELTA_BYTE_ARRAY"}}
    pq.write_table(pa.table({"path": texts}), file, compression="zstd", write_statistics=False, **more)
    assert file.stat().st_size < 10_000
    assert_refused(lambda: drain(file), f"{file}: the column path is written as DELTA_BYTE_ARRAY")


def test_pages_of_nothing_without_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of some bytes, so that a file of some MB could have a million."""
    monkeypatch.setattr(parquet_sizes, "PAGES", 1000)
    file, texts = tmp_path / "photos.parquet", pa.table({"path": ["x" * 20] * 1100})
    pq.write_table(texts, file, use_dictionary=False, write_statistics=False, data_page_size=1, write_batch_size=1)
    assert_refused(lambda: drain(file), f"{file}: cannot be read (more than 1,000 pages)")


def test_an_honest_table_of_many_rows_is_read(tmp_path: Path) -> None:
    """Few labels, coordinates of a few places, and paths that compress well."""
    count, file = 300_000, tmp_path / "photos.parquet"
    rng = np.random.default_rng(0)
    numbers = np.arange(count)
    table = pa.table({
        "path": pa.array(np.char.add("photos/of/a/long/folder/IMG_", numbers.astype("U7"))),
        "label": pa.array([f"a breed with a name {k}" for k in range(120)]).take(pa.array(rng.integers(0, 120, count))),
        "lat": pa.array(rng.integers(-90, 90, count).astype(float)),
    })  # fmt: skip
    for more in ({"compression": "zstd"}, {"compression": "snappy", "data_page_version": "2.0"},
                 {"column_encoding": "PLAIN", "use_dictionary": False, "compression": "zstd"}):  # fmt: skip
        pq.write_table(table, file, **more)
        names = {"path": "path", "label": "label", "lat": "lat"}
        assert sum(len(chunk["path"]) for _, chunk in read_columns(file, names)) == count


def test_a_row_of_many_megabytes(tmp_path: Path) -> None:
    file = tmp_path / "photos.parquet"
    table = pa.table({"path": pa.array(["y" * (100 << 20)])})
    pq.write_table(table, file, compression="zstd", use_dictionary=False, write_statistics=False)
    assert_refused(lambda: drain(file), f"{file}: the column path has 104,8", "bytes in 1 rows")


@pytest.mark.parametrize("value", [[["a"]], [{"a": 1}]])
def test_nested_columns(value: Any, tmp_path: Path) -> None:
    file = tmp_path / "photos.parquet"
    pq.write_table(pa.table({"path": pa.array(value)}), file)
    assert_refused(lambda: drain(file), "holds lists or structures")


@pytest.mark.parametrize("text", [b"a" * (1 << 20), b'"b\n', b'"c",'], ids=["a line", "quotes", "columns"])
def test_a_header_without_an_end(text: bytes, tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    with file.open("wb") as opened:
        for _ in range((100 << 20) // len(text)):
            opened.write(text)
    assert_refused(lambda: drain(file), "x.csv", megabytes=400)


def test_a_text_that_is_no_utf8(tmp_path: Path) -> None:
    texts = pa.StringArray.from_buffers(1, pa.array([0, 2], pa.int32()).buffers()[1], pa.py_buffer(b"\xff\xff"))
    pq.write_table(pa.table({"path": texts}), tmp_path / "x.parquet")
    assert_refused(lambda: drain(tmp_path / "x.parquet"), "x.parquet", "UTF8")


def test_the_sizes_of_pages_are_those_that_arrow_writes(tmp_path: Path) -> None:
    """All kinds of pages, with and without statistics, a dictionary and compression: the footer has their sum."""
    texts = pa.table({"path": [f"photo_{k}.jpg" for k in range(20_000)], "lat": [k / 7 for k in range(20_000)]})
    for more in (
        {}, {"compression": "zstd"}, {"use_dictionary": False}, {"data_page_version": "2.0"}, {"data_page_size": 2000},
        {"write_statistics": False}, {"row_group_size": 3000}, {"write_page_checksum": True},
    ):  # fmt: skip
        pq.write_table(texts, tmp_path / "x.parquet", **more)
        metadata = pq.read_metadata(tmp_path / "x.parquet")
        for part in (metadata.row_group(g).column(c) for g in range(metadata.num_row_groups) for c in range(2)):
            start = part.dictionary_page_offset if part.has_dictionary_page else part.data_page_offset
            with (tmp_path / "x.parquet").open("rb") as file:
                found = list(pages(file, start, start + part.total_compressed_size))
            assert sum(page.uncompressed + page.header for page in found) == part.total_uncompressed_size
            assert sum(page.compressed + page.header for page in found) == part.total_compressed_size


def test_a_page_that_says_more_than_the_footer(tmp_path: Path) -> None:
    file = tmp_path / "photos.parquet"
    table = pa.table({"path": ["y" * 60 for _ in range(50)]})
    pq.write_table(table, file, compression="zstd", use_dictionary=False, write_statistics=False)
    part = pq.read_metadata(file).row_group(0).column(0)
    data, start = bytearray(file.read_bytes()), part.data_page_offset
    assert data[start : start + 3] == b"\x15\x00\x15"  # the type of the page, then how large it is in memory
    first = next(pages(io.BytesIO(bytes(data)), start, start + 1))
    value = bytearray()
    for shift in (0, 7, 14, 21, 28):  # 1 GB in as many bytes as there were is not to be had: one is put in
        value.append((2 << 30 >> shift) & 127 | (128 if shift < 28 else 0))
    assert data[start + 3] >= 128 and first.uncompressed < 1 << 13  # two bytes
    data[start + 3 : start + 5] = value
    place = start + first.header + 3  # three of the page go, so that the footer stays
    file.write_bytes(bytes(data[:place] + data[place + 3 :]))
    assert_refused(lambda: drain(file), f"{file}: the column path has 1,073,741,824 bytes in 50 rows")


@pytest.mark.parametrize(
    "header", [b"", b"\x15\x00\x15", b"\x1c" * 60_000, b"\x19\xf5" + b"\xff" * 8, b"\x16" + b"\xff" * 99]
)
def test_headers_that_are_none(header: bytes) -> None:
    with pytest.raises(ValueError, match="a page's header"):
        next(pages(io.BytesIO(header), 0, 1))
