"""What the columns of a Parquet file stand for, found out before Arrow makes them: a few kB may stand for gigabytes."""

from pathlib import Path

import pyarrow as pa
from pyarrow.parquet import ColumnChunkMetaData, ParquetFile

from tasks.shared.data.parquet_pages import INDEXED, Page, pages
from tasks.shared.errors import UserError

VALUE = 1 << 13  # bytes of a value: no path or number of a photo has more
FREE = 64 << 20  # bytes beyond that, of a group of rows, and of a file
SHARE = 32  # times as many bytes as the file has may it stand for besides
PAGES = 100_000  # of 20,000 values, as most writers make them: 2,000 million
NUMBER = 16  # bytes of the largest number, and of a text's place
TEXTS, FIXED = "BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY"  # physical types
PREFIXED = 7  # the encoding DELTA_BYTE_ARRAY: each text begins as the one before


def check_sizes(file: Path, table: ParquetFile, names: list[str]) -> None:
    """Raise UserError where the columns `names` hold other things than short texts and numbers, or more of them than
    the file's size explains: a text may stand in a dictionary once, and be meant a million times."""
    kinds = {name: table.schema_arrow.field(name).type for name in names}
    for name, kind in kinds.items():
        if pa.types.is_nested(kind):
            raise UserError(f"{file}: the column {name[:100]} holds lists or structures; expected texts or numbers")
        plain = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
        if plain or pa.types.is_fixed_size_binary(kind):
            raise UserError(f"{file}: the column {name[:100]} holds bytes ({kind}); expected texts or numbers")
    chunks = [(n, chunk) for n in range(table.num_row_groups) for chunk in _chunks(table, n) if chunk[0] in kinds]
    found: list[tuple[int, str, str, list[Page]]] = []
    left = PAGES
    for number, (name, chunk) in chunks:
        found.append((number, name, chunk.physical_type, _pages(file, chunk, left)))
        left -= len(found[-1][-1])
        size = max(chunk.total_uncompressed_size, sum(page.uncompressed for page in found[-1][-1]))
        rows = table.metadata.row_group(number).num_rows
        if size > FREE + VALUE * rows:
            told = f"{size:,} bytes in {rows:,} rows"
            raise UserError(f"{file}: the column {name[:100]} has {told}; expected short values")
        if any(page.encoding == PREFIXED for page in found[-1][-1]):
            raise UserError(
                f"{file}: the column {name[:100]} is written as DELTA_BYTE_ARRAY; expected another encoding"
            )
    _check_total(file, found, {})
    texts = list(dict.fromkeys(name for _, name, kind, _ in found if kind == TEXTS))
    widths = _widths(file, table, texts)
    fixed = {column.path: column.length for column in map(table.schema.column, range(len(table.schema)))}
    widths |= {(n, name): fixed[name] for n, name, kind, _ in found if kind == FIXED}
    for (_, name), width in widths.items():
        if width > VALUE:
            raise UserError(f"{file}: the column {name[:100]} holds a text of {width:,} bytes; expected {VALUE:,}")
    _check_total(file, found, widths)


def _check_total(file: Path, found: list[tuple[int, str, str, list[Page]]], widths: dict[tuple[int, str], int]) -> None:
    """widths: bytes of the longest value that the dictionary of a group's column has."""
    total = 0
    for number, name, _, its in found:
        width = NUMBER + widths.get((number, name), 0)
        each = ((page.values * (width if page.encoding in INDEXED else NUMBER), page.uncompressed) for page in its)
        total += sum(map(max, each))
    if total > (most := FREE + SHARE * file.stat().st_size):
        raise UserError(f"{file}: its columns stand for {total:,} bytes; expected {most:,} at most of such a file")


def _chunks(table: ParquetFile, number: int) -> list[tuple[str, ColumnChunkMetaData]]:
    group = table.metadata.row_group(number)
    return [(chunk.path_in_schema, chunk) for chunk in map(group.column, range(group.num_columns))]


def _pages(file: Path, chunk: ColumnChunkMetaData, most: int) -> list[Page]:
    start = chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset
    found = []
    try:
        with file.open("rb") as opened:
            for page in pages(opened, start, start + chunk.total_compressed_size):
                found.append(page)
                if len(found) > most:
                    raise ValueError(f"more than {PAGES:,} pages")
    except ValueError as error:
        raise UserError(f"{file}: cannot be read ({error})") from error
    return found


def _widths(file: Path, table: ParquetFile, texts: list[str]) -> dict[tuple[int, str], int]:
    """Bytes of the longest text in each dictionary, by group and column."""
    widths: dict[tuple[int, str], int] = {}
    if not texts:
        return widths
    with ParquetFile(file, pre_buffer=False, read_dictionary=texts) as looked:
        for number in range(looked.num_row_groups):
            batch = next(looked.iter_batches(1, row_groups=[number], columns=texts, use_threads=False), None)
            for name, column in zip(texts, [] if batch is None else batch.columns, strict=False):
                words = column.dictionary.cast(pa.binary()).to_pylist()
                widths[number, name] = max(map(len, words), default=0)
    return widths
