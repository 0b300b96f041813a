"""What every tool does with its command line: help, overrides, errors. Imports nothing heavy."""

import errno
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from omegaconf import OmegaConf

from tasks.shared.commands.streams import prepare_process
from tasks.shared.config.compose import CONFIGS, compose_config, groups
from tasks.shared.errors import AlreadyReported, UserError
from tasks.shared.files.writing import FULL, reason_of
from tasks.shared.processes.failures import cause_of, interruptions_shown
from tasks.shared.processes.ranks import is_first_process
from tasks.shared.terminal.escaped import escaped, printable

CHOOSE = {"eval": ("data", "teacher", "trainer"), "predict": ("data", "trainer")}  # groups besides the checkpoint's own
TOLD = FULL | {getattr(errno, name) for name in ("EACCES", "EPERM", "ENAMETOOLONG", "EMFILE", "ENFILE", "EIO", "EBUSY")}
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
    logging.basicConfig(level=level, format="%(message)s", handlers=[Lines(sys.stdout)], force=True)
    for noisy in ("matplotlib", "PIL", "faster_coco_eval", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


class Lines(logging.StreamHandler):
    """Lines of the log, which may quote files of others: no control character of these reaches a terminal.

    A line that cannot be written, as the disk is full, ends no training: the end tells of it.
    """

    lost: OSError | None = None

    def format(self, record: logging.LogRecord) -> str:
        return escaped(super().format(record))

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            self.lost = self.lost or error
        else:
            super().handleError(record)


@contextmanager
def show_user_errors() -> Iterator[None]:
    """Print a UserError without a traceback and end the process with status 1; so also what a full disk raises."""
    lost = None
    try:
        try:
            with interruptions_shown():
                yield
        finally:
            lost = _finish_output()
        if lost is not None:
            raise lost
    except AlreadyReported:
        sys.exit(1)
    except UserError as error:
        if TRACEBACK in os.environ:
            raise
        sys.exit(f"error: {text_of(error)}")
    except KeyboardInterrupt:
        sys.exit("interrupted")
    except BrokenPipeError:  # the reader of our output, such as head, has seen enough
        pass
    except (RuntimeError, MemoryError) as error:
        if TRACEBACK in os.environ or (cause := cause_of(error)) is None:
            raise
        sys.exit(f"error: {cause}")
    except OSError as error:
        if TRACEBACK not in os.environ and (cause := cause_of(error)) is not None:
            sys.exit(f"error: {cause}")
        if error.errno not in TOLD or TRACEBACK in os.environ:
            raise
        if error.filename is None and lost is None and not _output_fails():
            raise
        path = "standard output" if error.filename is None else escaped(printable(error.filename))
        sys.exit(f"error: {path}: {reason_of(error)}")


def _finish_output() -> OSError | None:
    """What has kept standard output from being written to its end, if anything."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python fails once more, at its end
        return error
    return next((each.lost for each in logging.getLogger().handlers if isinstance(each, Lines) and each.lost), None)


def _output_fails() -> bool:
    """Whether standard output takes no more: what could not be written to it may be forgotten by now."""
    try:
        os.write(sys.stdout.fileno(), b"\n")
    except OSError:
        return True
    return False


def text_of(error: UserError) -> str:
    """Its message; from a loader process it arrives wrapped in that process's traceback.

    It may quote what a file holds: no control character of that reaches a terminal, nor a word of a thousand letters.
    """
    message = re.split(r"tasks\.shared\.errors\.UserError: ", str(error))[-1].strip()
    return re.sub(r"\S{1000,}", lambda word: f"{word[0][:200]}...", escaped(message))


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
