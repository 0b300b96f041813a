"""Lives of a tool: processes that run it, and are killed."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ENVIRONMENT = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
ENVIRONMENT["PYTHONPATH"] = str(HERE.parents[1])  # this code, and no other that is installed
ORPHANS_LAST = 30  # seconds in which the loader processes of one that was killed must have ended by themselves


@dataclass(frozen=True)
class Plan:
    """How a life ends: a signal after `at` seconds, or before the change of the file system with number `before`.

    whole_group: the loader processes get it too, as from Ctrl-C in a terminal; or the main process alone.
    """

    signal: str
    whole_group: bool
    at: float | None = None
    before: int | None = None

    def __str__(self) -> str:
        moment = f"after {self.at:.3f} s" if self.at is not None else f"before change {self.before}"
        return f"{self.signal} {moment} to {'its group' if self.whole_group else 'it alone'}"


@dataclass(frozen=True)
class Life:
    """What became of one. status: its exit status, or minus the signal that ended it. killed: the signal was sent."""

    status: int
    seconds: float
    killed: bool
    hung: bool
    log: str


@dataclass
class Lives:
    """Begins lives one after the other, forked from one process or, where `real`, as `python tools/<tool>.py`."""

    folder: Path  # for logs
    orphaned: list[tuple[int, float]] = field(default_factory=list)

    def __enter__(self) -> "Lives":
        self.server = subprocess.Popen(
            [sys.executable, str(HERE / "fork_server.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT, cwd=self.folder,
        )  # fmt: skip
        told = self._answer()
        assert len(told["threads"]) == 1, f"importing the toolkit starts threads, cannot be forked from: {told}"
        return self

    def __exit__(self, *_: object) -> None:
        assert self.server.stdin and self.server.stdout
        self.server.stdin.close()
        self.server.wait(60)
        self.server.stdout.close()

    def live(
        self, tool: str, arguments: list[str], cwd: Path, plan: Plan | None = None, real: bool = False, limit: int = 180
    ) -> Life:
        """Run a tool to its end. limit: seconds after which it counts as hung."""
        log = self.folder / "life.log"
        order = {
            "tool": tool, "arguments": arguments, "cwd": str(cwd), "log": str(log), "limit": limit,
            "signal": plan.signal if plan else None, "whole_group": bool(plan and plan.whole_group),
            "kill_at": plan.at if plan else None, "kill_before": plan.before if plan else None,
            "count_changes": plan is None,
        }  # fmt: skip
        if real:
            return self._really(order, log)
        assert self.server.stdin
        self.server.stdin.write(json.dumps(order) + "\n")
        self.server.stdin.flush()
        told = self._answer()
        text = log.read_text(errors="replace")
        self.orphaned.append((told["pid"], time.monotonic()))
        killed = told["sent"] or "\n[SIG" in text
        return Life(told["status"], told["seconds"], killed, told["hung"], text)

    def orphans(self) -> list[int]:
        """Process groups in which somebody still lives long after the main process ended."""
        left = []
        for group, since in self.orphaned:
            while (alive := _alive(group)) and time.monotonic() < since + ORPHANS_LAST:
                time.sleep(0.2)
            if alive:
                left.append(group)
                os.killpg(group, signal.SIGKILL)
        self.orphaned.clear()
        return left

    def _really(self, order: dict[str, Any], log: Path) -> Life:
        command = [sys.executable, str(HERE.parents[1] / "tools" / f"{order['tool']}.py"), *order["arguments"]]
        begun, sent, hung = time.monotonic(), False, False
        with log.open("w") as file:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd=order["cwd"], start_new_session=True,
                env=ENVIRONMENT,
            )  # fmt: skip
            try:
                process.wait(order["limit"] if order["kill_at"] is None else order["kill_at"])
            except subprocess.TimeoutExpired:
                sent = order["kill_at"] is not None
                if sent:
                    number = signal.Signals[order["signal"]]
                    os.killpg(process.pid, number) if order["whole_group"] else process.send_signal(number)
                try:
                    process.wait(order["limit"])
                except subprocess.TimeoutExpired:
                    hung = True
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        self.orphaned.append((process.pid, time.monotonic()))
        return Life(process.returncode, time.monotonic() - begun, sent, hung, log.read_text(errors="replace"))

    def _answer(self) -> dict[str, Any]:
        assert self.server.stdout
        line = self.server.stdout.readline()
        assert line, "the fork server has died"
        return json.loads(line)


def _alive(group: int) -> bool:
    """Whether a process of this group lives; one that only waits to be asked for its status does not."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, pgrp = stat.read_text().rpartition(")")[2].split()[:3]
        except (OSError, ValueError):
            continue
        if int(pgrp) == group and state != "Z":
            return True
    return False
