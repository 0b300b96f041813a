"""What every tool does with its command line: help, overrides, errors. Imports nothing heavy."""

import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.shared.config import CONFIGS, groups
from tasks.shared.errors import UserError

TRACEBACK = "MOBILENET_TOOLKIT_TRACEBACK"  # set: users' errors show where they were raised


def run_tool(name: str, doc: str, run: Callable[[list[str]], None]) -> None:
    """Run a tool with its command line.

    `--help` prints `doc`, the config groups and configs/<name>.yaml. Users' errors are shown as
    `show_user_errors` does.
    """
    arguments = sys.argv[1:]
    if any(a in ("-h", "--help") for a in arguments):
        print(help_text(name, doc))
        return
    log_to_terminal()
    with show_user_errors():
        run(arguments)


def log_to_terminal() -> None:
    """Our own messages, plain; of the libraries only what matters."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout, force=True)
    for noisy in ("matplotlib", "PIL", "faster_coco_eval", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


@contextmanager
def show_user_errors() -> Iterator[None]:
    """Print a UserError without a traceback and end the process with status 1."""
    try:
        yield
    except UserError as error:
        if TRACEBACK in os.environ:
            raise
        # From a loader process the message arrives wrapped in that process's traceback.
        message = re.split(r"tasks\.shared\.errors\.UserError: ", str(error))[-1].strip()
        sys.exit(f"error: {message}")


def help_text(name: str, doc: str) -> str:
    choices = [f"  {group}={'|'.join(options)}" for group, options in groups().items()]
    root = Path(CONFIGS / f"{name}.yaml").read_text()
    return "\n".join([doc.strip(), "", "Choices (group=option):", *choices, "", "Keys:", root])
