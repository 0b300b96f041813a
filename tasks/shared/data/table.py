"""Columns of a table, CSV or Parquet, in chunks: a table of any length takes the memory of one chunk."""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from tasks.shared.data.parquet_sizes import check_sizes
from tasks.shared.errors import UserError

SUFFIXES = (".csv", ".parquet")
BLOCK = 16 << 20  # bytes of CSV in a chunk
ROWS = 1 << 19  # rows of Parquet in a chunk
FIRST = 16 << 20  # letters of a CSV's header and first row
SHOWN = 20  # columns that a message names
Wanted = Mapping[str, str | Sequence[str]]


def read_columns(file: Path, wanted: Wanted, setting: str | None = None) -> Iterator[tuple[int, dict[str, pa.Array]]]:
    """Read some columns in chunks of a few hundred thousand rows: the number of the first row, and the columns.

    Rows are counted from 1, without the header. Columns of a CSV come as text.

    Args:
        file: A .csv (UTF-8, with a header, separated by commas) or .parquet.
        wanted: By key the name of a column, or several that it may have in any case.
        setting: The config node that names columns, for the messages.

    Raises:
        UserError: The file or a column is missing, or a row is malformed; names the file and the row.
    """
    if file.suffix.lower() not in SUFFIXES:
        raise UserError(f"{file}: expected a table with the suffix {' or '.join(SUFFIXES)}")
    if not file.is_file():
        raise UserError(f"{file}: {'is a folder; expected a table' if file.is_dir() else 'no such file'}")
    read = _read_csv if file.suffix.lower() == ".csv" else _read_parquet
    first = 1
    try:
        for batch, columns in read(file, wanted, setting):
            batch.validate(full=True)  # texts that are no UTF-8
            yield first, {key: batch.column(name) for key, name in columns.items()}
            first += len(batch)
    except (pa.ArrowException, OSError) as error:
        # Arrow counts the header.
        message = re.sub(r"[Rr]ow #(\d+)", lambda m: f"row {int(m[1]) - 1}", str(error).splitlines()[0])
        raise UserError(f"{file}: cannot be read ({message})") from error
    if first == 1:
        raise UserError(f"{file}: holds no rows")


def find_columns(columns: Sequence[str], wanted: Wanted, file: Path, setting: str | None = None) -> dict[str, str]:
    """A table's columns by the keys of `wanted`. Raises UserError telling all that are missing or ambiguous."""
    found, problems = {}, []
    for key, names in wanted.items():
        exact = isinstance(names, str)
        known = [c for c in columns if (c == names if exact else c.strip().lower() in names)]
        node = f"{setting}.{key}" if setting else key
        if len(known) == 1:
            found[key] = known[0]
        elif known:
            problems.append(f"{' and '.join(known)} may each be the column {node}" + ("; say which" if setting else ""))
        else:
            expected = repr(names) if exact else " or ".join(names) + (f", or {node}=NAME" if setting else "")
            problems.append(f"no column for {node}: expected {expected}")
    if problems:
        message = ", ".join(" ".join(column.split())[:60] for column in columns[:SHOWN])
        more = f" and {len(columns) - SHOWN:,} more" if len(columns) > SHOWN else ""
        raise UserError(f"{file}: {'; '.join(problems)}. Its columns: {message}{more}")
    return found


def _read_csv(file: Path, wanted: Wanted, setting: str | None) -> Iterator[tuple[pa.RecordBatch, dict[str, str]]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            rows = csv.reader(_first_lines(file, text))
            header, some = next(rows, []), next(rows, None)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file}: not a CSV file in UTF-8 ({error})") from error
    if not header:
        raise UserError(f"{file}: is empty; expected a header and rows")
    if len(header) == 1 and len(wanted) > 1 and (other := re.search("[;\t|]", header[0])):
        raise UserError(f"{file}: its columns are separated by {other[0]!r}; expected commas")
    columns = find_columns(header, wanted, file, setting)
    if some is None:
        return
    # As text, so that a value that is no number can be told with its row.
    convert = pyarrow.csv.ConvertOptions(
        include_columns=list(columns.values()), column_types=dict.fromkeys(columns.values(), pa.string())
    )
    options = pyarrow.csv.ReadOptions(block_size=BLOCK, use_threads=False)
    quoting = pyarrow.csv.ParseOptions(newlines_in_values=True)
    with pyarrow.csv.open_csv(file, options, quoting, convert) as reader:
        for batch in reader:
            yield batch, columns


def _first_lines(file: Path, text: TextIO) -> Iterator[str]:
    left = FIRST
    while line := text.readline(left + 1):
        if (left := left - len(line)) < 0:
            raise UserError(f"{file}: its header and first row have more than {FIRST:,} letters; expected a table")
        yield line


def _read_parquet(file: Path, wanted: Wanted, setting: str | None) -> Iterator[tuple[pa.RecordBatch, dict[str, str]]]:
    with pyarrow.parquet.ParquetFile(file, pre_buffer=False) as table:  # buffers would stay until the end
        columns = find_columns(table.schema_arrow.names, wanted, file, setting)
        check_sizes(file, table, list(columns.values()))
        for batch in table.iter_batches(ROWS, columns=list(columns.values()), use_threads=False):
            yield batch, columns
