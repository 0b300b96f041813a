"""Tables of photos and where they were taken, in chunks."""

from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.planet.split import split_numbers
from tasks.shared.data.table import read_columns
from tasks.shared.errors import UserError

# What a column may be called, in any case, where the user does not say.
NAMES = {
    "lat": ("lat", "latitude"),
    "lon": ("lon", "lng", "long", "longitude"),
    "path": ("path", "file", "filename", "image"),
    "user": ("user", "user_id", "userid", "owner", "author"),
    "time": ("time", "date", "datetime", "timestamp", "date_taken"),
}
LIMITS = {"lat": 90, "lon": 180}  # degrees
MANY = 0.05  # of the rows: latitudes beyond 90 that one typing mistake does not explain


class Rows(NamedTuple):
    """Rows of a table.

    first: number of the first one; the table's are counted from 1, without the header.
    lat, lon: (N,) float64, degrees, -90 to 90 and -180 to 180.
    paths: (N,) as the table has them; empty where they were not asked for.
    numbers: (N,) float64, what a split goes by, see `tasks.planet.split`; empty where it was not asked for.
    """

    first: int
    lat: NDArray[np.float64]
    lon: NDArray[np.float64]
    paths: list[str]
    numbers: NDArray[np.float64] = np.empty(0)


def read_table(
    file: Path,
    columns: Mapping[str, str | None] | None = None,
    with_paths: bool = False,
    split_by: str | None = None,
    setting: str = "columns",
) -> Iterator[Rows]:
    """Read a table in chunks of a few hundred thousand rows.

    Args:
        file: A .csv (UTF-8, with a header, separated by commas) or .parquet.
        columns: Names of the columns by the keys of `NAMES`; those of None, or not given, are found by `NAMES`.
        with_paths: Whether to read the photos' paths too; a table without them will do otherwise.
        split_by: "user" or "time", to read that column too.
        setting: The config node that names columns, for the messages.

    Raises:
        UserError: The file or a column is missing, a row is malformed, a coordinate is no number, not finite or out of
            range. Names the file, the row and the value.
    """
    keys = [*LIMITS, *(["path"] if with_paths else []), *([split_by] if split_by else [])]
    given = {key: (columns or {}).get(key) for key in keys}
    wanted = {key: NAMES[key] if name is None else name for key, name in given.items()}
    for first, chunk in read_columns(file, wanted, setting):
        degrees = {key: _numbers(chunk[key], f"{file}: row", first, given[key] or key) for key in LIMITS}
        _check(degrees["lat"], degrees["lon"], file, first, setting)
        paths = _texts(chunk["path"], file, first) if with_paths else []
        rows = (f"{file}: row {number}" for number in count(first))
        numbers = split_numbers(split_by, chunk[split_by].to_pylist(), rows) if split_by else np.empty(0)
        yield Rows(first, degrees["lat"], degrees["lon"], paths, numbers)


def _numbers(column: pa.Array, row: str, first: int, name: str) -> NDArray[np.float64]:
    """A column of numbers, or of text that says numbers; missing values are NaN."""
    text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if text:
        column = pc.utf8_trim_whitespace(column)
    try:
        return pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        for index, value in enumerate(column):
            try:
                pc.cast(value, pa.float64())
            except pa.ArrowInvalid as error:
                raise UserError(f"{row} {first + index}: {name}={value.as_py()!r}; expected a number") from error
        raise
    except pa.ArrowNotImplementedError as error:
        raise UserError(f"{row}s hold {name} as {column.type}; expected numbers, in degrees") from error


def _texts(column: pa.Array, file: Path, first: int) -> list[str]:
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise UserError(f"{file}: holds paths as {column.type}; expected text")
    paths = column.to_pylist()
    for index, path in enumerate(paths):
        if not path:
            raise UserError(f"{file}: row {first + index}: has no path")
    return paths


def _check(lat: NDArray[np.float64], lon: NDArray[np.float64], file: Path, first: int, setting: str) -> None:
    """Raise a UserError for the first row whose coordinates are no place on earth."""
    outside = {"lat": ~(np.abs(lat) <= LIMITS["lat"]), "lon": ~(np.abs(lon) <= LIMITS["lon"])}  # NaN too
    bad = outside["lat"] | outside["lon"]
    if not bad.any():
        return
    row = int(bad.argmax())
    problems = [
        f"{key}={values[row]:g}; expected degrees from -{LIMITS[key]} to {LIMITS[key]}"
        for key, values in (("lat", lat), ("lon", lon))
        if outside[key][row]
    ]
    message = f"{file}: row {first + row}: {', '.join(problems)}"
    if not (np.abs(lon) > 90).any() and (np.abs(lat) > 90).mean() > MANY:
        message += (
            f". The two columns are likely swapped, as no longitude is beyond 90: {setting}.lat and {setting}.lon say "
            "which is which"
        )
    raise UserError(message)
