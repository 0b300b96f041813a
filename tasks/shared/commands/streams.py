"""What a tool may take for granted of its process: UTF-8, three open streams, and signals that end it in order."""

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

from tasks.shared.processes.ranks import is_first_process

ENDING = ("SIGTERM", "SIGHUP")  # the terminal was closed: SIGHUP


def prepare_process() -> None:
    """Called by a tool before anything else; may start the process anew, in UTF-8 mode."""
    _speak_utf8()
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by who started us
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115, for as long as it runs
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal has no signs for ends no work
    for name in ENDING:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores SIGHUP: it stays ignored
            signal.signal(number, _end)


def _speak_utf8() -> None:
    """In locales such as C or Latin-1, names of files would be read as other signs than the files that name them.

    With PYTHONUTF8 the processes that this one starts have it too.
    """
    if sys.getfilesystemencoding() != "utf-8" and "utf8" not in sys._xoptions:
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def _end(number: int, _: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)  # once is enough: what follows is tidying up
    sys.exit(f"stopped by {signal.Signals(number).name}" if is_first_process() else 1)
