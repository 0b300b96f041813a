"""The official lists themselves, where MOBILENET_TOOLKIT_LISTS names a folder that holds them."""

import os
from pathlib import Path

import numpy as np
import pytest

from tasks.shared.errors import UserError
from tasks.shared.faces.celeba import check_count
from tasks.shared.faces.lfw import read_pairs
from tasks.shared.faces.lists import read_attributes

LISTS = Path(os.environ.get("MOBILENET_TOOLKIT_LISTS", ""))
pytestmark = pytest.mark.skipif(
    "MOBILENET_TOOLKIT_LISTS" not in os.environ, reason="needs LFW's pairs.txt and CelebA's list of attributes"
)


def test_lfws_pairs() -> None:
    pairs = read_pairs(LISTS / "lfw_pairs.txt")
    same = np.array([first[0] == second[0] for first, second in pairs.shots])
    assert len(pairs.shots) == 6000
    for fold in range(10):
        assert (same[pairs.folds == fold].sum(), (pairs.folds == fold).sum()) == (300, 600)


def test_celebas_attributes() -> None:
    file = LISTS / "list_attr_celeba_20k.txt"
    rows = read_attributes(file)
    assert len(rows.names) == 40 and rows.values.shape == (20_000, 40) and rows.announced == 202_599
    assert rows.files[0] == b"000001.jpg" and rows.names[rows.values[0].argmax()] == "Arched_Eyebrows"
    with pytest.raises(UserError, match=r"says 202,599 rows, but 20,000 follow.* 182,599 are missing"):
        check_count(file, rows, "error")
