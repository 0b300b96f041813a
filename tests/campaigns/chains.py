"""A run that is killed, goes on, is killed again, and so on until it is finished."""

import random
import re
import shlex
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.campaigns.compared import differences
from tests.campaigns.lives import Life, Lives, Plan

SIGNALS = ("SIGINT", "SIGTERM", "SIGKILL")
ADVICE = re.compile(r"goe?s? on with: python tools/train\.py (.*)")
REAL = 0.1  # of the lives that are a `python tools/train.py` of their own
STARTING = 3.5  # seconds that such a process takes to get where a forked one begins


@dataclass(frozen=True)
class Whole:
    """The run that nobody stops: its folder, how long it took, and how often it changed the file system."""

    run: Path
    seconds: float
    changes: int


@dataclass
class Tally:
    """What a campaign counts, and what it finds."""

    kills: Counter[tuple[str, str]] = field(default_factory=Counter)  # by signal, and moment
    chains: int = 0
    longest: int = 0
    findings: list[str] = field(default_factory=list)

    def table(self, config: str) -> str:
        """Rows of a Markdown table: signals, then moments."""
        by_signal, by_moment = Counter[str](), Counter[str]()
        for (number, moment), count in self.kills.items():
            by_signal[number] += count
            by_moment[moment] += count
        signals = " | ".join(str(by_signal[name]) for name in SIGNALS)
        moments = " | ".join(str(by_moment[name]) for name in MOMENTS)
        total = sum(by_signal.values())
        return f"| {config} | {self.chains} | {total} | {signals} | {moments} | {len(self.findings)} |"


MOMENTS = ("before the run's folder", "before the first checkpoint", "in epochs", "in writing", "in scoring")
HEADER = "\n".join(
    [
        f"| config | chains | kills | {' | '.join(SIGNALS)} | {' | '.join(MOMENTS)} | findings |",
        "|---" * (4 + len(SIGNALS) + len(MOMENTS)) + "|",
    ]
)


def whole_run(lives: Lives, arguments: list[str], place: Path) -> Whole:
    """The run to compare with, in `place`/run."""
    life = lives.live("train", arguments, place)
    assert life.status == 0, life.log
    changes = re.findall(r"^\[change (\d+)\]$", life.log, re.MULTILINE)
    return Whole(place / "run", life.seconds, int(changes[-1]))


def chain(
    lives: Lives, arguments: list[str], place: Path, whole: Whole, dice: random.Random, tally: Tally, most: int
) -> None:
    """One chain in `place`, with at most `most` kills; what is found goes to `tally`, with how to repeat it."""
    run, command, told, kills = place / "run", arguments, [f"chain {tally.chains}"], 0
    tally.chains += 1

    def find(what: str, life: Life) -> None:
        told.append(f"    {what}\n{_tail(life.log)}")
        tally.findings.append("\n".join(told))

    while True:
        plan = _plan(dice, whole) if kills < most else None
        real = plan is not None and plan.at is not None and dice.random() < REAL
        if real:
            assert plan and plan.at is not None
            plan = Plan(plan.signal, plan.whole_group, at=plan.at * (whole.seconds + STARTING) / whole.seconds)
        life = lives.live("train", command, place, plan, real)
        told.append(f"  {shlex.join(command)}: {plan}{', a process of its own' if real else ''}: {life.status}")
        if life.hung:
            return find("hung", life)
        if not life.killed and life.status != 0:
            if ADVICE.search(life.log) and (advised := next_command(life, run, arguments, command)) != command:
                command = advised  # such as after SIGKILL, when nothing said what a command line has to say again
                told.append("    asks for more")
                continue
            if command != arguments and "error: " in life.log and not (run / "config.yaml").exists():
                command = arguments  # nothing to go on from: it is begun again
                if told[-2].endswith("nothing there"):
                    return find("neither goes on nor begins again", life)
                told.append("    nothing there")
                continue
            return find("did not go on", life)
        if life.status == 0:
            break
        assert plan is not None
        kills += 1
        tally.kills[plan.signal, moment(life, run)] += 1
        tally.longest = max(tally.longest, kills)
        if "Traceback" in life.log and not _importing(life.log):
            return find("traceback", life)
        command = next_command(life, run, arguments, command)
    if wrong := differences(whole.run, run):
        find("; ".join(wrong), life)
    if left := lives.orphans():
        find(f"processes that outlive their run: {left}", life)


def next_command(life: Life, run: Path, arguments: list[str], command: list[str]) -> list[str]:
    """What a user types now: what the tool said, or else `resume=` of the run's folder, if there is one."""
    advice = ADVICE.findall(life.log)
    if advice:
        return shlex.split(advice[-1])
    if command != arguments:
        return command
    return [f"resume={run.name}"] if run.exists() else arguments


def moment(life: Life, run: Path) -> str:
    """Where in its life a run was killed, as far as its folder and its words tell."""
    stopped = re.search(r"^\[SIG\w+ before \S+ of (.*)\]$", life.log, re.MULTILINE)
    if not run.exists():
        return MOMENTS[0]
    if (stopped and LOG not in stopped[1]) or any(run.rglob(".part-*")) or any(run.rglob("*.part")):
        return MOMENTS[3]
    folders = [run, *(folder for folder in (run / "stages").glob("*"))]
    if not any((folder / "checkpoints/last.ckpt").exists() for folder in folders):
        return MOMENTS[1]
    said = [tuple(map(int, found)) for found in re.findall(r"^epoch (\d+)/(\d+) ", life.log, re.MULTILINE)]
    last = life.log.rfind("epoch ")
    return MOMENTS[4] if said and said[-1][0] == said[-1][1] and "stage " not in life.log[last:] else MOMENTS[2]


LOG = "/logs/"


def _plan(dice: random.Random, whole: Whole) -> Plan:
    number, group = dice.choice(SIGNALS), dice.random() < 0.5
    if dice.random() < 0.4:
        return Plan(number, group, before=dice.randint(1, whole.changes))
    return Plan(number, group, at=dice.uniform(0, whole.seconds))


def _importing(log: str) -> bool:
    """Whether the process was stopped while Python imported what the tool needs to say anything."""
    return "KeyboardInterrupt" in log and "run_tool(" not in log


def _tail(log: str, lines: int = 25) -> str:
    kept = [line for line in log.splitlines() if not line.startswith("[change ")]
    return "\n".join(f"      {line}" for line in kept[-lines:])
