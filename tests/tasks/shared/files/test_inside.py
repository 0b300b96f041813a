"""File names that lead out of their folder, in every list that names images."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tasks.shared.config.compose import parse_overrides
from tasks.shared.config.consent import hear
from tasks.shared.detection.data import CocoData
from tasks.shared.errors import UserError
from tasks.shared.faces.lfw import read_pairs
from tasks.shared.files.inside import check_inside, check_inside_all

WITHIN = ("a.jpg", "a/b.jpg", "a..b/c..jpg", "..a/x", "...", "a/...", "", ".hidden")
WITHOUT = ("/a", "\\a", "C:x", "c:/x", "../x", "a/../x", "a\\..\\x", "..", "a/..", "a/../../x", "a\0b", "x\n/../y")


def test_names_within_pass_and_names_without_are_told() -> None:
    check_inside(WITHIN, "list", "")
    check_inside_all(np.array([name.encode() for name in WITHIN]), "list", "")
    for name in WITHOUT:
        with pytest.raises(UserError, match=r"^list: .*leads out of the images' folder; a hint"):
            check_inside([*WITHIN, name], "list", "a hint")
        if "\0" not in name:
            with pytest.raises(UserError, match=r"^list: .*; a hint"):
                check_inside_all(np.array([n.encode() for n in (*WITHIN, name)]), "list", "a hint")


def test_coco_images_outside_are_refused_unless_the_command_allows_them(
    write_coco: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    places = {split: write_coco(tmp_path / "set", split) for split in ("train2017", "val2017")}
    file = Path(places["val2017"]["annotations"])
    content = json.loads(file.read_text())
    first = content["images"][0]
    for name in (f"../val2017/{first['file_name']}", str(Path(places["val2017"]["images"]) / first["file_name"])):
        first["file_name"] = name
        file.write_text(json.dumps(content))
        with pytest.raises(UserError, match=r"instances_val2017\.json: .*; data\.allow_outside=true"):
            CocoData(places["train2017"], places["val2017"], resolution=64)
        CocoData(places["train2017"], places["val2017"], resolution=64, allow_outside=True)
        hear([], carried=True)
        with pytest.raises(UserError, match=r"data\.allow_outside=true"):
            CocoData(places["train2017"], places["val2017"], resolution=64, allow_outside=True)
        hear(parse_overrides(["data.allow_outside=true"]), carried=True)
        CocoData(places["train2017"], places["val2017"], resolution=64, allow_outside=True)
        hear([], carried=False)


def test_people_of_pairs_are_names(tmp_path: Path) -> None:
    file = tmp_path / "pairs.txt"
    file.write_text("1\n../../x\t1\t2\n../../x\t1\tanna\t2\n")
    with pytest.raises(UserError, match=r"pairs\.txt: '\.\./\.\./x', leads out"):
        read_pairs(file)
