"""Verdicts, worked by hand."""

from fractions import Fraction

import pytest

from tasks.shared.paper.rows import CUT, ROUNDED, Printed
from tasks.shared.paper.verdict import judge


@pytest.mark.parametrize(
    ("text", "unit", "count", "verdict"),
    [
        ("569", "M", 568_740_352, ROUNDED),
        ("569", "M", 568_500_000, ROUNDED),
        ("569", "M", 568_499_999, "differs by -0.1 %"),
        ("569", "M", 569_500_000, CUT),
        ("569", "M", 570_000_000, "differs by +0.2 %"),
        ("290", "M", 290_675_200, CUT),
        ("4.2", "M", 4_209_088, ROUNDED),
        ("4.2", "M", 4_299_999, CUT),
        ("4.2", "M", 4_300_000, "differs by +2.4 %"),
        ("94.86", "%", Fraction(9_488_500, 10_000_000), "differs by +0.03 %"),
        ("1.20", "B", 1_237_129_408, "differs by +3.1 %"),
        ("1.2", "B", 1_237_129_408, ROUNDED),
        ("0.18", "%", Fraction(18, 10_000), ROUNDED),
        ("0.18", "%", Fraction(185, 100_000), CUT),
    ],
)
def test_the_printed_digits_decide(text: str, unit: str, count: int | Fraction, verdict: str) -> None:
    state = "differs" if verdict.startswith("differs") else "equal"
    assert judge(Printed(text, known=verdict), unit, [count]) == (verdict, state)


def test_digits_that_do_not_count() -> None:
    assert judge(Printed("15300", digits=3), "M", [15_346_630_656]) == (ROUNDED, "equal")
    text, state = judge(Printed("15300"), "M", [15_346_630_656])
    assert state == "alarm" and "differs by +0.3 %" in text


def test_the_first_reading_that_fits_decides_and_tells_its_count() -> None:
    printed = Printed("4866", ("", "without FC", "else"), f"{ROUNDED}, without FC")
    counts = [4_867_293_184, 4_866_269_184, 4_866_000_000]
    assert judge(printed, "M", counts) == (f"{ROUNDED}, without FC (4,866,269,184)", "equal")


def test_where_none_fits_all_are_told() -> None:
    known = "differs by -51.8 %, counted twice by -3.7 %"
    told = "why, differs by -51.8 %, counted twice (1,637,849,152) by -3.7 %"
    counts = [818_924_576, 1_637_849_152]
    assert judge(Printed("1700", ("", "counted twice"), known, "why"), "M", counts) == (told, "differs")


def test_any_other_verdict_than_the_known_one_is_an_alarm() -> None:
    assert judge(Printed("41"), "M", [43_000_000]) == (f"DIFFERS: differs by +4.9 %; known as: {ROUNDED}", "alarm")
    assert judge(Printed("41", known=CUT), "M", [41_000_000]) == (f"DIFFERS: {ROUNDED}; known as: {CUT}", "alarm")
    known = "differs by -4.9 %"
    assert judge(Printed("41", known=known), "M", [41_000_000]) == (f"DIFFERS: {ROUNDED}; known as: {known}", "alarm")
