"""Bars where there is a terminal, and nothing elsewhere."""

import sys

import pytest

from tasks.shared.terminal.progress import counted, track


def count(capsys: pytest.CaptureFixture[str]) -> tuple[list[int], str]:
    found = list(track(range(3), "looking"))
    with counted("drawing", 4) as drawn:
        for _ in range(2):
            for _ in range(2):
                drawn()
    return found, capsys.readouterr().out


def test_without_a_terminal_nothing_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert count(capsys) == ([0, 1, 2], "")


def test_a_terminal_sees_both_to_their_ends(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    found, out = count(capsys)
    assert found == [0, 1, 2] and out.count("100%") >= 2 and "looking" in out and "drawing" in out
