"""What a table of the paper becomes: our figures beside the printed ones, before it is written in any format."""

from dataclasses import dataclass
from typing import Literal

State = Literal["equal", "differs", "alarm", ""]


@dataclass(frozen=True)
class Figure:
    """One figure, ours beside the paper's.

    ours: a count; a share in percent; a text; None where there is nothing of ours. unit: of the printed figure.
    state: "equal" and "differs" are as known (a verdict that differs says why), "alarm" is what should not be; empty
    where nothing is compared.
    """

    ours: int | float | str | None
    paper: str = ""
    unit: str = ""
    verdict: str = ""
    state: State = ""


@dataclass(frozen=True)
class Found:
    """An accuracy of a run of ours: percent, the data that it was evaluated on, and the run's folder."""

    percent: float
    data: str
    folder: str


@dataclass(frozen=True)
class Line:
    """A row: its figures by what they are of, accuracies as the paper prints them and of our runs, and its notes."""

    name: str
    experiment: str
    figures: dict[str, Figure]
    accuracy: str = ""
    found: tuple[Found, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sheet:
    """A table. accuracy: what its accuracies are called; empty where it has none."""

    number: int
    title: str
    lines: tuple[Line, ...]
    accuracy: str = ""

    @property
    def columns(self) -> list[str]:
        """What its figures are of."""
        return list(dict.fromkeys(name for line in self.lines for name in line.figures))

    @property
    def notes(self) -> list[str]:
        """All notes, each once, in the order of the rows."""
        return list(dict.fromkeys(note for line in self.lines for note in line.notes))

    @property
    def alarms(self) -> list[str]:
        """What should not be, named."""
        return [
            f"Table {self.number}, {line.name}, {what}: {figure.verdict}"
            for line in self.lines
            for what, figure in line.figures.items()
            if figure.state == "alarm"
        ]
