"""Timing two ways to one answer against each other."""

import multiprocessing
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from statistics import median
from typing import Any, NamedTuple

from tasks.shared.processes.memory import peak_memory

WARM_UP = 0.1  # seconds that each side runs before it is timed
SLOW = 1.0  # seconds: a side that takes so long has warmed up with one call
SLICE = 0.05  # seconds, about: how long each side runs in a round (one call at least)


class Comparison(NamedTuple):
    """Milliseconds a call, medians over the rounds; ratio: peer / ours in a round, so above 1 ours is faster."""

    ours_ms: float
    peer_ms: float
    ratio: float
    ratio_min: float
    ratio_max: float


class Child:
    """A side in a process of its own, for settings that a process cannot take back.

    There `make(*arguments)` returns the side; make must be importable, as a spawned process is given its name only.
    Calling the child calls the side and returns what it returns; the way there and back takes some 50 us.
    """

    def __init__(self, make: Callable[..., Callable[[], object]], *arguments: object):
        context = multiprocessing.get_context("spawn")
        self.pipe, end = context.Pipe()
        self.process = context.Process(target=_serve, args=(end, make, arguments), daemon=True)
        self.process.start()
        end.close()  # the child's alone, so that its death is the end of the pipe

    def __call__(self) -> Any:
        return self._ask("call")

    def peak_memory(self) -> int | None:
        """The most that it has held so far, in MB, by Linux; elsewhere None."""
        return self._ask("peak")

    def _ask(self, what: str) -> Any:
        try:
            self.pipe.send(what)
            return self.pipe.recv()
        except (EOFError, ConnectionError) as error:
            self.process.join()
            raise RuntimeError(f"a side's process ended with status {self.process.exitcode}, see above") from error

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        self.pipe.close()
        self.process.join()


def _serve(pipe: Connection, make: Callable[..., Callable[[], object]], arguments: tuple[object, ...]) -> None:
    side = make(*arguments)
    with suppress(EOFError, BrokenPipeError, KeyboardInterrupt):  # the parent is done
        while True:
            pipe.send(peak_memory() if pipe.recv() == "peak" else side())


def compare(ours: Callable[[], object], peer: Callable[[], object], rounds: int, pause: float = 0) -> Comparison:
    """Time both sides by turns: what slows the machine for a while slows both, and leaves their ratio alone.

    Every second round starts with the peer. A side's time in a round is its median call. pause: seconds before a
    side's turn, in which the threads of the other, in another process, stop looking out for more to do.
    """
    sides = (ours, peer)
    calls = [_warm_up(side) for side in sides]
    times: list[list[float]] = [[], []]
    for turn in range(rounds):
        for side in (0, 1) if turn % 2 == 0 else (1, 0):
            time.sleep(pause)
            times[side].append(median(_seconds(sides[side]) for _ in range(calls[side])))
    return summarise(*times)


def summarise(ours: list[float], peer: list[float]) -> Comparison:
    """Of seconds, a number a round."""
    ratios = [theirs / own for own, theirs in zip(ours, peer, strict=True)]
    ours_ms, peer_ms = (1000 * median(side) for side in (ours, peer))
    return Comparison(ours_ms, peer_ms, median(ratios), min(ratios), max(ratios))


def _warm_up(side: Callable[[], object]) -> int:
    """How many calls fill a slice."""
    if _seconds(side) > SLOW:  # the first does not count: it may be slower than all others
        return 1
    start = time.perf_counter()
    seconds: list[float] = []
    while len(seconds) < 2 or time.perf_counter() - start < WARM_UP:
        seconds.append(_seconds(side))
    return max(1, round(SLICE / median(seconds)))


def _seconds(side: Callable[[], object]) -> float:
    start = time.perf_counter()
    side()
    return time.perf_counter() - start
