"""Whether a count is the figure that the paper prints."""

from collections.abc import Sequence
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from fractions import Fraction

from tasks.shared.paper.rows import CUT, ROUNDED, UNITS, Printed
from tasks.shared.paper.sheets import State

Number = int | Fraction


def judge(printed: Printed, unit: str, counts: Sequence[Number]) -> tuple[str, State]:
    """The verdict in words, and whether it is a good one.

    counts: one for each of the figure's readings, in their order; unit: of the printed digits, of UNITS or `"%"`.
    The first reading whose count gives the printed digits decides. Where none does the verdict is by how much the
    count is off, as a share of the printed figure.
    """
    values = [_in_unit(count, unit) for count in counts]
    for reading, count, value in zip(printed.readings, counts, values, strict=True):
        if relation := _relation(value, printed):
            if reading == printed.readings[0]:
                return _verdict(relation, relation, "equal", printed)
            return _verdict(f"{relation}, {reading}", f"{relation}, {reading} ({count:,})", "equal", printed)
    gaps = [_percent(float(100 * (value / Decimal(printed.text) - 1))) for value in values]
    others = list(zip(printed.readings[1:], counts[1:], gaps[1:], strict=True))
    text = ", ".join([f"differs by {gaps[0]}", *(f"{reading} by {gap}" for reading, _, gap in others)])
    message = [f"differs by {gaps[0]}", *(f"{reading} ({count:,}) by {gap}" for reading, count, gap in others)]
    return _verdict(text, ", ".join([*filter(None, [printed.why]), *message]), "differs", printed)


def _percent(gap: float) -> str:
    return f"{gap:+.1f} %" if abs(gap) >= 0.05 else f"{gap:+.1g} %"


def _verdict(text: str, shown: str, state: State, printed: Printed) -> tuple[str, State]:
    return (shown, state) if text == printed.known else (f"DIFFERS: {shown}; known as: {printed.known}", "alarm")


def _relation(value: Decimal, printed: Printed) -> str | None:
    target = Decimal(printed.text)
    last = target.as_tuple().exponent if printed.digits is None else target.adjusted() - printed.digits + 1
    assert isinstance(last, int)
    step = Decimal(10) ** last
    for name, rounding in ((ROUNDED, ROUND_HALF_UP), (CUT, ROUND_DOWN)):
        if (value / step).to_integral_value(rounding) * step == target:
            return name
    return None


def _in_unit(count: Number, unit: str) -> Decimal:
    exact = Fraction(count) * 100 if unit == "%" else Fraction(count, UNITS[unit])
    return Decimal(exact.numerator) / Decimal(exact.denominator)
