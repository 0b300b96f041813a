"""The file of cells: what is read is what was written, and nothing else is read."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from tasks.planet.cells import Cells
from tasks.planet.count import Counter
from tasks.planet.partition import split
from tasks.shared.errors import UserError
from tests.tasks.planet.places import draw_places

PARAMETERS = {"max_photos": 60, "min_photos": 10, "min_level": 0, "max_level": 12}


def make(count: int = 2_000, seed: int = 0) -> Cells:
    counter = Counter(12)
    counter.add(*draw_places(count, seed).T)
    return Cells.of_leaves(split(counter.occupied(), 60, 0, 12), counter.photos, PARAMETERS)


def same(a: Cells, b: Cells) -> bool:
    for column in ("ids", "counts", "means", "centres"):
        mine, other = getattr(a, column), getattr(b, column)
        if not np.array_equal(mine, other) or mine.dtype != other.dtype:
            return False
    return all(getattr(a, k) == getattr(b, k) for k in ("photos", "left_out", "parameters", "tokens", "key"))


def test_a_file_holds_all_of_it(tmp_path: Path) -> None:
    cells = make()
    cells.save(tmp_path / "cells.json")
    assert [p.name for p in tmp_path.iterdir()] == ["cells.json"]
    assert same(Cells.load(tmp_path / "cells.json"), cells)
    content = json.loads((tmp_path / "cells.json").read_text())
    assert content["parameters"] == PARAMETERS
    assert content["photos"] == 2_000 and content["left_out"] == cells.left_out > 0
    row = dict(zip(content["columns"], content["cells"][3], strict=True))
    assert row == {
        "token": cells.tokens[3], "count": cells.counts[3], "mean_lat": cells.means[3, 0],
        "mean_lon": cells.means[3, 1], "centre_lat": cells.centres[3, 0], "centre_lon": cells.centres[3, 1],
    }  # fmt: skip
    assert len((tmp_path / "cells.json").read_text().splitlines()) < len(cells) + 30, "a line a cell"


def test_plain_data_and_processes_carry_it() -> None:
    cells = make()
    assert same(Cells.from_plain(json.loads(json.dumps(cells.plain())), "checkpoint"), cells)
    assert same(pickle.loads(pickle.dumps(cells)), cells)


def test_other_cells_have_another_key() -> None:
    assert make().key == make().key
    assert len({make().key, make(seed=1).key, make(1_900).key}) == 3


def spoil(content: dict, how: str) -> None:
    row = content["cells"][2]
    if how == "format":
        content["format"] = "mobilenet-toolkit cells 0"
    elif how == "no cells":
        del content["cells"]
    elif how == "empty":
        content["cells"] = []
    elif how == "token":
        row[0] = "xyz"
    elif how == "short row":
        row.pop()
    elif how == "text":
        row[2] = "north"
    elif how == "count":
        row[1] += 1
    elif how == "order":
        content["cells"][0], content["cells"][1] = content["cells"][1], content["cells"][0]
    elif how == "key":
        content["key"] = "0123456789abcdef"
    elif how == "photos":
        content["photos"] = None


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("format", "not a file of cells"), ("no cells", "damaged"), ("empty", "damaged"),
        ("token", "'xyz' is no token"), ("short row", "damaged"), ("text", "damaged"), ("count", "was changed"),
        ("order", "was changed"), ("key", "0123456789abcdef"), ("photos", "damaged"),
    ],
)  # fmt: skip
def test_a_spoilt_file_is_refused(how: str, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "cells.json"
    make().save(file)
    content = json.loads(file.read_text())
    spoil(content, how)
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=expected) as error:
        Cells.load(file)
    assert str(file) in str(error.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"hello", b'{"format": 1', b"\xff\xfe\x00"])
def test_what_is_no_file_of_cells_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "cells.json").write_bytes(content)
    with pytest.raises(UserError, match=r"cells\.json: not a file of cells"):
        Cells.load(tmp_path / "cells.json")
    with pytest.raises(UserError, match=r"none\.json: cannot be read"):
        Cells.load(tmp_path / "none.json")
