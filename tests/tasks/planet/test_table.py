"""Tables of coordinates: what is read, and how mistakes in them are told."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from tasks.planet.table import Rows, read_table
from tasks.shared.data import table as shared_table
from tasks.shared.errors import UserError
from tests.tasks.planet.places import draw_places, write_table


def write(folder: Path, content: str | bytes, name: str = "photos.csv") -> Path:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def read(file: Path, **arguments: Any) -> Rows:
    """All rows as one."""
    chunks = list(read_table(file, **arguments))
    firsts = np.cumsum([1, *(len(chunk.lat) for chunk in chunks)])
    assert [chunk.first for chunk in chunks] == firsts[:-1].tolist()
    lat, lon = (np.concatenate([getattr(chunk, key) for chunk in chunks]) for key in ("lat", "lon"))
    return Rows(1, lat, lon, [path for chunk in chunks for path in chunk.paths])


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".CSV"])
def test_both_formats_in_chunks(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_table, "BLOCK", 10_000)
    monkeypatch.setattr(shared_table, "ROWS", 300)
    file = tmp_path / f"photos{suffix}"
    write_table(tmp_path / f"photos{suffix.lower()}", 1_000)
    if suffix == ".CSV":
        (tmp_path / "photos.csv").rename(file)
    rows = read(file, with_paths=True)
    assert len(list(read_table(file))) > 3
    np.testing.assert_array_equal(np.stack([rows.lat, rows.lon], axis=1), draw_places(1_000))
    assert rows.paths[::999] == ["photos/000000000.jpg", "photos/000000999.jpg"]
    assert read(file).paths == []


@pytest.mark.parametrize(
    "text",
    [
        "lat,lon,path\n1.5,-2,a b.jpg\n-90,180,c.jpg\n",
        "\ufefflat,lon,path\r\n1.5,-2,a b.jpg\r\n-90,180,c.jpg\r\n",
        'path,"Latitude", LNG \n"a b.jpg",1.5,-2\n\nc.jpg, -90 ,+180',
        'name,longitude,lat,file\n"two\nlines, one place",-2,15e-1,a b.jpg\n,180,-90.0,c.jpg\n',
    ],
)
def test_how_tables_are_written_by_others(text: str, tmp_path: Path) -> None:
    rows = read(write(tmp_path, text), with_paths=True)
    assert rows.lat.tolist() == [1.5, -90] and rows.lon.tolist() == [-2, 180]
    assert rows.paths == ["a b.jpg", "c.jpg"]


def test_columns_can_be_named(tmp_path: Path) -> None:
    file = write(tmp_path, "lat,lon,y,x,where\n0,0,10,20,a\n")
    rows = read(file, columns={"lat": "y", "lon": "x", "path": "where"}, with_paths=True)
    assert (rows.lat.tolist(), rows.lon.tolist(), rows.paths) == ([10], [20], ["a"])


@pytest.mark.parametrize("kind", [pa.float32(), pa.int16(), pa.string(), pa.decimal128(9, 4)])
def test_numbers_of_any_type_in_parquet(kind: pa.DataType, tmp_path: Path) -> None:
    numbers = pa.array(["12", "-90"]).cast(pa.decimal128(9, 4)).cast(pa.string() if kind == pa.string() else kind)
    pyarrow.parquet.write_table(pa.table({"lat": numbers, "lon": numbers}), tmp_path / "x.parquet")
    assert read(tmp_path / "x.parquet").lat.tolist() == [12, -90]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lat,lon\n0,100\n91,3\n", "row 2: lat=91; expected degrees from -90 to 90"),
        ("lat,lon\n0,0\n0,0\n0,-180.5\n", "row 3: lon=-180.5; expected degrees from -180 to 180"),
        ("lat,lon\n200,200\n", "lat=200; expected degrees from -90 to 90, lon=200; expected"),
        ("lat,lon\nnan,0\n", "row 1: lat=nan"),
        ("lat,lon\n0,inf\n", "row 1: lon=inf"),
        ("lat,lon\n0,0\n,5\n", "row 2: lat=''; expected a number"),
        ("lat,lon\n0,0\n1,\n", "row 2: lon=''; expected a number"),
        ("lat,lon\n0,0\n1,east\n", "row 2: lon='east'; expected a number"),
        ('lat,lon\n"1,5",0\n', "row 1: lat='1,5'; expected a number"),
        ("lat,lon\n0,0\n1\n", "row 2: Expected 2 columns, got 1"),
        ("lat,lon\n0,0\n1,2,3\n", "row 2: Expected 2 columns, got 3"),
        ("", "is empty"),
        ("\n", "is empty"),
        ("lat,lon\n", "holds no rows"),
        ("lat,lon", "holds no rows"),
        ("lat,lon\n\n\n", "holds no rows"),
        ("path,lat\na,1\n", "no column for columns.lon: expected lon or lng or long or longitude, or columns.lon=NAME"),
        ("a,b\n1,2\n", "columns.lat: .*columns.lon: .*Its columns: a, b"),
        ("lat,latitude,lon\n1,1,1\n", "lat and latitude may each be the column columns.lat"),
        ("lat,lon,lat\n1,1,1\n", "lat and lat may each"),
        ("lat;lon\n1;2\n", "separated by ';'; expected commas"),
        ("lat\tlon\n1\t2\n", "separated by"),
        (b"lat,lon\n\xff\xfe,1\n", "photos.csv"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "photos.csv"),
    ],
)
def test_mistakes_in_csv(text: str | bytes, expected: str, tmp_path: Path) -> None:
    file = write(tmp_path, text)
    with pytest.raises(UserError, match=expected) as error:
        read(file)
    assert str(file) in str(error.value)


def test_swapped_columns_are_named_as_likely(tmp_path: Path) -> None:
    places = draw_places(1_000)
    rows = "".join(f"{lat},{lon}\n" for lat, lon in places)
    with pytest.raises(UserError, match=r"lat=.*two columns are likely swapped.*columns\.lat") as error:
        read(write(tmp_path, "lon,lat\n" + rows))
    first = int(np.argmax(np.abs(places[:, 1]) > 90)) + 1
    assert f"row {first}: lat={places[first - 1, 1]:g};" in str(error.value)
    read(write(tmp_path, "lat,lon\n" + rows))
    one_wrong = "lat,lon\n" + rows + "91,0\n"
    with pytest.raises(UserError, match="row 1001: lat=91") as error:
        read(write(tmp_path, one_wrong))
    assert "likely" not in str(error.value)


def test_a_bad_row_far_down_has_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_table, "BLOCK", 5_000)
    good = "12.5,100.25\n" * 3_000
    for bad, expected in (("x,1", "row 3001: lat='x'"), ("95,1", "row 3001: lat=95"), ("1", "row 3001: Expected 2")):
        with pytest.raises(UserError, match=expected):
            read(write(tmp_path, f"lat,lon\n{good}{bad}\n{good}"))


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"lat": [1.0, None], "lon": [0.0, 0.0]}, "row 2: lat=nan"),
        ({"lat": [1.0, 2.0], "lon": ["3", "east"]}, "row 2: lon='east'"),
        ({"lat": [[1.0], [2.0]], "lon": [0.0, 0.0]}, "column lat holds lists or structures"),
        ({"lat": [1.0], "path": ["a"]}, "no column for columns.lon"),
        ({"lat": pa.array([], pa.float64()), "lon": pa.array([], pa.float64())}, "holds no rows"),
    ],
)
def test_mistakes_in_parquet(columns: dict[str, Any], expected: str, tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "x.parquet")
    with pytest.raises(UserError, match=expected) as error:
        read(tmp_path / "x.parquet")
    assert str(tmp_path / "x.parquet") in str(error.value)


@pytest.mark.parametrize(
    ("paths", "expected"), [(["a", None], "row 2: has no path"), (["", "b"], "row 1: has no"), ([1, 2], "as int64")]
)
def test_paths_that_are_none(paths: list, expected: str, tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pa.table({"lat": [1, 2], "lon": [1, 2], "path": paths}), tmp_path / "x.parquet")
    assert read(tmp_path / "x.parquet").lat.tolist() == [1, 2]
    with pytest.raises(UserError, match=expected):
        read(tmp_path / "x.parquet", with_paths=True)


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    for name, expected in (
        ("x.txt", r"x\.txt: expected a table with the suffix \.csv or \.parquet"),
        ("none.csv", r"none\.csv: no such file"),
        ("folder.csv", r"folder\.csv: is a folder"),
        ("text.parquet", r"text\.parquet: cannot be read"),
        ("empty.parquet", r"empty\.parquet: cannot be read"),
    ):
        (tmp_path / "folder.csv").mkdir(exist_ok=True)
        (tmp_path / "x.txt").write_text("lat,lon\n1,2\n")
        (tmp_path / "text.parquet").write_text("lat,lon\n1,2\n" * 100)
        (tmp_path / "empty.parquet").touch()
        with pytest.raises(UserError, match=expected):
            read(tmp_path / name)
