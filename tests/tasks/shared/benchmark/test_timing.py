"""Timing by turns, and sides in processes of their own."""

import operator
import os
import platform
import sys
from functools import partial

import numpy as np
import pytest

from tasks.shared.benchmark import timing
from tasks.shared.benchmark.timing import Child, Comparison, compare


def make_clock(monkeypatch: pytest.MonkeyPatch) -> tuple[list[float], list[str]]:
    """Seconds, which sides let pass; and whose turn it was."""
    clock, turns = [0.0], [""]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])
    return clock, turns


def test_compare_takes_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, turns = make_clock(monkeypatch)

    def side(name: str, seconds: float) -> None:
        clock[0] += seconds
        if turns[-1] != name:
            turns.append(name)

    times = compare(lambda: side("ours", 0.001), lambda: side("peer", 0.003), rounds=3)
    # Both warm up; then ours, peer; peer, ours; ours, peer.
    assert turns == ["", "ours", "peer", "ours", "peer", "ours", "peer"]
    assert times == pytest.approx(Comparison(ours_ms=1, peer_ms=3, ratio=3, ratio_min=3, ratio_max=3))


def test_a_slow_side_is_called_once_to_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, turns = make_clock(monkeypatch)

    def side(name: str, seconds: float) -> None:
        clock[0] += seconds
        turns.append(name)

    times = compare(lambda: side("ours", 2.0), lambda: side("peer", 6.0), rounds=2)
    assert turns == ["", "ours", "peer", "ours", "peer", "peer", "ours"]
    assert times == pytest.approx(Comparison(ours_ms=2000, peer_ms=6000, ratio=3, ratio_min=3, ratio_max=3))


def test_a_child_answers_from_another_process() -> None:
    with Child(partial, operator.add, 2, 3) as add, Child(partial, os.getpid) as whose:
        assert add() == add() == 5
        assert whose() == whose() != os.getpid()
    assert not add.process.is_alive()
    assert not whose.process.is_alive()


def test_a_child_that_dies_is_an_error() -> None:
    with Child(partial, sys.exit, 3) as side, pytest.raises(RuntimeError, match="ended with status 3"):
        side()


def hold(megabytes: int) -> None:
    np.ones(megabytes << 20, np.uint8)


@pytest.mark.skipif(platform.system() != "Linux", reason="elsewhere it is not known")
def test_a_childs_peak_of_memory_is_its_own() -> None:
    hold(400)  # which the child's must not begin with
    with Child(partial, hold, 1) as small, Child(partial, hold, 300) as large:
        small()
        large()
        few, many = small.peak_memory(), large.peak_memory()
    assert few is not None and many is not None
    assert 270 < many - few < 330 and few < 400
