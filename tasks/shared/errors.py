"""Errors that are the user's to mend, and the checks that several files make."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class UserError(ValueError):
    """Bad input: a path, a file, a config value. The tools print its message without a traceback.

    The message names the file, index or config key, says what was found and what was expected.
    """

    lost = False
    """Nothing is wrong with the run: it can go on as it is."""


class Lost(UserError):
    """No memory, or a process that was killed: the run's folder stays, and the message says how it goes on."""

    lost = True


class AlreadyReported(UserError):
    """Another process of this run has failed and said why: this one has nothing to add. lost: of its error."""

    def __init__(self, lost: bool = False):
        super().__init__()
        self.lost = lost


@contextmanager
def installed_by(extra: str, purpose: str) -> Iterator[None]:
    """Around imports of packages that only an extra of ours installs. Raises UserError where one is absent."""
    try:
        yield
    except ImportError as error:
        raise UserError(
            f"{purpose} needs {error.name}, which cannot be imported ({error}); "
            f"pip install 'mobilenet-toolkit[{extra}]'"
        ) from error


def check_count(key: str, value: object, least: int = 1) -> None:
    """Raise UserError for what is no whole number from `least` on. key: of the config."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UserError(f"{key}={value!r}; expected a whole number from {least}")


def check_path(key: str, path: Path) -> None:
    """Raise UserError for a path below a file, where nothing can be made."""
    if blocking := [parent for parent in path.absolute().parents if parent.is_file()]:
        raise UserError(f"{key}={path}: {blocking[0]} is a file; expected a folder")
