"""What every tool does with its command line: help, overrides, errors. Imports nothing heavy."""

import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from omegaconf import OmegaConf

from tasks.shared.config import CONFIGS, compose_config, groups
from tasks.shared.errors import AlreadyTold, UserError
from tasks.shared.failures import cause_of
from tasks.shared.process import is_first_process
from tasks.shared.streams import LogLines, prepare_process, silence

CHOOSE = {"eval": ("data", "teacher", "trainer"), "predict": ("data", "trainer")}  # groups besides the checkpoint's own
TRACEBACK = "MOBILENET_TOOLKIT_TRACEBACK"  # set: users' errors show where they were raised


def run_tool(name: str, doc: str, run: Callable[[list[str]], None]) -> None:
    """Run a tool with its command line.

    `--help` prints `doc`, the config groups and the keys. Users' errors are shown as
    `show_user_errors` does.
    """
    prepare_process()
    arguments = sys.argv[1:]
    with show_user_errors():
        if any(a in ("-h", "--help") for a in arguments):
            print(help_text(name, doc))
            return
        log_to_terminal()
        run(arguments)


def log_to_terminal() -> None:
    """Our own messages, plain, and of one process; of the libraries only what matters."""
    level = logging.INFO if is_first_process() else logging.WARNING
    logging.basicConfig(level=level, format="%(message)s", handlers=[LogLines()], force=True)
    for noisy in ("matplotlib", "PIL", "faster_coco_eval", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


@contextmanager
def show_user_errors() -> Iterator[None]:
    """Print a UserError without a traceback and end the process with status 1."""
    try:
        yield
    except AlreadyTold:
        sys.exit(1)
    except UserError as error:
        if TRACEBACK in os.environ:
            raise
        sys.exit(f"error: {text_of(error)}")
    except KeyboardInterrupt:
        sys.exit("interrupted")
    except BrokenPipeError:  # the reader of our output, such as head, has seen enough
        silence()
    except PermissionError as error:
        sys.exit(f"error: {error.filename}: not allowed ({error.strerror})")
    except (RuntimeError, MemoryError, OSError) as error:
        if TRACEBACK in os.environ or (cause := cause_of(error)) is None:
            raise
        sys.exit(f"error: {cause}")


def text_of(error: UserError) -> str:
    """Its message; from a loader process it arrives wrapped in that process's traceback."""
    return re.split(r"tasks\.shared\.errors\.UserError: ", str(error))[-1].strip()


def help_text(name: str, doc: str) -> str:
    taken = groups() if name in ("train", "convert_weights") else {}
    if name in CHOOSE:
        taken = {group: options for group, options in groups().items() if group in CHOOSE[name]}
    choices = [f"  {group}={'|'.join(options)}" for group, options in taken.items()]
    if name == "train":
        keys = "Keys, as they stand without any choice:\n\n" + OmegaConf.to_yaml(compose_config("train", []))
    else:
        keys = "Keys:\n\n" + Path(CONFIGS / f"{name}.yaml").read_text(encoding="utf-8")
    return "\n".join([doc.strip(), "", *(["Choices (group=option):", *choices, ""] if choices else []), keys])
