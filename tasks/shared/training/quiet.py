"""Lightning without what it says of our defaults."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

LOGGERS = ("lightning.pytorch", "lightning.fabric")
DECIDED = (
    ".*does not have many workers.*",
    ".*The number of training batches.*",
    ".*GPU available but not used.*",
    ".*module\\(s\\) in eval mode at the start of training.*",  # the moving average
    ".*recommended to use `self.log.*sync_dist=True.*",  # the evaluator has gathered already
    ".*isinstance\\(treespec, LeafSpec\\).*",  # between Lightning and torch
)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Around Lightning: its notes on what our defaults have decided would hide those that matter."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for message in DECIDED:
            warnings.filterwarnings("ignore", message)
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
