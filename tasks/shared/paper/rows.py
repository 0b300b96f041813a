"""What the paper's tables print, and which networks their rows are: shapes of data, no torch."""

from dataclasses import dataclass

ROUNDED, CUT = "equal by rounding", "equal by truncation"
UNITS = {"M": 10**6, "B": 10**9}  # of printed figures; "%" is of a share


@dataclass(frozen=True)
class Preset:
    """A network of this toolkit, composed from configs/experiment/<experiment>.yaml.

    num_classes: what its data would tell. settings: overrides on top. part: the layers that are counted, by how their
    names begin; empty for all.
    """

    experiment: str
    num_classes: int
    settings: tuple[str, ...] = ()
    part: str = ""


@dataclass(frozen=True)
class Comparator:
    """A network of torchvision's by its name there; size: side of the input image in pixels."""

    name: str
    num_classes: int = 1000
    size: int = 224


Network = Preset | Comparator


@dataclass(frozen=True)
class Printed:
    """A figure as the paper prints it.

    text: its digits; of these `digits` count, None for all (a trailing zero may be one). Empty: ours alone is told.
    readings: how the network is counted, names of `tasks.shared.paper.counting.READINGS`. The first is what is printed
        as ours; the others are tried in their order where it does not give the paper's figure.
    known: the verdict that a right count gets (`tasks.shared.paper.verdict`); any other is an alarm.
    why: a few words for a figure that differs.
    """

    text: str
    readings: tuple[str, ...] = ("",)
    known: str = ROUNDED
    why: str = ""
    digits: int | None = None


@dataclass(frozen=True)
class Row:
    """A row: what it is called, its network (None: we have no module of it), and what the paper prints of it.

    mult_adds, parameters: None where there is nothing to tell. accuracy: as printed, empty for none.
    metric: of metrics.json; empty for the table's. notes: what there is to say of it, an erratum for example.
    """

    name: str
    network: Network | None
    mult_adds: Printed | None = None
    parameters: Printed | None = None
    accuracy: str = ""
    metric: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table of the paper.

    units: of the printed mult-adds and parameters, keys of UNITS or "%".
    accuracy: what its accuracies are called; empty for none. metric: a share of metrics.json, that is printed in %.
    condition: another figure of metrics.json and the value that it has to have for the metric to be this one.
    """

    number: int
    title: str
    rows: tuple[Row, ...]
    units: tuple[str, str] = ("M", "M")
    accuracy: str = ""
    metric: str = ""
    condition: tuple[str, float] | None = None
