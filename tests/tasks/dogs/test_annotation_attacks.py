"""Annotations of Stanford Dogs that lie."""

from pathlib import Path

import pytest

from tasks.dogs.stanford import largest_box
from tests.limits import assert_refused

SIDES = "<ymin>1</ymin><xmax>9</xmax><ymax>9</ymax>"
BOX = f"<annotation><object><bndbox><xmin>{{}}</xmin>{SIDES}</bndbox></object>{{}}</annotation>"
ENTITIES = "".join(f'<!ENTITY a{n} "&a{n - 1};&a{n - 1};">' for n in range(1, 40))


@pytest.mark.parametrize(
    "text",
    [
        f'<!DOCTYPE x [<!ENTITY a0 "ha">{ENTITIES}]><annotation>&a39;</annotation>',
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]><annotation>&a;</annotation>',
        "<a>" * 400_000,
        BOX.format("nan", ""),
        BOX.format("1e999", ""),
        BOX.format("x", ""),
        BOX.format("1", "<!-- " + "long " * 300_000 + "-->"),
        "",
    ],
)
def test_it_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_text(text, "utf-8")
    assert_refused(lambda: largest_box(tmp_path / "a"), f"{tmp_path / 'a'}: not a readable annotation")


def test_an_honest_one_with_a_comment_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(BOX.format(1, "<!-- a dog -->"), "utf-8")
    assert largest_box(tmp_path / "a") == (1, 1, 9, 9)
