"""Parquet tables that stand for more than they hold."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

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
