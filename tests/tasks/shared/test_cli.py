"""What errors show on a terminal."""

from tasks.shared.cli import text_of
from tasks.shared.errors import UserError


def test_what_a_file_holds_does_not_steer_the_terminal() -> None:
    error = UserError("classes.txt: '\x1b]0;owned\x07', 'Größe', '\udcff'\nsecond line")
    assert text_of(error) == "classes.txt: '\\x1b]0;owned\\x07', 'Größe', '\\udcff'\nsecond line"


def test_what_a_file_holds_does_not_fill_the_terminal() -> None:
    told = text_of(UserError("a.csv: lat=" + "9" * 100_000 + " is no number"))
    assert len(told) < 300 and told.startswith("a.csv: lat=9") and told.endswith("... is no number")
