"""Tools in other locales, and with closed streams, in processes of their own."""

import os
import subprocess
import sys

import pytest

from tests.tools.conftest import TOOLS

NAME = "/nowhere/Ärger-猫-🐈"
CODE = (
    "import sys; from tasks.shared.commands.streams import prepare_process; prepare_process(); "
    "print(sys.getfilesystemencoding(), sys.flags.optimize, sys.argv[1] == " + ascii(NAME) + ", '\\u2713 \\udc80')"
)


def answer(*command: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, capture_output=True, check=False, timeout=120, env=os.environ | environment)


@pytest.mark.parametrize("locale", ["C", "POSIX", "C.utf8"])
def test_names_are_utf8_in_every_locale(locale: str) -> None:
    settings = {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = answer(sys.executable, "-O", "-c", CODE, NAME, **settings)
    assert done.stderr == b"" and done.stdout.decode() == "utf-8 1 True ✓ \\udc80\n"
    told = answer(sys.executable, str(TOOLS / "eval.py"), f"checkpoint={NAME}", **settings)
    assert told.returncode == 1 and told.stderr.decode().startswith(f"error: checkpoint={NAME}: no such")


def test_a_terminal_that_lacks_a_sign_ends_nothing() -> None:
    done = answer(sys.executable, "-c", CODE, NAME, PYTHONIOENCODING="latin-1")
    assert done.returncode == 0 and done.stdout.decode("latin-1").endswith("\\u2713 \\udc80\n")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&- 2>&-"])
def test_closed_streams_end_nothing(closed: str) -> None:
    assert answer("sh", "-c", f"exec '{sys.executable}' '{TOOLS / 'train.py'}' --help {closed}").returncode == 0
