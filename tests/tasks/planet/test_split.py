"""Users and times on either side, never on both."""

from datetime import UTC, date, datetime
from itertools import repeat

import numpy as np
import pytest

from tasks.planet.split import Split, hash_shares, moment, moments
from tasks.shared.errors import UserError


def test_a_user_is_on_one_side() -> None:
    users = [f"user {k % 997}" for k in range(10_000)]
    evaluated = Split("user", 0.2).evaluated(hash_shares(users, repeat("")))
    sides = {side: {user for user, e in zip(users, evaluated, strict=True) if e == side} for side in (True, False)}
    assert not sides[True] & sides[False]
    assert len(sides[True]) / 997 == pytest.approx(0.2, abs=0.04)


def test_a_users_side_depends_on_nobody_else() -> None:
    numbers = hash_shares(["a", "b", 7, "a"], repeat(""))
    assert numbers[0] == numbers[3] and len(set(numbers.tolist())) == 3
    assert hash_shares(["z", "7", "b"], repeat("")).tolist()[1:] == [numbers[2], numbers[1]]


def test_before_and_after() -> None:
    times = np.random.default_rng(0).permutation(1000).astype(float)
    evaluated = Split("time", 0.25).evaluated(times)
    assert evaluated.sum() == 250 and times[evaluated].min() > times[~evaluated].max()
    tied = np.array([5.0, 5, 5, 1, 2])
    assert Split("time", 0.2).evaluated(tied).tolist() == [True, True, True, False, False], "a moment is never parted"
    after = Split("time", after="2016-01-01").checked()
    assert after.evaluated(moments(["2015-12-31 23:59:59", "2016-01-01"], repeat(""))).tolist() == [False, True]


@pytest.mark.parametrize(
    "value",
    [
        "2010-07-21 09:30:59", " 2010-07-21T09:30:59Z ", "2010-07-21T11:30:59+02:00", "2010-07-21 09:30:59.0",
        "1279704659", 1279704659, 1279704659.0, datetime(2010, 7, 21, 9, 30, 59, tzinfo=UTC),
        datetime(2010, 7, 21, 9, 30, 59),
    ],
)  # fmt: skip
def test_moments_are_read(value: object) -> None:
    assert moment("row 1: time", value) == 1279704659


def test_days_are_read() -> None:
    assert moment("", "2010-07-21") == moment("", date(2010, 7, 21)) == 1279670400


@pytest.mark.parametrize("value", ["21.07.2010", "", None, "nan", float("nan"), float("inf"), "yesterday", True])
def test_no_moments_are_told(value: object) -> None:
    with pytest.raises(UserError, match=r"x\.csv: row 3: time=.*expected a date and time"):
        moments([1.0, value], iter(["x.csv: row 2", "x.csv: row 3"]))


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (Split("country"), "data.split.by='country'; expected one of user, time"),
        (Split("user", 0), "data.split.share=0; expected a number above 0, below 1"),
        (Split("time", 1.0), "data.split.share=1.0"),
        (Split("user", after="2016-01-01"), "data.split.after=2016-01-01: is of data.split.by=time"),
        (Split("time", after="June"), "data.split.after='June'; expected a date"),
    ],
)
def test_settings_are_checked(split: Split, message: str) -> None:
    with pytest.raises(UserError, match=message):
        split.checked()


def test_a_photo_without_a_user_is_told() -> None:
    with pytest.raises(UserError, match=r"x\.csv: row 9: has no user"):
        hash_shares([None], ["x.csv: row 9"])
