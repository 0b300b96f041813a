"""Parquet tables that stand for more than they hold."""

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.shared.data.parquet_pages import pages
from tasks.shared.data.table import read_columns
from tests.limits import assert_refused


def drain(file: Path) -> None:
    for _ in read_columns(file, {"path": "path"}):
        pass


def repeated() -> pa.Table:
    places = pa.array([0] * 1_000_000, pa.int32())
    return pa.table({"path": pa.DictionaryArray.from_arrays(places, pa.array(["x" * 100_000]))})


def test_one_long_text_a_million_times(tmp_path: Path) -> None:
    file = tmp_path / "photos.parquet"
    pq.write_table(repeated(), file, compression="zstd", store_schema=False)
    assert file.stat().st_size < 100_000
    assert_refused(lambda: drain(file), f"{file}: the column path holds a text of 100,000 bytes")


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
    old = next(pages(io.BytesIO(bytes(data)), start, start + 1)).uncompressed
    value = bytearray()
    for shift in (0, 7, 14, 21, 28):  # 1 GB in as many bytes as there were is not to be had: one is put in
        value.append((2 << 30 >> shift) & 127 | (128 if shift < 28 else 0))
    assert data[start + 3] >= 128 and old < 1 << 13  # two bytes
    data[start + 3 : start + 5] = value
    file.write_bytes(
        bytes(data[: start + 8]) + bytes(data[start + 11 :])
    )  # three of the page go, so that the footer stays
    assert_refused(lambda: drain(file), f"{file}: the column path has 1,073,741,824 bytes in 50 rows")


@pytest.mark.parametrize(
    "header", [b"", b"\x15\x00\x15", b"\x1c" * 60_000, b"\x19\xf5" + b"\xff" * 8, b"\x16" + b"\xff" * 99]
)
def test_headers_that_are_none(header: bytes) -> None:
    with pytest.raises(ValueError, match="a page's header"):
        next(pages(io.BytesIO(header), 0, 1))
