"""What stops work through no fault of its code."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tasks.shared.errors import UserError
from tasks.shared.processes.failures import interruptions_shown


@contextmanager
def _half_made() -> Iterator[None]:
    try:
        yield
    finally:
        raise AttributeError("'NoneType' object has no attribute '_invalidate_flags_cache'")


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit("stopped by SIGTERM")])
def test_an_error_that_an_interruption_left_is_the_interruption(stop: BaseException) -> None:
    with pytest.raises(type(stop)) as raised, interruptions_shown():
        try:
            with _half_made():
                raise stop
        except AttributeError as error:
            raise UserError("config: cannot be read") from error
    assert raised.value.args == stop.args


def test_any_other_error_stays_what_it_is() -> None:
    error = UserError("data.root=x: no such folder")
    with pytest.raises(UserError) as raised, interruptions_shown():
        try:
            raise OSError
        except OSError:
            raise error from None
    assert raised.value is error
