"""Splitting photos into those to train on and those to evaluate on, so that neither side knows the other."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.shared.data.splits import hash_share
from tasks.shared.errors import UserError

BY = ("user", "time")


class Split(NamedTuple):
    """by: "user", all photos of one on the same side; "time", trained on what was taken before a moment, evaluated from
    it on. share: above 0, below 1, of the users, or of the photos, that are evaluated on. after: of "time", that
    moment, as the table writes them; None finds it by `share`."""

    by: str = "user"
    share: float = 0.1
    after: Any = None

    def checked(self) -> "Split":
        if self.by not in BY:
            raise UserError(f"data.split.by={self.by!r}; expected one of {', '.join(BY)}")
        if not isinstance(self.share, int | float) or not 0 < self.share < 1:
            raise UserError(f"data.split.share={self.share!r}; expected a number above 0, below 1")
        if self.after is not None:
            if self.by != "time":
                raise UserError(f"data.split.after={self.after}: is of data.split.by=time, not {self.by}")
            moment("data.split.after", self.after)
        return self

    def evaluated(self, numbers: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of (N,) photos, with these numbers from `lots` or `moments`, are evaluated on."""
        if self.by == "user":
            return numbers < self.share
        if self.after is not None:
            return numbers >= moment("data.split.after", self.after)
        index = int(np.ceil((1 - self.share) * len(numbers)))
        return numbers >= np.sort(numbers)[min(index, len(numbers) - 1)]  # all of one moment on one side


def split_numbers(by: str, values: Sequence[Any], rows: Iterable[str]) -> NDArray[np.float64]:
    """What `Split.evaluated` goes by. values: the photos' users or times; rows: what errors call them, no fewer."""
    return hash_shares(values, rows) if by == "user" else moments(values, rows)


def hash_shares(users: Sequence[Any], rows: Iterable[str]) -> NDArray[np.float64]:
    """A number from 0 to below 1 for each photo, the same for all of a user in any table: a digest of the name."""
    drawn: dict[Any, float] = {}
    numbers = np.empty(len(users))
    for index, (user, row) in enumerate(zip(users, rows, strict=False)):
        if user not in drawn:
            if user is None or user == "":
                raise UserError(f"{row}: has no user; expected one, as data.split.by=user")
            drawn[user] = hash_share(str(user))
        numbers[index] = drawn[user]
    return numbers


def moments(times: Sequence[Any], rows: Iterable[str]) -> NDArray[np.float64]:
    """Seconds since 1970 for each photo."""
    return np.fromiter((moment(f"{row}: time", t) for t, row in zip(times, rows, strict=False)), np.float64, len(times))


def moment(what: str, value: Any) -> float:
    """Seconds since 1970, of a date and time (ISO 8601, UTC where no zone is given), or of such seconds."""
    try:
        text = value.isoformat() if isinstance(value, date) else str(value).strip()
        if text.replace(".", "", 1).isdigit():
            seconds = float(text)
        else:
            time = datetime.fromisoformat(text)
            seconds = (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        seconds = np.nan
    if not np.isfinite(seconds):
        raise UserError(
            f"{what}={value!r}; expected a date and time such as 2016-03-07 14:30:00, or seconds since 1970"
        )
    return seconds
