"""Which data sets have the same classes."""

from pathlib import Path

import pytest

from tasks.shared.errors import UserError
from tasks.shared.files.names import read_classes, same_classes


def test_classes_are_the_same_by_their_ids() -> None:
    cranes = {"class_ids": ["n02012849", "n03126707"], "class_names": ["crane", "crane"]}
    assert same_classes(cranes, cranes | {"class_names": ["crane, bird", "crane, machine"]})
    assert not same_classes(cranes, cranes | {"class_ids": ["n03126707", "n02012849"]}), "another order"
    assert not same_classes(cranes, {"class_ids": ["n02012849"], "class_names": ["crane"]})


def test_without_class_ids_all_that_is_known_counts() -> None:
    """The numbers of COCO's categories are anybody's: 1 and 2 in one file are not those of another."""
    coco = {"category_ids": [1, 2], "class_names": ["red", "green"]}
    assert same_classes(coco, dict(coco))
    assert not same_classes(coco, coco | {"class_names": ["cat", "dog"]})
    assert not same_classes(coco, {"class_ids": ["1", "2"], "class_names": ["red", "green"]})


def test_a_list_of_classes_has_one_a_line(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("n1\n\n n2 \n")
    assert read_classes(tmp_path / "classes.txt", "data.classes") == ["n1", "n2"]
    with pytest.raises(UserError, match=r"data\.classes=.*none\.txt: no such file"):
        read_classes(tmp_path / "none.txt", "data.classes")
